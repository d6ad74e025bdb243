"""The protocol: over streams in memory, and with a real process where stdout itself matters."""

import io
import json
import os
import subprocess
import sys
import unittest

import support
from kapelle_agent import LINE_BYTES_MAX, AgentError, loop

TASK = {"id": "t1", "agent": "echo", "version": "1.0.0", "run": "r1", "step": "s", "item": 17, "attempt": 2,
        "idempotency_key": "k", "deadline": "2026-11-22T08:00:00Z", "input": {"name": "Grüße"}}


def talk(handler, *lines):
    """Feeds lines to the loop; gives what it wrote, one value a line."""
    given = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    out = io.BytesIO()
    loop(io.BytesIO(given), out, handler)
    return [json.loads(line) for line in out.getvalue().splitlines()]


class Loop(unittest.TestCase):
    def setUp(self):
        # Handlers that fail are expected to log.
        self.addCleanup(setattr, sys, "stderr", sys.stderr)
        sys.stderr = io.StringIO()

    def test_output(self):
        replies = talk(lambda given, task: {"hello": given["name"], "item": task.item, "attempt": task.attempt}, TASK)
        self.assertEqual(replies, [{"id": "t1", "output": {"hello": "Grüße", "item": 17, "attempt": 2}}])

    def test_one_task_after_another_and_blank_lines_between(self):
        replies = talk(lambda given, task: task.id, TASK, b"", dict(TASK, id="t2"))
        self.assertEqual([reply["output"] for reply in replies], ["t1", "t2"])

    def test_progress_comes_before_the_output(self):
        def handler(_given, task):
            task.progress(3, 10, "third")
            return {}

        self.assertEqual(talk(handler, TASK), [
            {"id": "t1", "progress": {"done": 3, "total": 10, "note": "third"}}, {"id": "t1", "output": {}},
        ])

    def check_error(self, raised, expected):
        def handler(_given, _task):
            raise raised

        replies = talk(handler, TASK, dict(TASK, id="t2"))
        self.assertEqual([reply["id"] for reply in replies], ["t1", "t2"], "the loop goes on")
        self.assertEqual(replies[0]["error"], expected)

    def test_errors(self):
        self.check_error(AgentError("busy", "later", retryable=True, retry_after_ms=500),
                         {"code": "busy", "message": "later", "retryable": True, "retry_after_ms": 500})
        self.check_error(AgentError("bad_input", "no"), {"code": "bad_input", "message": "no", "retryable": False})
        self.check_error(OSError("disk"), {"code": "io_error", "message": "disk", "retryable": True})
        self.check_error(KeyError("x"), {"code": "agent_defect", "message": "KeyError: 'x'", "retryable": False})

    def test_an_output_that_is_no_json_fails_its_task_only(self):
        replies = talk(lambda given, task: {"x": float("nan")} if task.id == "t1" else {}, TASK, dict(TASK, id="t2"))
        self.assertEqual(replies[0]["error"]["code"], "agent_defect")
        self.assertEqual(replies[1], {"id": "t2", "output": {}})

    def test_a_line_that_is_no_task_ends_the_program(self):
        for line in (b"{", b"[]", b"{}", b'{"id":1,"input":{}}', b'{"id":"x"}', b"x" * (LINE_BYTES_MAX + 1)):
            with self.subTest(line[:20]):
                with self.assertRaises(SystemExit):
                    talk(lambda given, task: {}, line)


class Process(support.FolderCase):
    def test_stray_prints_go_to_the_log(self):
        lib = os.path.join(support.ROOT, "lib")
        program = self.write("agent.py", f"import sys\nsys.path.insert(0, {lib!r})\nfrom kapelle_agent import serve\n"
                             "def handler(given, task):\n    print('chatter')\n    return given\nserve(handler)\n")
        done = subprocess.run([sys.executable, program], input=json.dumps(TASK) + "\n", capture_output=True, text=True,
                              encoding="utf-8", timeout=30, check=True)
        self.assertEqual(json.loads(done.stdout), {"id": "t1", "output": {"name": "Grüße"}})
        self.assertIn("chatter", done.stderr)


if __name__ == "__main__":
    unittest.main()
