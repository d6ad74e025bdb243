"""Makes a draft better by one word a round, and says how good it is: how many words it has."""

import json
import sys

for line in sys.stdin:
    task = json.loads(line)
    before = task["input"].get("before") or {"text": ""}
    text = f"{before['text']} {task['input']['topic']}".strip()
    answer = {"id": task["id"], "output": {"text": text, "score": len(text.split())}}
    print(json.dumps(answer), flush=True)
