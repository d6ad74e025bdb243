"""Agent `sbom`: writes what the run found out, as a CycloneDX 1.6 document and as a report for people.

Both files are pure functions of the input, so a second execution writes the same bytes over the first. Each is
written beside its place and renamed into it: a reader sees the old file or the new one, never half of one.
"""

import hashlib
import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))

from cyclonedx import build_bom  # noqa: E402
from kapelle_agent import AgentError, field, serve  # noqa: E402
from report import build_report  # noqa: E402

SBOM_NAME = "sbom.cdx.json"
REPORT_NAME = "report.md"


def write_results(given, task):
    """Writes both files into `output_dir` and says where they are and what they hold."""
    folder = field(given, "output_dir")
    if not os.path.isabs(folder):
        raise AgentError("bad_input", f"output_dir `{folder}` is not an absolute path")
    inventory = field(given, "inventory", dict)
    reviews = {review["id"]: review for review in field(given, "reviews", list)}
    score = field(given, "score", dict)
    run = {"id": field(given, "run_id"), "started_at": field(given, "started_at")}

    bom = build_bom(inventory, reviews, run)
    task.progress(1, 3, "SBOM built")
    os.makedirs(folder, exist_ok=True)
    sbom = write(folder, SBOM_NAME, json.dumps(bom, ensure_ascii=False, indent=1) + "\n")
    task.progress(2, 3, "SBOM written")
    report = write(folder, REPORT_NAME, build_report(inventory, reviews, score, run))
    task.progress(3, 3, "report written")
    return {
        "sbom": dict(sbom, components=len(bom["components"]), format="CycloneDX", spec_version=bom["specVersion"]),
        "report": report,
        "risk": score["risk"],
        "level": score["level"],
        "findings": len(score["components"]),
        "summary": inventory["summary"],
        "categories": count_categories(inventory, reviews),
    }


def count_categories(inventory, reviews):
    """Third-party components by licence category."""
    counts = {}
    for component in inventory["components"]:
        if not component["first_party"]:
            category = reviews[component["id"]]["category"]
            counts[category] = counts.get(category, 0) + 1
    return dict(sorted(counts.items()))


def write(folder, name, text):
    """Replaces `folder/name` in one step; gives its path, size and SHA-256."""
    content = text.encode("utf-8")
    path = os.path.join(folder, name)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # mkstemp makes a private file; results are for whoever may read the folder.
            os.chmod(temporary, 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


if __name__ == "__main__":
    serve(write_results)
