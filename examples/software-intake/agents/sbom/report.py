"""The report for people: what needs a decision first, the figures behind it next, the whole list last."""

from collections import Counter

from licence_terms import CATEGORIES, CATEGORY_MEANING, OBLIGATIONS, rank
from markdown import code, count, plain, table
from report_texts import ADVICE, LIMITS, SCOPE_MEANING, VERDICTS

SHIPPED = ("runtime", "optional")
# Categories on which a lawyer has to decide, whatever the files say.
TO_DECIDE = ("weak-copyleft", "strong-copyleft", "network-copyleft", "proprietary", "unknown")


def build_report(inventory, reviews, score, run):
    """The whole report as Markdown."""
    third_party = [component for component in inventory["components"] if not component["first_party"]]
    own = [component for component in inventory["components"] if component["first_party"]]
    sections = (
        heading(inventory["project"], run),
        in_short(third_party, own, reviews, score),
        to_look_at(third_party, score),
        licences(third_party, reviews),
        obligations(third_party, reviews),
        declared_and_found(third_party, reviews),
        own_components(own, reviews),
        the_figure(score),
        ["## What this report does not say", "", *(f"- {line}" for line in LIMITS), ""],
        appendix(third_party, reviews),
    )
    return "\n".join(line for section in sections for line in section).rstrip() + "\n"


def heading(project, run):
    """Title, and where the report comes from."""
    version = f" {plain(project['version'])}" if "version" in project else ""
    return [
        f"# Software intake: {plain(project['name'])}{version}",
        "",
        f"Run {code(run['id'])}, started {plain(run['started_at'])}, on a dependency tree of {plain(project['ecosystem'])}.",
        "The same facts for machines: `sbom.cdx.json` (CycloneDX 1.6) beside this file.",
        "",
    ]


def in_short(third_party, own, reviews, score):
    """What somebody who reads nothing else should know."""
    scopes = Counter(component["scope"] for component in third_party)
    parts = ", ".join(f"{scopes[scope]} {meaning}" for scope, meaning in SCOPE_MEANING.items() if scopes[scope])
    decide = [component for component in third_party if reviews[component["id"]]["category"] in TO_DECIDE]
    agreeing = sum(reviews[component["id"]]["verdict"] == "agrees" for component in third_party)
    findings = len(score["components"])
    lines = [
        f"- **{count(len(third_party), 'third-party component')}**" + (f": {parts}." if parts else "."),
        f"- **Risk {score['risk']:.2f} of 1 ({score['level']}).** {the_worst(score)}",
        f"- **{count(len(decide), 'component') if decide else 'No component'} with a licence that somebody has to decide "
        "on** (copyleft, proprietary or unknown).",
        f"- **{count(findings, 'component') if findings else 'No component'} with a finding**; "
        f"for {agreeing} the licence files bear out exactly what is declared.",
    ]
    unseen = sum(reviews[component["id"]]["verdict"] == "unavailable" for component in third_party)
    if unseen:
        lines.append(f"- The files of **{count(unseen, 'component')}** were not on this machine: for them only the "
                     "declaration was read.")
    if own:
        lines.append(f"- {count(len(own), 'component')} of our own, listed apart and not scored.")
    return ["## In short", "", *lines, ""]


def the_worst(score):
    """The component that sets the floor of the figure, if one does."""
    if not score["components"]:
        return "No third-party component gave a reason."
    worst = score["components"][0]
    return f"The highest single figure is {worst['risk']:.2f}, of {code(worst['id'])}."


def to_look_at(third_party, score):
    """Findings by reason, the heaviest reason first, each with what to do about it."""
    scopes = {component["id"]: component["scope"] for component in third_party}
    groups = {}
    for scored in score["components"]:
        for reason in scored["reasons"]:
            groups.setdefault(reason["code"], []).append((reason["points"], scored["id"], reason["text"]))
    lines = ["## What to look at", ""]
    if not groups:
        return [*lines, "Nothing: every component declares a known permissive licence and its files bear it out.", ""]
    for name, found in sorted(groups.items(), key=lambda pair: (-max(pair[1])[0], pair[0])):
        title, advice = ADVICE[name]
        lines += [f"### {title} ({len(found)})", "", advice, ""]
        lines += group(sorted(found, key=lambda one: (-one[0], one[1])), scopes)
    return lines


