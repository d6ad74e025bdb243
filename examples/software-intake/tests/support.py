"""What the tests share: the agents on the path, a task that records progress, throw-away folders."""

import json
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AGENTS = os.path.join(ROOT, "agents")
SAMPLE = os.path.join(ROOT, "samples", "npm")
for folder in [os.path.join(ROOT, "lib"), *(os.path.join(AGENTS, name) for name in sorted(os.listdir(AGENTS)))]:
    if folder not in sys.path:
        sys.path.insert(0, folder)


class RecordingTask:
    """Stands in for a task: remembers the progress that a handler reports."""

    def __init__(self):
        self.reports = []

    def progress(self, done, total, note=""):
        self.reports.append((done, total, note))


class FolderCase(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def write(self, name, content):
        """Writes a text, or a value as JSON, below the folder; gives its path."""
        path = os.path.join(self.folder, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path
