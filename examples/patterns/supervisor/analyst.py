"""Sums up one region."""

import json
import sys

for line in sys.stdin:
    task = json.loads(line)
    numbers = task["input"]["numbers"]
    output = {"region": task["input"]["region"], "total": sum(numbers), "best": max(numbers, default=None)}
    print(json.dumps({"id": task["id"], "output": output}), flush=True)
