"""Reading what a package manager wrote: bounded, and with errors that say which file is wrong."""

import json
import os

from kapelle_agent import AgentError

# `cargo metadata` of a tree of thousands of crates is some tens of megabytes.
SOURCE_BYTES_MAX = 128 * 1024 * 1024


def read_text(path, what):
    """A whole text file; `what` names it in errors."""
    try:
        size = os.stat(path).st_size
        if size > SOURCE_BYTES_MAX:
            raise AgentError("source_too_large", f"{what} `{path}` has {size} bytes; {SOURCE_BYTES_MAX} is the limit")
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError as error:
        raise AgentError("source_not_found", f"{what} `{path}` does not exist") from error
    except UnicodeDecodeError as error:
        raise AgentError("bad_source", f"{what} `{path}` is not UTF-8 text: {error}") from error


def read_object(path, what):
    """A JSON file that holds an object."""
    try:
        value = json.loads(read_text(path, what))
    except ValueError as error:
        raise AgentError("bad_source", f"{what} `{path}` is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise AgentError("bad_source", f"{what} `{path}` holds no JSON object")
    return value


def without_nothing(component):
    """The component without its empty fields: what is unknown is left out, not written as null."""
    return {name: value for name, value in component.items() if value is not None}
