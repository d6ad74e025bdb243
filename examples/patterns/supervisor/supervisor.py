"""Cuts a report into regions, and puts the regions together again."""

import json
import sys


def work(given):
    if given["act"] == "cut":
        return {"pieces": [{"region": name, "numbers": numbers} for name, numbers in sorted(given["numbers"].items())]}
    results = given["results"]
    leader = max(results, key=lambda it: it["total"], default=None)
    totals = {it["region"]: it["total"] for it in results}
    return {"report": {"totals": totals, "total": sum(totals.values()), "leader": leader and leader["region"]}}


for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({"id": task["id"], "output": work(task["input"])}), flush=True)
