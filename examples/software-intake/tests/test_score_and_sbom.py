"""The figure, the SBOM's structure, the report, and how the files are written."""

import json
import os
import unittest
from unittest import mock

import support
from cyclonedx import build_bom
from kapelle_agent import AgentError
from markdown import code, plain
from report_texts import ADVICE, VERDICTS
from risk_score import CATEGORY_POINTS, score
from sbom import write_results
from spdx import IDS

RUN = {"id": "01940000-0000-7000-8000-000000000000", "started_at": "2026-11-22T08:00:00.000Z"}


def component(name, **more):
    """A third-party component as the inventory gives it."""
    identity = f"pkg:cargo/{name}@1.0.0"
    base = {"id": identity, "name": name, "version": "1.0.0", "purl": identity, "first_party": False, "origin": "registry",
            "scope": "runtime", "folders": []}
    return dict(base, **more)


def review(name, **more):
    """A review of it without any finding."""
    base = {"id": f"pkg:cargo/{name}@1.0.0", "declared": "MIT", "expression": "MIT", "listed": True, "problem": None,
            "category": "permissive", "choice": None, "obligations": ["keep-notice"], "verdict": "agrees",
            "texts": [{"file": "LICENSE", "licences": ["MIT"]}], "copyrights": [], "found": ["MIT"], "missing": [],
            "extra": [], "extra_category": None}
    return dict(base, **more)


def tree(*components, **dependencies):
    """An inventory."""
    return {"project": {"id": "project/p", "name": "p", "ecosystem": "cargo"}, "components": list(components),
            "dependencies": dependencies, "summary": {"components": len(components), "third_party": 1, "first_party": 0}}


class Score(unittest.TestCase):
    def check(self, expected, scope="runtime", **more):
        with self.subTest(expected, **more):
            got = score({"components": [component("a", scope=scope)], "reviews": [review("a", **more)]}, support.RecordingTask())
            reasons = got["components"][0]["reasons"] if got["components"] else []
            self.assertEqual({one["code"]: one["points"] for one in reasons}, expected)
            return got

    def test_reasons(self):
        self.check({})
        self.check({"strong-copyleft": 0.8}, category="strong-copyleft")
        self.check({"strong-copyleft": 0.24}, scope="build", category="strong-copyleft")
        self.check({"proprietary": 0.9}, scope="build", category="proprietary")
        self.check({"licence-unknown": 0.7}, category="unknown", declared=None, expression=None, verdict="undeclared")
        self.check({"licence-unknown": 0.7}, category="unknown", declared="x y", expression=None, problem="why")
        self.check({"no-text": 0.1}, verdict="no-text")
        self.check({"unavailable": 0.05}, verdict="unavailable")
        self.check({"mismatch": 0.5}, verdict="mismatch", found=["ISC"], extra=["ISC"], extra_category="permissive")
        self.check({"extra-text": 0.5}, verdict="extra-text", extra=["GPL-2.0"], extra_category="strong-copyleft")
        self.check({"incomplete": 0.15, "extra-text": 0.05}, verdict="incomplete", extra=["ISC"], extra_category="permissive")

    def test_reasons_combine_without_exceeding_one(self):
        got = self.check({"strong-copyleft": 0.8, "no-text": 0.1}, category="strong-copyleft", verdict="no-text")
        self.assertEqual((got["components"][0]["risk"], got["level"]), (0.82, "high"))
        self.assertTrue(0 <= got["risk"] <= 1)

    def test_first_party_is_not_scored_and_nothing_is_nothing(self):
        got = score({"components": [component("a", first_party=True)], "reviews": []}, support.RecordingTask())
        self.assertEqual((got["risk"], got["scored"], got["level"]), (0.0, 0, "minimal"))

    def test_a_component_without_review_is_an_error(self):
        with self.assertRaisesRegex(AgentError, "no review of pkg:cargo/a"):
            score({"components": [component("a")], "reviews": []}, support.RecordingTask())

    def test_every_reason_and_verdict_has_words_in_the_report(self):
        codes = {"licence-unknown" if name == "unknown" else name for name in CATEGORY_POINTS}
        self.assertEqual(codes | {"mismatch", "incomplete", "no-text", "unrecognised", "unavailable", "extra-text"}, set(ADVICE))
        self.assertEqual(len(VERDICTS), 8)


