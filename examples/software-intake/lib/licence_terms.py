"""Words that three agents share: licence categories in order of demand, and what each obligation asks of us."""

# From the least to the most demanding. Where all parts of an expression apply, the last one wins; where one may
# choose, the first. `unknown` is last: what nobody has read may demand anything.
CATEGORIES = (
    "public-domain",
    "permissive",
    "weak-copyleft",
    "strong-copyleft",
    "network-copyleft",
    "proprietary",
    "unknown",
)

CATEGORY_MEANING = {
    "public-domain": "no conditions",
    "permissive": "keep the notices",
    "weak-copyleft": "share changes to the component itself",
    "strong-copyleft": "share the source of what is built with it, when distributed",
    "network-copyleft": "share the source also when only offered over a network",
    "proprietary": "not an open-source licence: use needs its owner's terms",
    "unknown": "nobody can say yet",
}

OBLIGATIONS = {
    "keep-notice": "Ship the copyright notice and the licence text with every copy.",
    "notice-file": "Ship the contents of the component's NOTICE file, where it has one.",
    "state-changes": "Say in changed files that they were changed.",
    "no-endorsement": "Do not use the authors' names to advertise the product.",
    "advertising": "Name the authors in advertising that mentions the component.",
    "no-misrepresentation": "Do not claim to have written it; mark altered versions as altered.",
    "rename-changes": "Give a changed version another name.",
    "source-of-files": "Offer the source of the component's own files, changes included, under the same licence.",
    "allow-relinking": "Let recipients replace the component and relink; allow reverse engineering for that.",
    "source-of-work": "Offer the complete source of the work that contains it, under the same licence.",
    "network-source": "Offer that source to users over a network too.",
    "read-the-licence": "A person has to read the terms: this table does not know them.",
}


def rank(category):
    """Position in CATEGORIES; what is not listed counts as unknown."""
    return CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES) - 1
