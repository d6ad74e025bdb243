"""What an expression comes to, given the licence texts that were found: its category, and the option that is assumed."""

from licence_table import terms_of
from licence_terms import rank
from licence_text import KNOWN, text_id
from spdx import Group


def evaluate(tree, found):
    """(category, obligations, choice): the expression with the least demanding option of each choice.

    The choice is the part of the tree that remains. Of options in one category, one whose text is there is taken
    before one that is only named; then the one with fewer obligations; then the first.
    """
    if not isinstance(tree, Group):
        return (*terms_of(tree), tree)
    results = [evaluate(part, found) for part in tree.parts]
    if tree.operator == "OR":
        return min(results, key=lambda result: (rank(result[0]), not proven(result[2], found), len(result[1])))
    category = max((result[0] for result in results), key=rank)
    obligations = tuple(dict.fromkeys(name for result in results for name in result[1]))
    return category, obligations, Group("AND", flat(result[2] for result in results))


def flat(trees):
    """The parts of an AND: an AND inside it is not a group of its own, and naming a licence twice adds nothing."""
    parts = (part for tree in trees for part in (tree.parts if isinstance(tree, Group) else (tree,)))
    return tuple(dict.fromkeys(parts))


def proven(tree, found):
    """Whether the texts that were found are all that the expression needs: every part of AND, one of OR."""
    if isinstance(tree, Group):
        parts = (proven(part, found) for part in tree.parts)
        return all(parts) if tree.operator == "AND" else any(parts)
    return all(name in found for name in text_ids(tree))


def text_ids(leaf):
    """The texts that a licence consists of: its own and its exception's, where that has one that can be recognised."""
    exception = [leaf.exception] if leaf.exception in KNOWN else []
    return [text_id(leaf.id), *exception]


def is_exception(name):
    """An exception adds permissions; on its own it is no further licence."""
    return name.endswith("-exception")