def group(found, scopes):
    """The components of one reason: a table, or a plain list where one sentence holds for all of many."""
    sentences = {(points, text) for points, _, text in found}
    if len(sentences) == 1 and len(found) > 3:
        points, text = sentences.pop()
        return [f"Of each: {plain(text)} ({points:.2f} points).", "", ", ".join(code(identity) for _, identity, _ in found), ""]
    rows = [(code(identity), scopes[identity], plain(text), f"{points:.2f}") for points, identity, text in found]
    return table(("component", "used for", "what was found", ">points"), rows)


def licences(third_party, reviews):
    """Every declared licence, how often, and which option of a choice was assumed."""
    groups = Counter()
    for component in third_party:
        review = reviews[component["id"]]
        shown = review["expression"] or review["declared"] or "none declared"
        groups[(review["category"], shown, review["choice"] or "")] += 1
    order = sorted(groups.items(), key=lambda pair: (-rank(pair[0][0]), -pair[1], pair[0]))
    categories = Counter()
    for (category, _, _), number in groups.items():
        categories[category] += number
    rows = [(plain(name), number, category, plain(choice)) for (category, name, choice), number in order]
    return [
        "## Licences", "",
        *table(("category", ">components", "in one line"),
               [(name, categories[name], CATEGORY_MEANING[name]) for name in reversed(CATEGORIES) if categories[name]]),
        "Where a component offers a choice of licences, the least demanding one is assumed, of equal ones one whose text "
        "is there; the last column names it. "
        "Choosing another (Apache-2.0 for its patent grant, say) is a decision to write down.", "",
        *table(("declared", ">components", "category", "assumed of a choice"), rows),
    ]


def obligations(third_party, reviews):
    """What has to be done for the components that are shipped."""
    shipped = [component for component in third_party if component["scope"] in SHIPPED]
    numbers = Counter(name for component in shipped for name in reviews[component["id"]]["obligations"])
    free = sum(not reviews[component["id"]]["obligations"] for component in shipped)
    rows = [(text, numbers[name]) for name, text in OBLIGATIONS.items() if numbers[name]]
    return [
        "## What the licences ask of us", "",
        f"Counted over the {count(len(shipped), 'component')} that become part of the product"
        + (f"; {free} of them ask nothing." if free else "."), "",
        *table(("obligation", ">components"), rows),
    ]


def declared_and_found(third_party, reviews):
    """How the declarations stand to the texts."""
    numbers = Counter(reviews[component["id"]]["verdict"] for component in third_party)
    rows = [(name, numbers[name], meaning) for name, meaning in VERDICTS.items() if numbers[name]]
    return ["## Declared and found", "", *table(("verdict", ">components", "meaning"), rows)]


def own_components(own, reviews):
    """First-party components: not scored, but they need a licence of their own too."""
    if not own:
        return []
    rows = []
    for component in own:
        review = reviews[component["id"]]
        rows.append((code(component["name"]), plain(component["version"]), plain(review["declared"] or "none"),
                     review["verdict"]))
    return ["## Our own components", "", *table(("component", "version", "declared", "verdict"), rows)]


def the_figure(score):
    """The arithmetic, so that nobody has to believe the figure."""
    return [
        "## How the risk figure comes about", "",
        "Every reason has points; a component's risk is 1 − (1 − p₁)(1 − p₂)… over its reasons, and the tree's is "
        "the worst component's plus the average's share of the rest:", "",
        f"    {score['worst']:.3f} + (1 − {score['worst']:.3f}) × {score['average']:.4f} = {score['risk']:.3f}", "",
        "Levels: high from 0.6, medium from 0.3, low from 0.1. The figure orders work; it is no probability.", "",
    ]


def appendix(third_party, reviews):
    """Every third-party component."""
    rows = []
    for component in third_party:
        review = reviews[component["id"]]
        rows.append((
            code(component["name"]), plain(component["version"]), component["scope"],
            plain(review["expression"] or review["declared"] or "—"), plain(", ".join(review["found"]) or "—"),
            review["verdict"],
        ))
    heads = ("component", "version", "used for", "declared", "texts found", "verdict")
    return ["## All third-party components", "", *table(heads, rows)]
