"""A desk of a support team: it looks for what is its own in a ticket, notes it down and names who is next."""

import json
import sys

ME = sys.argv[1]
ABOUT = {"billing": ["invoice", "refund", "charge"], "technical": ["router", "offline", "login"]}


def wanted(ticket):
    """Who has to look at a ticket, by its words."""
    words = [word.strip(".,!?").lower() for word in ticket.split()]
    return [desk for desk, about in ABOUT.items() if any(word in about for word in words)]


for line in sys.stdin:
    task = json.loads(line)
    ticket, notes = task["input"]["ticket"], task["input"]["notes"]
    before = [it["agent"] for it in task.get("chain", [])]
    if ME == "triage":
        note = "closed" if before else "taken in"
    else:
        note = "about " + ", ".join(word for word in ABOUT[ME] if word in ticket.lower())
    open_desks = [desk for desk in wanted(ticket) if desk != ME and desk not in before]
    # What nobody is left to look at goes back to where it came from, which has the last word.
    last_word = None if ME == "triage" else "triage"
    answer = {"next": open_desks[0] if open_desks else last_word, "notes": notes + [f"{ME}: {note}"]}
    print(json.dumps({"id": task["id"], "output": answer}), flush=True)
