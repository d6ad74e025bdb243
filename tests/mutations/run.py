#!/usr/bin/env python3
"""Plants bugs in production code, one at a time, and requires that the simulation finds each.

The sources are copied to `target/mutations/workspace`: the plain values, expressions and the engine as they are, of the
coordinator only the partition loop without IO, and the simulation. So a mutant builds in seconds, and whatever that loop
would reach beyond those crates does not compile.

    run.py [--only NAME] [--seeds N] [--prepare]

Exit 0: the code without a bug passes, and every planted bug is found.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "mutations"
WORKSPACE = PLACE / "workspace"
MEMBERS = ["shared/types", "shared/expression", "shared/engine", "shared/telemetry", "coordinator", "tests"]
LOOP = ["cache.rs", "core.rs", "effect.rs", "meters.rs", "open.rs", "progress.rs", "queue.rs"]
SEEDS = 10_000

TELEMETRY = """[package]
name = "kapelle-telemetry"
version.workspace = true
edition.workspace = true
[dependencies]
metrics.workspace = true
"""

LABELS = """//! Labels as open runs have them.
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
"""

COORDINATOR = """[package]
name = "kapelle-coordinator"
version.workspace = true
edition.workspace = true
[lints]
workspace = true
[dependencies]
kapelle-types.workspace = true
kapelle-engine.workspace = true
kapelle-telemetry.workspace = true
lru.workspace = true
metrics.workspace = true
tracing.workspace = true
"""

TESTS = """[package]
name = "kapelle-tests"
version.workspace = true
edition.workspace = true
[lints]
workspace = true
[dependencies]
kapelle-types.workspace = true
kapelle-engine = { workspace = true, features = ["testing"] }
kapelle-coordinator.workspace = true
rand.workspace = true
rand_chacha.workspace = true
serde_json.workspace = true
tokio.workspace = true
"""


def write(path, text):
    """Writes a file if it says something else, so that builds see only what changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def copy(relative):
    write(WORKSPACE / relative, (ROOT / relative).read_text())


def copy_tree(relative):
    kept = set()
    for source in sorted((ROOT / relative).rglob("*")):
        if source.is_file():
            copy(source.relative_to(ROOT))
            kept.add(WORKSPACE / source.relative_to(ROOT))
    for found in (WORKSPACE / relative).rglob("*"):
        if found.is_file() and found not in kept:
            found.unlink()


def prepare():
    """Copies what is needed, as it is now."""
    manifest = (ROOT / "Cargo.toml").read_text()
    members = "members = [" + ", ".join(f'"{m}"' for m in MEMBERS) + "]"
    write(WORKSPACE / "Cargo.toml", re.sub(r"members = \[.*?\]", members, manifest, count=1, flags=re.S))
    if not (WORKSPACE / "Cargo.lock").exists():
        shutil.copy(ROOT / "Cargo.lock", WORKSPACE / "Cargo.lock")
    for crate in ("shared/types", "shared/expression", "shared/engine"):
        copy_tree(f"{crate}/src")
        copy(f"{crate}/Cargo.toml")
    write(WORKSPACE / "shared/telemetry/Cargo.toml", TELEMETRY)
    write(WORKSPACE / "shared/telemetry/src/lib.rs", "//! The table of metrics.\npub mod metrics;\n")
    table = (ROOT / "shared/telemetry/src/metrics.rs").read_text()
    write(WORKSPACE / "shared/telemetry/src/metrics.rs", re.sub(r"^(mod|pub use) exporter.*\n", "", table, flags=re.M))
    copy("shared/telemetry/src/metrics/metric.rs")
    write(WORKSPACE / "coordinator/Cargo.toml", COORDINATOR)
    write(WORKSPACE / "coordinator/src/lib.rs", "//! The partition loop.\npub mod partition;\nmod runs;\n")
    row = (ROOT / "coordinator/src/runs/row.rs").read_text()
    labels = re.search(r"^/// Labels as they are kept.*?^(?=impl )", row, re.M | re.S)
    if not labels:
        sys.exit("coordinator/src/runs/row.rs: where are the hashes of labels?")
    write(WORKSPACE / "coordinator/src/runs.rs", LABELS + labels[0])
    listing = (ROOT / "coordinator/src/partition.rs").read_text()
    wanted = [name.removesuffix(".rs") for name in LOOP]
    kept = [f"{m[1] or ''}mod {m[2]};" for m in re.finditer(r"^(pub )?mod (\w+);", listing, re.M) if m[2] in wanted]
    uses = re.findall(r"^pub use open::.*;$", listing, re.M)
    write(WORKSPACE / "coordinator/src/partition.rs", "//! The partition loop.\n" + "\n".join(kept + uses) + "\n")
    for name in LOOP:
        copy(f"coordinator/src/partition/{name}")
    write(WORKSPACE / "tests/Cargo.toml", TESTS)
    write(WORKSPACE / "tests/src/lib.rs", "//! The simulation.\npub mod simulation;\n")
    copy("tests/src/simulation.rs")
    copy("tests/tests/simulation.rs")
    copy("tests/simulation/seeds.txt")
    copy("tests/mutations/bugs.txt")
    copy_tree("tests/src/simulation")


