"""Counts the words of some lines, or adds counts up. A line with a replacement character was not read well."""

import json
import sys
from collections import Counter


def work(given):
    if given["part"] == "reduce":
        return sum((Counter(counts) for counts in given["counts"]), Counter())
    if any("\ufffd" in line for line in given["lines"]):
        return None
    return Counter(word for line in given["lines"] for word in line.lower().split())


for line in sys.stdin:
    task = json.loads(line)
    counts = work(task["input"])
    if counts is None:
        error = {"code": "unreadable", "message": "a line is not UTF-8", "retryable": False}
        answer = {"id": task["id"], "error": error}
    else:
        answer = {"id": task["id"], "output": {"counts": dict(sorted(counts.items()))}}
    print(json.dumps(answer), flush=True)
