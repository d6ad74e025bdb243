"""The whole chain with real processes, each in its manifest's folder, as a worker starts them."""

import json
import os
import subprocess
import sys
import unittest

import support
import texts

PROGRAMS = {"inventory": "inventory.py", "licence-review": "licence_review.py", "risk-score": "risk_score.py", "sbom": "sbom.py"}
RUN_ID = "01940000-0000-7000-8000-000000000000"


def execute(agent, inputs):
    """Outputs of one process that is given several tasks, one after another."""
    lines = "".join(json.dumps({"id": str(n), "input": given}) + "\n" for n, given in enumerate(inputs))
    done = subprocess.run([sys.executable, PROGRAMS[agent]], input=lines, capture_output=True, text=True, encoding="utf-8",
                          cwd=os.path.join(support.AGENTS, agent), timeout=60, check=False)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    answers = {reply["id"]: reply for reply in replies if "progress" not in reply}
    assert done.returncode == 0 and len(answers) == len(inputs), done.stderr
    return [answers[str(n)] for n in range(len(inputs))]


class Chain(support.FolderCase):
    def test_an_npm_project_from_lock_file_to_report(self):
        root = os.path.join(self.folder, "shop")
        packages = {"": {"name": "shop", "version": "1.0.0", "dependencies": {"a": "1", "g": "1"}},
                    "node_modules/a": {"version": "1.0.0", "license": "MIT", "dependencies": {"u": "1"}},
                    "node_modules/g": {"version": "1.0.0", "license": "MIT"},
                    "node_modules/u": {"version": "1.0.0"}}
        self.write("shop/package-lock.json", {"lockfileVersion": 3, "packages": packages})
        self.write("shop/node_modules/a/LICENSE", texts.MIT)
        self.write("shop/node_modules/g/COPYING", texts.GPL_3)

        inventory = execute("inventory", [{"source": {"kind": "npm", "root": root}}])[0]["output"]
        reviews = [reply["output"] for reply in execute("licence-review", [{"component": c} for c in inventory["components"]])]
        given = {"components": inventory["components"], "reviews": reviews}
        score = execute("risk-score", [given])[0]["output"]
        output = os.path.join(self.folder, "out")
        result = execute("sbom", [{"inventory": inventory, "reviews": reviews, "score": score, "output_dir": output,
                                   "run_id": RUN_ID, "started_at": "2026-11-22T08:00:00Z"}])[0]["output"]

        self.assertEqual([one["verdict"] for one in reviews], ["agrees", "mismatch", "unavailable"])
        self.assertEqual([one["id"] for one in score["components"]], ["pkg:npm/u@1.0.0", "pkg:npm/g@1.0.0"])
        self.assertEqual((result["level"], result["findings"], result["sbom"]["components"]), ("high", 2, 3))
        self.assertEqual(result["categories"], {"permissive": 2, "unknown": 1})
        with open(result["report"]["path"], encoding="utf-8") as file:
            self.assertIn("its files hold the text of GPL-3.0", file.read())

    def test_a_failure_is_an_answer(self):
        error = execute("inventory", [{"source": {"kind": "npm", "root": "/nowhere"}}])[0]["error"]
        self.assertEqual((error["code"], error["retryable"]), ("source_not_found", False))


if __name__ == "__main__":
    unittest.main()
