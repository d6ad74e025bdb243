"""Agent `risk-score`: how much attention the tree needs, as a figure from 0 to 1 with the reason for every point.

One component:  risk = 1 - (1 - p1)(1 - p2)…   over the points of its reasons, so no reason is lost and none exceeds 1.
The whole tree: risk = worst + (1 - worst) × average of all third-party components: the worst component sets the
floor, and many smaller ones raise it.

The figure orders work for people. It is no probability, and it says nothing about vulnerabilities or withdrawn
versions, which cannot be known without a network.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))

from kapelle_agent import AgentError, field, serve  # noqa: E402
from licence_terms import CATEGORY_MEANING  # noqa: E402

# What the licence itself demands, where the component is part of what is shipped.
CATEGORY_POINTS = {
    "weak-copyleft": 0.3,
    "strong-copyleft": 0.8,
    "network-copyleft": 0.9,
    "proprietary": 0.9,
    "unknown": 0.7,
}
# A text that the declaration does not mention: less certain, because it may cover a small part only.
EXTRA_POINTS = {
    "public-domain": 0.02,
    "permissive": 0.05,
    "weak-copyleft": 0.2,
    "strong-copyleft": 0.5,
    "network-copyleft": 0.6,
    "proprietary": 0.6,
    "unknown": 0.3,
}
# Copyleft binds those who distribute. What only runs while building or testing is not distributed.
NOT_SHIPPED_FACTOR = 0.3
NOT_SHIPPED = ("build", "development")

MISMATCH_POINTS = 0.5
INCOMPLETE_POINTS = 0.15
NO_TEXT_POINTS = 0.1
UNRECOGNISED_POINTS = 0.1
UNAVAILABLE_POINTS = 0.05

LEVELS = ((0.6, "high"), (0.3, "medium"), (0.1, "low"), (0.0, "minimal"))


def score(given, task):
    """Scores every third-party component; first-party ones are ours to licence and are left out."""
    components = field(given, "components", list)
    reviews = {review["id"]: review for review in field(given, "reviews", list)}
    scored = []
    third_party = [component for component in components if not component["first_party"]]
    for component in third_party:
        review = reviews.get(component["id"])
        if review is None:
            raise AgentError("bad_input", f"there is no review of {component['id']}")
        reasons = reasons_for(component, review)
        if reasons:
            risk = combine(reason["points"] for reason in reasons)
            scored.append({"id": component["id"], "risk": risk, "level": level(risk), "reasons": reasons})
    scored.sort(key=lambda one: (-one["risk"], one["id"]))
    task.progress(len(third_party), len(third_party), f"{len(scored)} with findings")

    worst = scored[0]["risk"] if scored else 0.0
    average = sum(one["risk"] for one in scored) / len(third_party) if third_party else 0.0
    risk = round(worst + (1 - worst) * average, 3)
    return {
        "risk": risk,
        "level": level(risk),
        "worst": worst,
        "average": round(average, 4),
        "scored": len(third_party),
        "components": scored,
        "reasons": tally(scored),
    }


def reasons_for(component, review):
    """Every reason why someone should look at this component."""
    return [reason for reason in (category_reason(component, review), evidence_reason(review), extra_reason(review)) if reason]


def category_reason(component, review):
    """What the declared licence demands, in its least demanding reading."""
    category = review["category"]
    points = CATEGORY_POINTS.get(category)
    if points is None:
        return None
    if category == "unknown":
        return reason("licence-unknown", unknown_text(review), points)
    text = f"{review['choice'] or review['expression']}: {CATEGORY_MEANING[category]}"
    if component["scope"] in NOT_SHIPPED and category.endswith("copyleft"):
        return reason(category, f"{text} (used for {component['scope']} only)", points * NOT_SHIPPED_FACTOR)
    return reason(category, text, points)


def unknown_text(review):
    """Why the licence is unknown."""
    if review["declared"] is None:
        found = f"; its files hold the text of {', '.join(review['found'])}" if review["found"] else ""
        return f"declares no licence{found}"
    if review["problem"]:
        return f'declares "{review["declared"]}", which is no SPDX expression: {review["problem"]}'
    return f"declares {review['expression']}, whose terms are not in the table"


def evidence_reason(review):
    """How far the files bear out the declaration."""
    verdict = review["verdict"]
    missing = ", ".join(review["missing"])
    if verdict == "mismatch":
        found = ", ".join(review["found"])
        return reason(verdict, f"declares {review['expression']}, but its files hold the text of {found}", MISMATCH_POINTS)
    if verdict == "incomplete":
        return reason(verdict, f"needs the text of {missing} too, which its files do not hold", INCOMPLETE_POINTS)
    if verdict == "no-text":
        return reason(verdict, f"declares {review['expression']}, but ships no licence file", NO_TEXT_POINTS)
    if verdict == "unrecognised":
        return reason(verdict, f"its licence files hold no text known as {missing}", UNRECOGNISED_POINTS)
    if verdict == "unavailable":
        return reason(verdict, "its files are not on this machine, so only the declaration was read", UNAVAILABLE_POINTS)
    return None


def extra_reason(review):
    """A licence text that the declaration does not mention; a mismatch says so already."""
    if not review["extra"] or review["verdict"] == "mismatch":
        return None
    files = ", ".join(text["file"] for text in review["texts"] if set(text["licences"]) & set(review["extra"]))
    text = f"{files}: holds the text of {', '.join(review['extra'])}, which is not declared"
    return reason("extra-text", text, EXTRA_POINTS.get(review["extra_category"], EXTRA_POINTS["unknown"]))


def reason(code, text, points):
    """One reason with its points."""
    return {"code": code, "points": round(points, 3), "text": text}


def combine(points):
    """Points together, never above 1."""
    rest = 1.0
    for one in points:
        rest *= 1 - one
    return round(1 - rest, 3)


def level(risk):
    """The word for a figure."""
    return next(word for least, word in LEVELS if risk >= least)


def tally(scored):
    """How many components each reason was given for, the most frequent first."""
    counts = {}
    for one in scored:
        for given in one["reasons"]:
            counts[given["code"]] = counts.get(given["code"], 0) + 1
    return [{"code": code, "components": count} for code, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


if __name__ == "__main__":
    serve(score)
