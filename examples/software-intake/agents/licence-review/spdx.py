"""SPDX licence expressions: text → tree, tree → text.

    expression := all ("OR" all)*          `/`, which cargo used to allow, reads as OR
    all        := part ("AND" part)*
    part       := "(" expression ")" | id ["+"] ["WITH" exception]

A text that does not follow the grammar is an error with its reason: it is never repaired by guessing.
Ids are compared without regard to case, as SPDX says, and written as its list writes them.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
ID_LIST = os.path.join(HERE, "..", "..", "schemas", "spdx.SNAPSHOT.schema.json")

EXPRESSION_CHARS_MAX = 2_000
DEPTH_MAX = 32

TOKEN = re.compile(r"\s*(?:([()/])|([A-Za-z0-9][A-Za-z0-9.:\-]*)(\+?))")
REFERENCE = re.compile(r"(DocumentRef-[A-Za-z0-9.\-]+:)?LicenseRef-[A-Za-z0-9.\-]+")
OPERATORS = ("AND", "OR", "WITH")
# SPDX's older names, which are in wide use; each means exactly one of today's ids.
RENAMED = {
    f"{family}-{version}": f"{family}-{version}-only"
    for family, versions in (("GPL", ("1.0", "2.0", "3.0")), ("LGPL", ("2.0", "2.1", "3.0")), ("AGPL", ("1.0", "3.0")))
    for version in versions
}


class SpdxError(ValueError):
    """The text is no SPDX expression; says why."""


@dataclass(frozen=True)
class Licence:
    """A leaf: one licence, perhaps with an exception. `listed` says whether SPDX knows all its ids."""

    id: str
    exception: str | None = None
    listed: bool = True


@dataclass(frozen=True)
class Group:
    """Parts of which all apply (`AND`) or of which one may be chosen (`OR`)."""

    operator: str
    parts: tuple


def load_ids():
    """Lower-case id → id as SPDX writes it, for licences and exceptions alike."""
    with open(ID_LIST, encoding="utf-8") as file:
        return {name.lower(): name for name in json.load(file)["enum"]}


IDS = load_ids()


def parse(text):
    """The tree of an expression."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise SpdxError(f"longer than {EXPRESSION_CHARS_MAX} characters")
    tokens = tokenise(text)
    tree, rest = parse_group(tokens, 0, "OR", 0)
    if rest != len(tokens):
        raise SpdxError(f"expected AND, OR or the end before `{tokens[rest]}`")
    return tree


def tokenise(text):
    """Words, parentheses and operators; operators come out as `AND`, `OR`, `WITH`."""
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise SpdxError(f"`{text[at:].strip()[0]}` has no meaning in an expression")
        mark, word, plus = match.groups()
        if mark:
            tokens.append("OR" if mark == "/" else mark)
        elif word.upper() in OPERATORS and (word.isupper() or word.islower()) and not plus:
            tokens.append(word.upper())
        else:
            tokens.append(word + plus)
        at = match.end()
    return tokens


def parse_group(tokens, at, operator, depth):
    """One level of precedence: OR holds ANDs, AND holds parts."""
    if depth > DEPTH_MAX:
        raise SpdxError(f"nested deeper than {DEPTH_MAX}")
    parts = []
    while True:
        part, at = parse_group(tokens, at, "AND", depth) if operator == "OR" else parse_part(tokens, at, depth)
        # `(a OR b) OR c` is the same choice as `a OR b OR c`.
        same = isinstance(part, Group) and part.operator == operator
        parts.extend(part.parts if same else (part,))
        if at == len(tokens) or tokens[at] != operator:
            parts = tuple(dict.fromkeys(parts))
            return (parts[0] if len(parts) == 1 else Group(operator, parts)), at
        at += 1


def parse_part(tokens, at, depth):
    """A parenthesis or a licence."""
    if at == len(tokens):
        raise SpdxError("ends where a licence is expected" if tokens else "is empty")
    if tokens[at] == "(":
        tree, at = parse_group(tokens, at + 1, "OR", depth + 1)
        if at == len(tokens) or tokens[at] != ")":
            raise SpdxError("a parenthesis is not closed")
        return tree, at + 1
    if tokens[at] == ")" or tokens[at] in OPERATORS:
        raise SpdxError(f"expected a licence before `{tokens[at]}`")
    identity, listed = canonical(tokens[at])
    at += 1
    if at == len(tokens) or tokens[at] != "WITH":
        return Licence(identity, None, listed), at
    if at + 1 == len(tokens) or tokens[at + 1] in ("(", ")", *OPERATORS):
        raise SpdxError("WITH needs an exception after it")
    exception = IDS.get(tokens[at + 1].lower())
    return Licence(identity, exception or tokens[at + 1], listed and exception is not None), at + 2


def canonical(word):
    """An id as SPDX writes it today, and whether SPDX lists it."""
    if REFERENCE.fullmatch(word):
        return word, True
    plain = word[:-1] if word.endswith("+") else word
    name = IDS.get(plain.lower())
    if name is None:
        return word, False
    if word.endswith("+"):
        later = IDS.get(f"{RENAMED[name][:-5]}-or-later".lower()) if name in RENAMED else None
        return later or f"{name}+", True
    return RENAMED.get(name, name), True


def render(tree, within=None):
    """The expression in one spelling; parentheses only where they change the meaning."""
    if isinstance(tree, Licence):
        return f"{tree.id} WITH {tree.exception}" if tree.exception else tree.id
    text = f" {tree.operator} ".join(render(part, tree.operator) for part in tree.parts)
    return f"({text})" if within == "AND" and tree.operator == "OR" else text


def leaves(tree):
    """Every licence that the expression names, in its order."""
    if isinstance(tree, Licence):
        return [tree]
    return [leaf for part in tree.parts for leaf in leaves(part)]
