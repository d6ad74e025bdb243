#!/usr/bin/env python3
"""Checks the metrics of a living Kapelle with Prometheus' own promtool.

    kapelle dev (free ports) ──ready line──▶ one software intake ──▶ GET /metrics ──▶ promtool check metrics

Usage: metrics.py PATH_OF_KAPELLE. Fails if promtool has a complaint or a series that the run must move did not move.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "software-intake"
# What one COMPLETED run moves: series without labels, or with those that are known.
MOVED = [
    'kapelle_runs_started_total 1',
    'kapelle_runs_finished_total{status="COMPLETED"} 1',
    'kapelle_run_duration_seconds_count 1',
    'kapelle_steps_total{agent="sbom",version="1.0.0",outcome="succeeded"} 1',
]
RUN_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60


def main():
    kapelle = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="kapelle-metrics-") as folder:
        text = scrape(kapelle, pathlib.Path(folder))
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if line.strip()]
    still = [series for series in MOVED if series not in text.splitlines()]
    for problem in complaints + [f"did not move: {series}" for series in still]:
        print(problem, file=sys.stderr)
    if complaints or still or checked.returncode:
        print(text, file=sys.stderr)
        sys.exit(1)
    families = sum(line.startswith("# TYPE ") for line in text.splitlines())
    print(f"promtool finds nothing wrong with {families} families of metrics")


def scrape(kapelle, folder):
    """What Prometheus would get after one run."""
    free = "127.0.0.1:0"
    sample = EXAMPLE / "samples" / "npm"
    folders = [f"--folder={name}={place}" for name, place in
               [("project", sample), ("packages", sample), ("results", folder)]]
    dev = subprocess.Popen(
        [kapelle, "dev", "-o", "json", "--log-filter", "error", "--data-dir", folder / "data", "--nats-port", "0", "--grpc-address", free,
         "--metrics-address", free, "--agents", EXAMPLE, *folders],
        cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = dev.stdout.readline()
        if not line:
            sys.exit("kapelle dev did not start")
        ready = json.loads(line)
        source = {"kind": "npm", "root": str(sample)}
        job = json.dumps({"source": source, "output_dir": str(folder / "out")})
        subprocess.run(
            [kapelle, "--address", ready["address"], "run", "execute", "software-intake", "--input", job, "--wait", "2m"],
            check=True, stdout=subprocess.DEVNULL, timeout=RUN_SECONDS_MAX)
        with urllib.request.urlopen(f"http://{ready['metrics_address']}/metrics", timeout=10) as response:
            return response.read().decode()
    finally:
        dev.terminate()
        dev.wait(STOP_SECONDS_MAX)


if __name__ == "__main__":
    main()
