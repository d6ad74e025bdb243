"""Markdown from values that strangers wrote: names, licences and file names of packages are escaped, never trusted."""

import re

CELL_CHARS_MAX = 300


def plain(value):
    """Text as it is, on one line, without any Markdown or HTML meaning."""
    text = " ".join(str(value).split())[:CELL_CHARS_MAX]
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|\[\]*`])", r"\\\1", text)


def code(value):
    """A name in a code span."""
    text = " ".join(str(value).split())[:CELL_CHARS_MAX]
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def table(heads, rows):
    """A table; a head that begins with `>` is a column of numbers. Cells are Markdown already."""
    marks = ["---:" if head.startswith(">") else "---" for head in heads]
    lines = [row_of(head.lstrip(">") for head in heads), "|" + "|".join(marks) + "|"]
    return [*lines, *(row_of(row) for row in rows), ""]


def row_of(cells):
    """One line of a table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def count(number, one, many=None):
    """`1 component`, `2 components`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
