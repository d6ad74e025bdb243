"""Makes a plan out of a wish: "double 4, then add 3". It writes down whatever act it is asked for; its contract says which are allowed."""

import json
import sys


def plan(wish):
    acts = []
    for part in wish.replace(" then ", " ").split(","):
        words = part.split()
        number = float(words[1]) if len(words) > 1 else 0.0
        # The first number is where to begin.
        if not acts:
            acts.append({"act": "set", "by": number})
            number = 0.0 if words[0] == "double" else number
        acts.append({"act": words[0], "by": number})
    return acts


for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({"id": task["id"], "output": {"plan": plan(task["input"]["wish"])}}), flush=True)
