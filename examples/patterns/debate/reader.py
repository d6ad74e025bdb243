"""Judges a clause by one rule, and by what others found before."""

import json
import sys

SUSPECT = ["without notice", "at any time", "sole discretion", "irrevocable"]
SOFTENING = ["reasonable", "with notice", "upon request"]


def judge(rule, text, heard):
    low = text.lower()
    found = [words for words in SUSPECT if words in low]
    soft = [words for words in SOFTENING if words in low]
    arguments = {one["argument"] for one in heard if one["argument"]}
    if rule == "strict":
        unfair = bool(found)
    elif rule == "lenient":
        # One suspect wording may be a slip; what two others found counts too.
        unfair = len(found) > 1 and not soft or len(arguments) > 1
    else:
        unfair = "without notice" in low and "with notice" not in low
    return {"rule": rule, "verdict": "unfair" if unfair else "fair", "argument": ", ".join(found if unfair else soft)}


for line in sys.stdin:
    task = json.loads(line)
    given = task["input"]
    output = judge(given["rule"], given["text"], given["heard"])
    print(json.dumps({"id": task["id"], "output": output}), flush=True)
