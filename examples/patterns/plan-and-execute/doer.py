"""Does one act of a plan."""

import json
import sys

ACTS = {"set": lambda value, by: by, "add": lambda value, by: value + by, "double": lambda value, by: 2 * value}

for line in sys.stdin:
    task = json.loads(line)
    do = task["input"]["do"]
    value = ACTS[do["act"]](task["input"]["value"], do["by"])
    print(json.dumps({"id": task["id"], "output": {"value": value}}), flush=True)
