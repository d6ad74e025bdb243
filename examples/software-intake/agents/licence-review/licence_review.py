"""Agent `licence-review`: which licence one component carries, what it asks of us, and whether its files agree.

Two sources, held apart: what the manifest declares (an SPDX expression) and what the licence files say (by their
text). The verdict compares them. What is unknown stays unknown.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))

from kapelle_agent import field, serve  # noqa: E402
from licence_choice import evaluate, is_exception, proven, text_ids  # noqa: E402
from licence_files import holders, read_licence_files  # noqa: E402
from licence_table import terms_of  # noqa: E402
from licence_terms import rank  # noqa: E402
from licence_text import KNOWN, identify  # noqa: E402
from spdx import IDS, Licence, SpdxError, leaves, parse, render  # noqa: E402

UNKNOWN = ("unknown", ("read-the-licence",), None)


def review(given, _task):
    """The review of `given["component"]`."""
    component = field(given, "component", dict)
    declared = component.get("licence")
    tree, problem = read_declaration(declared)
    files, reachable = read_licence_files(field(component, "folders", list), component.get("licence_file"))
    texts = [{"file": name, "licences": identify(text)} for name, text in files]
    found = list(dict.fromkeys(identity for text in texts for identity in text["licences"]))
    category, obligations, choice = evaluate(tree, found) if tree else UNKNOWN
    return {
        "id": field(component, "id"),
        "declared": declared,
        "expression": render(tree) if tree else None,
        "listed": bool(tree) and all(leaf.listed for leaf in leaves(tree)),
        "problem": problem,
        "category": category,
        "choice": render(choice) if choice and choice != tree else None,
        "obligations": list(obligations),
        "texts": texts,
        "copyrights": holders(text for _, text in files),
        **compare(tree, texts, found, reachable),
    }


def read_declaration(declared):
    """(tree, problem) of what the manifest says; at most one of them is there."""
    if declared is None or not declared.strip():
        return None, None
    try:
        return parse(declared), None
    except SpdxError as error:
        return None, str(error)


def compare(tree, texts, found, reachable):
    """The verdict, and the ids that speak for it. README.md says what each verdict means."""
    wanted = list(dict.fromkeys(name for leaf in leaves(tree) for name in text_ids(leaf))) if tree else []
    missing = [] if tree is None or proven(tree, found) else [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted and not is_exception(name)] if tree else []
    return {
        "verdict": verdict(tree, texts, found, wanted, missing, extra, reachable),
        "found": found,
        "missing": missing,
        "extra": extra,
        "extra_category": max((category_of(name) for name in extra), key=rank, default=None),
    }


def verdict(tree, texts, found, wanted, missing, extra, reachable):
    """One word for how declaration and texts stand to each other."""
    if not reachable:
        return "unavailable"
    if tree is None:
        return "undeclared"
    if not texts:
        return "no-text"
    if not missing:
        return "extra-text" if extra else "agrees"
    # Only a text that this agent would have recognised can be said to be missing.
    blind = not any(name in KNOWN for name in missing)
    if not found or (blind and any(not text["licences"] for text in texts)):
        return "unrecognised"
    return "incomplete" if any(name in found for name in wanted) else "mismatch"


def category_of(name):
    """The category of a text: of GPL-2.0's the same as of GPL-2.0-only's."""
    only = f"{name}-only"
    return terms_of(Licence(only if only.lower() in IDS else name))[0]


if __name__ == "__main__":
    serve(review)