class Bom(unittest.TestCase):
    def build(self, *pairs, **dependencies):
        return build_bom(tree(*(one for one, _ in pairs), **dependencies), {one["id"]: seen for one, seen in pairs}, RUN)

    def licences(self, **more):
        return self.build((component("a"), review("a", **more)))["components"][0].get("licenses")

    def test_refs_are_unique_and_every_edge_ends_at_one(self):
        bom = self.build((component("a"), review("a")), (component("b"), review("b")),
                         **{"project/p": ["pkg:cargo/a@1.0.0"], "pkg:cargo/a@1.0.0": ["pkg:cargo/b@1.0.0"]})
        refs = [bom["metadata"]["component"]["bom-ref"], *(one["bom-ref"] for one in bom["components"])]
        self.assertEqual(len(refs), len(set(refs)))
        self.assertEqual([one["ref"] for one in bom["dependencies"]], refs)
        for one in bom["dependencies"]:
            self.assertLessEqual(set(one.get("dependsOn", [])), set(refs))

    def test_licences_take_the_form_that_fits(self):
        declared = "declared"
        self.assertEqual(self.licences(), [{"license": {"id": "MIT", "acknowledgement": declared}}])
        self.assertEqual(self.licences(expression="MIT OR ISC"), [{"expression": "MIT OR ISC", "acknowledgement": declared}])
        self.assertEqual(self.licences(expression="LicenseRef-X"), [{"expression": "LicenseRef-X", "acknowledgement": declared}])
        self.assertEqual(self.licences(declared="MITT", expression="MITT", listed=False),
                         [{"license": {"name": "MITT", "acknowledgement": declared}}])
        self.assertEqual(self.licences(declared="Apache 2.0", expression=None, listed=False),
                         [{"license": {"name": "Apache 2.0", "acknowledgement": declared}}])
        self.assertIsNone(self.licences(declared=None, expression=None, listed=False))
        self.assertIn("mit", IDS)

    def test_details(self):
        bom = self.build((component("@x/y", sha512="ab" * 64, scope="build", repository="https://example.com"),
                          review("@x/y", copyrights=["Copyright 2020 A"], found=["MIT", "LicenseRef-Commons-Clause"])))
        one = bom["components"][0]
        self.assertEqual((one["group"], one["name"], one["scope"]), ("@x", "y", "excluded"))
        self.assertEqual(one["hashes"], [{"alg": "SHA-512", "content": "ab" * 64}])
        self.assertEqual(one["evidence"], {"licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "LicenseRef-Commons-Clause"}}],
                                           "copyright": [{"text": "Copyright 2020 A"}]})
        self.assertEqual(bom["metadata"]["timestamp"], RUN["started_at"])

    def test_the_serial_number_is_the_runs(self):
        def serial(run):
            return build_bom(tree(), {}, dict(RUN, id=run))["serialNumber"]

        self.assertEqual(serial("one"), serial("one"))
        self.assertNotEqual(serial("one"), serial("two"))
        self.assertRegex(serial("one"), r"^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")

    def test_a_time_that_is_none_is_refused(self):
        with self.assertRaisesRegex(AgentError, "RFC 3339"):
            build_bom(tree(), {}, dict(RUN, started_at="yesterday"))


class Results(support.FolderCase):
    def given(self, **more):
        one, seen = component("a"), review("a", verdict="no-text", declared="a|b\n<script>", expression=None, category="unknown",
                                           problem="no [link](x)")
        figure = score({"components": [one], "reviews": [seen]}, support.RecordingTask())
        return dict({"inventory": tree(one), "reviews": [seen], "score": figure, "run_id": RUN["id"],
                     "started_at": RUN["started_at"], "output_dir": os.path.join(self.folder, "out")}, **more)

    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_a_second_execution_writes_the_same_bytes_and_leaves_nothing_else(self):
        first = write_results(self.given(), support.RecordingTask())
        before = self.read(first["sbom"]["path"]), self.read(first["report"]["path"])
        self.assertEqual(write_results(self.given(), support.RecordingTask()), first)
        self.assertEqual((self.read(first["sbom"]["path"]), self.read(first["report"]["path"])), before)
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "out"))), ["report.md", "sbom.cdx.json"])
        self.assertEqual(json.loads(before[0])["bomFormat"], "CycloneDX")

    def test_a_failed_write_leaves_the_old_file_and_no_rubbish(self):
        first = write_results(self.given(), support.RecordingTask())
        before = self.read(first["sbom"]["path"])
        with mock.patch("os.replace", side_effect=OSError("disk")), self.assertRaises(OSError):
            write_results(self.given(run_id="another"), support.RecordingTask())
        self.assertEqual(self.read(first["sbom"]["path"]), before)
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, "out"))), ["report.md", "sbom.cdx.json"])

    def test_what_strangers_wrote_has_no_meaning_in_the_report(self):
        text = self.read(write_results(self.given(), support.RecordingTask())["report"]["path"]).decode()
        self.assertIn(r"a\|b &lt;script&gt;", text)
        self.assertIn(r"no \[link\](x)", text)
        self.assertNotIn("<script>", text)
        self.assertEqual(plain("a`b\nc"), r"a\`b c")
        self.assertEqual(code("a`b|c"), r"`a'b\|c`")

    def test_a_relative_folder_is_refused(self):
        with self.assertRaisesRegex(AgentError, "not an absolute path"):
            write_results(self.given(output_dir="out"), support.RecordingTask())


if __name__ == "__main__":
    unittest.main()
