"""The report's fixed words: what each reason, verdict and scope means and what to do about it."""

SCOPE_MEANING = {
    "runtime": "part of the product",
    "optional": "part of it where they can be installed",
    "build": "used only while building",
    "development": "used only for development and tests",
}

# Reason code → title and advice.
ADVICE = {
    "licence-unknown": (
        "Licence unknown",
        "Nothing that could be read says under which terms these may be used. Read their terms, ask their authors, or "
        "replace them. Until then no right to use them is on record.",
    ),
    "proprietary": (
        "Proprietary or restricted",
        "Not open-source licences: use needs an agreement with the owner, or a person who has read the restrictions.",
    ),
    "network-copyleft": (
        "Network copyleft",
        "Offering the product over a network is enough to owe its source. Decide before it is offered to anybody.",
    ),
    "strong-copyleft": (
        "Strong copyleft",
        "Distributing the product with these means offering its complete source under the same licence. Decide whether "
        "that is wanted, whether another of the offered licences can be taken, or replace them.",
    ),
    "weak-copyleft": (
        "Weak copyleft",
        "Use is fine; changes to these components' own files have to be shared. See that a changed copy is noticed.",
    ),
    "mismatch": (
        "Files contradict the declaration",
        "The manifest names one licence and the files hold another. Ask the authors which one they mean; until then keep "
        "to the stricter.",
    ),
    "incomplete": (
        "A declared licence's text is missing",
        "All of the declared licences apply, but the text of one was not found. Fetch it, so that it can be shipped.",
    ),
    "extra-text": (
        "A further licence text",
        "The files hold a licence that the manifest does not declare, often for a part that was taken from elsewhere. "
        "Ship that notice too, and read which part it covers.",
    ),
    "no-text": (
        "No licence file",
        "The licence is declared but its text is not shipped, while most licences ask for the text to be passed on. Take "
        "it, with the copyright line, from the component's repository.",
    ),
    "unrecognised": (
        "Licence files in unknown words",
        "Licence files are there, but none holds a text that this review knows for the declared licence. Read them once.",
    ),
    "unavailable": (
        "Only the declaration was read",
        "The component's files are not on the machine that did the review. Install the dependencies and run it again.",
    ),
}

VERDICTS = {
    "agrees": "the files hold every licence text that the declaration needs, and no other",
    "extra-text": "they do, and hold the text of a licence that is not declared",
    "incomplete": "some of the texts that are needed were found, but not all",
    "mismatch": "only texts of other licences were found",
    "no-text": "there is no licence file",
    "unrecognised": "there are licence files, but no text in them is known",
    "undeclared": "there is no valid declaration to compare with",
    "unavailable": "the component's files are not on this machine",
}

LIMITS = (
    "It is no legal advice. Categories and obligations come from a table of common licences; the licence text decides.",
    "Licence texts are recognised by phrases that only they have. That tells what a text is, not that every word is unchanged.",
    "Only licence files at the top of each component (and in a `LICENSES` folder) were read, not the headers of source "
    "files, and not code that a component carries in subfolders.",
    "Nothing was asked of any network: withdrawn versions, vulnerabilities and abandoned projects are not covered.",
    "The tree covers every platform and every member of the workspace, so \"part of the product\" is an upper bound: a "
    "given build may leave components out.",
)
