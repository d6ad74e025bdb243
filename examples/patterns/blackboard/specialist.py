"""Finds out what one field of knowledge makes of the facts on the board, or writes to the board what others found."""

import json
import sys

# Of each field: what it finds out, from what, and how.
KNOWLEDGE = {
    "circle": [("area", ["radius"], lambda it: 3 * it["radius"] ** 2)],
    "cylinder": [("height", ["area"], lambda it: 10), ("volume", ["area", "height"], lambda it: it["area"] * it["height"])],
    "price": [("price", ["volume"], lambda it: it["volume"] * 5)],
}


def look(field, facts):
    rules = KNOWLEDGE[field]
    # What is found out in this round is read in the next.
    return {name: rule(facts) for name, needs, rule in rules if name not in facts and all(need in facts for need in needs)}


for line in sys.stdin:
    task = json.loads(line)
    given = task["input"]
    facts = given["facts"]
    if given["field"] == "board":
        for found in given["found"]:
            facts = {**facts, **found["facts"]}
    else:
        facts = look(given["field"], facts)
    print(json.dumps({"id": task["id"], "output": {"facts": facts}}), flush=True)
