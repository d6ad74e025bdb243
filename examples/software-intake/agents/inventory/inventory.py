"""Agent `inventory`: which components a dependency tree is made of, as data for the steps that follow.

Reads what the package manager wrote (cargo's metadata and lock file, npm's lock file); resolves nothing itself and
asks no network. The two readers, `cargo_tree` and `npm_tree`, give one shape.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))

from cargo_tree import read_cargo  # noqa: E402
from kapelle_agent import AgentError, field, serve  # noqa: E402
from npm_tree import read_npm  # noqa: E402

READERS = {"cargo": read_cargo, "npm": read_npm}


def take_inventory(given, task):
    """The tree that `given["source"]` names: project, components, edges and a count by scope."""
    source = field(given, "source", dict)
    kind = field(source, "kind")
    if kind not in READERS:
        raise AgentError("unsupported_source", f"`{kind}` is none of {', '.join(sorted(READERS))}")
    root = field(source, "root")
    if not os.path.isabs(root) or not os.path.isdir(root):
        raise AgentError("source_not_found", f"`{root}` is not the absolute path of a folder on this worker's machine")
    tree = READERS[kind](source)
    check(tree)
    total = len(tree["components"])
    task.progress(total, total, f"{total} components")
    return dict(tree, summary=summary(tree["components"]))


def check(tree):
    """What every later step relies on: ids are unique and each edge leads to a component."""
    ids = [component["id"] for component in tree["components"]]
    known = set(ids) | {tree["project"]["id"]}
    if len(known) != len(ids) + 1:
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise AgentError("bad_source", f"two components share one id: {', '.join(twice[:5])}")
    for origin, targets in tree["dependencies"].items():
        lost = [name for name in [origin, *targets] if name not in known]
        if lost:
            raise AgentError("bad_source", f"the tree names {lost[0]}, which is not one of its components")


def summary(components):
    """How many components there are of each kind."""
    counts = {"components": len(components), "first_party": 0}
    for scope in ("runtime", "optional", "build", "development"):
        counts[scope] = 0
    for component in components:
        if component["first_party"]:
            counts["first_party"] += 1
        else:
            counts[component["scope"]] += 1
    counts["third_party"] = counts["components"] - counts["first_party"]
    return counts


if __name__ == "__main__":
    serve(take_inventory)
