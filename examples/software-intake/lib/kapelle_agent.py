"""The agent's side of Kapelle's process protocol: one JSON object a line on stdin and stdout.

    worker ──{"id","input",…}──▶ stdin    handler(input, task) → output
    worker ◀──{"id","progress"}── stdout   any number of times
    worker ◀──{"id","output"} or {"id","error"}── stdout, exactly once a task

One task at a time, as the worker sends them; the program ends when stdin ends, so `protocol: jsonl` and
`protocol: once` need nothing different. Whatever else the program prints lands on stderr, which is its log:
stdout belongs to the protocol alone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

# A line above the platform's payload limit (16 MiB) plus its envelope is not a task.
LINE_BYTES_MAX = 17 * 1024 * 1024


class AgentError(Exception):
    """A failure with a code that the platform's retry rules can act on."""

    def __init__(self, code, message, retryable=False, retry_after_ms=None):
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


class Task:
    """What a handler may know about its task besides the input, and its way to report progress."""

    def __init__(self, message, send):
        self.id = message["id"]
        self.run = message.get("run")
        self.step = message.get("step")
        self.item = message.get("item")
        self.attempt = message.get("attempt", 1)
        self.idempotency_key = message.get("idempotency_key")
        self.deadline = message.get("deadline")
        # Who had the step before it was handed to this agent, the first first.
        self.chain = message.get("chain", [])
        self._send = send

    def progress(self, done, total, note=""):
        """Shows watchers how far this task is."""
        self._send(encode({"id": self.id, "progress": {"done": done, "total": total, "note": note}}))


def serve(handler):
    """Answers tasks from stdin with `handler(input, task)` until stdin ends. Call it last in the program."""
    protocol = os.fdopen(os.dup(1), "wb")
    # From here on a stray `print` goes to the log instead of breaking the protocol.
    os.dup2(2, 1)
    try:
        loop(sys.stdin.buffer, protocol, handler)
    except BrokenPipeError:
        log("the worker is gone")


def loop(lines, protocol, handler):
    """The loop itself, over any pair of binary streams."""

    def send(line):
        protocol.write(line)
        protocol.flush()

    while True:
        line = lines.readline(LINE_BYTES_MAX)
        if not line:
            return
        if line.strip():
            answer(read(line), send, handler)


def read(line):
    """One task. A line that is none has no id to answer to, so the program ends and the worker says so."""
    try:
        message = json.loads(line)
        if not isinstance(message["id"], str) or "input" not in message:
            raise KeyError("id")
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"not a task: {error!r} in {line[:200]!r}") from error
    return message


def answer(message, send, handler):
    """Runs the handler on one task and sends exactly one output or error."""
    task = Task(message, send)
    try:
        # Encoded here, because an output that is no JSON is a defect of this task and must not end the process.
        line = encode({"id": task.id, "output": handler(message["input"], task)})
    except AgentError as error:
        line = failure(task, error.code, str(error), error.retryable, error.retry_after_ms)
    except BrokenPipeError:
        raise
    except OSError as error:
        # A disk or a folder may be back on the next attempt.
        log(traceback.format_exc())
        line = failure(task, "io_error", str(error), True)
    except Exception as error:  # noqa: BLE001 - the boundary: a defect fails this task, not the process
        log(traceback.format_exc())
        line = failure(task, "agent_defect", f"{type(error).__name__}: {error}", False)
    send(line)


def encode(message):
    """One line. NaN and infinity are no JSON and raise."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8") + b"\n"


def failure(task, code, message, retryable, retry_after_ms=None):
    """An error reply, as a line."""
    error = {"code": code, "message": message, "retryable": retryable}
    if retry_after_ms is not None:
        error["retry_after_ms"] = retry_after_ms
    return encode({"id": task.id, "error": error})


def log(text):
    """One line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def field(value, name, kind=str):
    """`value[name]` of the expected kind, or an error that names it. Contracts catch most of it earlier."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise AgentError("bad_input", f"`{name}` is missing or not a {kind.__name__}")
    return found
