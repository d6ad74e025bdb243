"""An agent that answers by what it is asked, and keeps what it did in a file that nobody else writes to.

`player.py SINK`: each line of the file is one thing that was done or tried, written at once, before it is reported.
"""

import hashlib
import json
import os
import sys
import time

sink = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def digits(text):
    return [ord(digit) for digit in reversed(hashlib.sha256(text.encode()).hexdigest())]


for line in sys.stdin:
    task = json.loads(line)
    place = task["step"] if task.get("item") is None else f"{task['step']}:{task['item']}"
    digit = digits(f"{task['run']}/{place}")
    luck = digits(f"{task['run']}/{place}#{task['attempt']}")
    time.sleep(luck[2] % 16 / 100)
    done = {"run": task["run"], "step": place, "attempt": task["attempt"]}
    if luck[0] % 8 == 0:
        final = luck[1] % 8 == 0
        done["error"] = {"code": "oops", "message": "it did not work", "retryable": not final}
    else:
        length = digit[1] % 4
        done["output"] = {"n": digit[0] % 10, "list": [it % 8 for it in digit[2 : 2 + length]], "of": place}
    os.write(sink, (json.dumps(done) + "\n").encode())
    answer = {key: done[key] for key in ("output", "error") if key in done}
    print(json.dumps({"id": task["id"], **answer}), flush=True)
