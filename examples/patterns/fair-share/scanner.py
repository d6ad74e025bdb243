"""Counts the words of a document, or adds counts up."""

import json
import sys

for line in sys.stdin:
    task = json.loads(line)
    given = task["input"]
    words = sum(given["words"]) if "words" in given else len(given["document"].split())
    print(json.dumps({"id": task["id"], "output": {"words": words}}), flush=True)
