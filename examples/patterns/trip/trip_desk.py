"""Books and cancels; what is sold out cannot be booked. It keeps no books: the same input always gives the same answer."""

import json
import sys

for line in sys.stdin:
    task = json.loads(line)
    wanted = task["input"]
    answer = {"id": task["id"]}
    if wanted["act"] == "book" and wanted["what"] in wanted.get("sold_out", []):
        answer["error"] = {"code": "sold_out", "message": f"no {wanted['what']} is left", "retryable": False}
    else:
        answer["output"] = {"booked": wanted["what"]}
    print(json.dumps(answer), flush=True)