def bugs():
    """The table: name, area, file, old text, new text."""
    text = (ROOT / "tests/mutations/bugs.txt").read_text()
    for block in re.split(r"^=== ", text, flags=re.M)[1:]:
        head, rest = block.split("\n", 1)
        name, area, path = (part.strip() for part in head.split("|"))
        old, new = rest.split("--- old\n", 1)[1].split("--- new", 1)
        yield name, area, path, old.removesuffix("\n"), new.strip("\n")


def cargo(*arguments):
    env = dict(os.environ, CARGO_TARGET_DIR=str(PLACE / "build"), RUST_BACKTRACE="0")
    command = ["cargo", *arguments, "--offline", "--quiet"]
    return subprocess.run(command, cwd=WORKSPACE, env=env, capture_output=True, text=True, check=False)


def build():
    """Builds the simulation; says where its program lies, or why there is none."""
    built = cargo("test", "--package", "kapelle-tests", "--test", "simulation", "--no-run", "--message-format=json")
    if built.returncode != 0:
        return None, built.stderr
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "simulation":
            return message["executable"], ""
    return None, "cargo names no program"


def simulate(program, seeds):
    """Runs the seeds. Says what was found, or nothing."""
    env = dict(os.environ, KAPELLE_SIM_SEEDS=str(seeds), RUST_BACKTRACE="0")
    tests = [f"seeds_of_the_{part}_quarter" for part in ("first", "second", "third", "last")]
    command = [program, "--exact", "seeds_that_once_failed", *tests]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return ""
    found = sorted(set(re.findall(r"^seed (\d+): (\w[\w ]*)", ran.stdout + ran.stderr, re.M)), key=lambda f: int(f[0]))
    return ", ".join(f"{what} (seed {seed})" for seed, what in found) or "it ended without a word"


def plant(path, old, new):
    """Puts a bug into the copy; gives back the text that was there."""
    target = WORKSPACE / path
    text = target.read_text()
    if text.count(old) != 1:
        sys.exit(f"{path}: this text occurs {text.count(old)} times, not once:\n{old}")
    target.write_text(text.replace(old, new))
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="only bugs whose name contains this")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of one run")
    parser.add_argument("--prepare", action="store_true", help="only copy the sources")
    chosen = parser.parse_args()
    prepare()
    if chosen.prepare:
        return
    began = time.monotonic()
    program, trouble = build()
    if not program:
        sys.exit(trouble)
    found = simulate(program, chosen.seeds)
    if found:
        sys.exit(f"the code without a planted bug fails: {found}")
    print(f"without a bug: passes ({time.monotonic() - began:.0f} s)")
    missed = []
    table = [bug for bug in bugs() if not chosen.only or chosen.only in bug[0]]
    for name, area, path, old, new in table:
        text = plant(path, old, new)
        since = time.monotonic()
        program, trouble = build()
        found = simulate(program, chosen.seeds) if program else ""
        (WORKSPACE / path).write_text(text)
        if not found:
            missed.append(name)
        what = found or ("MISSED" if program else f"DOES NOT COMPILE\n{trouble}")
        print(f"{name} [{area}]: {what} ({time.monotonic() - since:.0f} s)", flush=True)
    print(f"{len(table) - len(missed)} of {len(table)} planted bugs found in {time.monotonic() - began:.0f} s")
    if missed:
        sys.exit("missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
