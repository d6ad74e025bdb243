"""Finds and reads the licence files of a component. Every read is bounded: a package's contents are not to be trusted.

Only regular files inside the component's own folders are read; links are never followed.
"""

from __future__ import annotations

import os
import re
import stat

FILES_MAX = 40
# The longest licence text in common use, GPL-3.0, has 35 kB; collections of third-party notices are longer.
FILE_BYTES_MAX = 512 * 1024
# Entries of one folder that are looked at.
ENTRIES_MAX = 5_000

NAME = re.compile(r"(un)?licen[cs]e|licen[cs]es|copying|copyright|notices?|patents", re.IGNORECASE)
# A program about licences is not a licence.
NOT_TEXT = re.compile(
    r"\.(rs|c|h|cc|cpp|js|mjs|cjs|ts|py|rb|go|java|sh|json|toml|ya?ml|lock|png|svg|gif|jpe?g|pdf|zip|gz|tpl|hbs)$",
    re.IGNORECASE,
)
# The REUSE convention and its relatives keep texts in a folder of their own.
FOLDER = re.compile(r"\.?licen[cs]es?", re.IGNORECASE)

COPYRIGHT = re.compile(r"^[^\w\n]*(?:portions )?copyright\b.*(?:\d{4}|©|\(c\)).*$|^[^\w\n]*(?:©|\(c\)) *\d{4}.*$",
                       re.IGNORECASE | re.MULTILINE)
# Lines that belong to a licence's own text or to its template, not to the component.
NOT_HOLDER = re.compile(r"free software foundation|\[|\{|<year>|<name|yyyy|copyright (notice|holder|owner|law|statement|and)",
                        re.IGNORECASE)
HOLDERS_MAX = 8
HOLDER_CHARS_MAX = 160


def read_licence_files(folders, named_file):
    """[(name, text)] of the first folder that has any, and whether any folder could be read at all.

    Names are relative to that folder. A later folder (the repository's root) is used only if the earlier have none.
    """
    reachable = False
    for folder in folders:
        if not may_list(folder):
            continue
        reachable = True
        files = [(name, text) for name in candidates(folder, named_file) for text in [read(folder, name)] if text is not None]
        if files:
            return files, True
    return [], reachable


def may_list(folder):
    """Whether it is a folder that this agent may look into. One that it may not tells nothing about the component."""
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


def candidates(folder, named_file):
    """Names that may hold a licence, in a stable order, the file that the manifest names first."""
    names = [named_file] if named_file and stays_inside(named_file) else []
    for name in listing(folder):
        if NAME.match(name) and not NOT_TEXT.search(name):
            names.append(name)
        if FOLDER.fullmatch(name) and is_folder(os.path.join(folder, name)):
            names.extend(f"{name}/{inner}" for inner in listing(os.path.join(folder, name)) if not NOT_TEXT.search(inner))
    return list(dict.fromkeys(names))[:FILES_MAX]


def listing(folder):
    """Sorted names of a folder, bounded; empty if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(ENTRIES_MAX))]
    except OSError:
        return []
    return sorted(names)


def stays_inside(name):
    """Whether a path from a manifest stays below the folder."""
    return not os.path.isabs(name) and ".." not in re.split(r"[\\/]", name)


def is_folder(path):
    """A real folder, no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def read(folder, name):
    """The beginning of a file; `None` if it is no regular file, cannot be read or is no text."""
    path = os.path.join(folder, name)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        # Without these a link or a pipe that took the file's place in between would be followed or waited for.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            content = file.read(FILE_BYTES_MAX)
    except OSError:
        return None
    return None if b"\0" in content else content.decode("utf-8", "replace")


def holders(texts):
    """Copyright lines, each once, as the notices give them."""
    found = {}
    for text in texts:
        for line in COPYRIGHT.findall(text):
            line = " ".join(line.strip(" \t\r*/#;-").split())
            if line and not NOT_HOLDER.search(line):
                found.setdefault(line[:HOLDER_CHARS_MAX])
    return list(found)[:HOLDERS_MAX]
