"""SPDX expressions: what they parse to, what they refuse, what they come to."""

import unittest

import support  # noqa: F401
import licence_table
import licence_terms
from licence_choice import evaluate
from spdx import DEPTH_MAX, EXPRESSION_CHARS_MAX, IDS, SpdxError, leaves, parse, render


class Spelling(unittest.TestCase):
    def check(self, text, expected):
        with self.subTest(text):
            self.assertEqual(render(parse(text)), expected)
            self.assertEqual(render(parse(expected)), expected, "rendering is stable")

    def test_one_spelling(self):
        for text, expected in (
            ("MIT", "MIT"),
            (" mit ", "MIT"),
            ("apache-2.0", "Apache-2.0"),
            ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
            ("MIT or Apache-2.0", "MIT OR Apache-2.0"),
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("Apache-2.0 / MIT", "Apache-2.0 OR MIT"),
            ("(MIT)", "MIT"),
            ("MIT OR MIT", "MIT"),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", "(MIT OR Apache-2.0) AND Unicode-3.0"),
            ("MIT OR (Apache-2.0 AND ISC)", "MIT OR Apache-2.0 AND ISC"),
            ("(MIT OR ISC) OR Zlib", "MIT OR ISC OR Zlib"),
            ("Apache-2.0 WITH LLVM-exception OR MIT", "Apache-2.0 WITH LLVM-exception OR MIT"),
            ("GPL-2.0", "GPL-2.0-only"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("LGPL-2.1+ AND MIT", "LGPL-2.1-or-later AND MIT"),
            ("MPL-1.1+", "MPL-1.1+"),
            ("LicenseRef-Ours AND MIT", "LicenseRef-Ours AND MIT"),
            ("DocumentRef-x:LicenseRef-y", "DocumentRef-x:LicenseRef-y"),
        ):
            self.check(text, expected)

    def test_and_binds_tighter_than_or(self):
        tree = parse("MIT OR ISC AND Zlib")
        self.assertEqual(tree.operator, "OR")
        self.assertEqual(tree.parts[1].operator, "AND")

    def test_refusals_say_why(self):
        for text, why in (
            ("", "empty"),
            ("MIT OR", "ends where"),
            ("MIT Apache-2.0", "expected AND, OR"),
            ("Apache 2.0", "expected AND, OR"),
            ("(MIT", "not closed"),
            ("MIT)", "expected AND, OR"),
            ("OR MIT", "expected a licence"),
            ("MIT WITH", "WITH needs"),
            ("MIT, Apache-2.0", "no meaning"),
            ("MIT And ISC", "expected AND, OR"),
            ("(" * (DEPTH_MAX + 2) + "MIT" + ")" * (DEPTH_MAX + 2), "nested deeper"),
            ("M" * (EXPRESSION_CHARS_MAX + 1), "longer than"),
        ):
            with self.subTest(text[:40]):
                with self.assertRaisesRegex(SpdxError, why):
                    parse(text)

    def test_unlisted_ids_are_marked_not_repaired(self):
        for text, listed in (("MIT", True), ("MITT", False), ("Apache-2", False), ("MIT WITH No-exception", False),
                             ("GPL-2.0 WITH Classpath-exception-2.0", True)):
            with self.subTest(text):
                self.assertEqual(all(leaf.listed for leaf in leaves(parse(text))), listed)


class Terms(unittest.TestCase):
    def check(self, text, category, choice, found=()):
        with self.subTest(text, found=found):
            got, _, tree = evaluate(parse(text), found)
            self.assertEqual((got, render(tree)), (category, choice))

    def test_category_and_choice(self):
        for text, category, choice in (
            ("MIT", "permissive", "MIT"),
            ("MIT OR Apache-2.0", "permissive", "MIT"),
            ("Apache-2.0 OR MIT", "permissive", "MIT"),
            ("MIT OR GPL-3.0-or-later", "permissive", "MIT"),
            ("MIT AND GPL-3.0-or-later", "strong-copyleft", "MIT AND GPL-3.0-or-later"),
            ("(MIT OR Apache-2.0) AND MPL-2.0", "weak-copyleft", "MIT AND MPL-2.0"),
            ("Unlicense OR MIT", "public-domain", "Unlicense"),
            ("AGPL-3.0", "network-copyleft", "AGPL-3.0-only"),
            ("GPL-2.0 WITH Classpath-exception-2.0", "weak-copyleft", "GPL-2.0-only WITH Classpath-exception-2.0"),
            ("GPL-2.0 WITH No-exception", "strong-copyleft", "GPL-2.0-only WITH No-exception"),
            ("Apache-2.0 WITH LLVM-exception", "permissive", "Apache-2.0 WITH LLVM-exception"),
            ("LicenseRef-Ours", "unknown", "LicenseRef-Ours"),
            ("LicenseRef-Ours AND MIT", "unknown", "LicenseRef-Ours AND MIT"),
            ("LicenseRef-Ours OR MIT", "permissive", "MIT"),
            ("MITT", "unknown", "MITT"),
            ("UNLICENSED", "proprietary", "UNLICENSED"),
            ("BUSL-1.1", "proprietary", "BUSL-1.1"),
        ):
            self.check(text, category, choice)

    def test_an_option_whose_text_is_there_is_preferred_within_its_category(self):
        self.check("MIT OR Apache-2.0", "permissive", "Apache-2.0", ["Apache-2.0"])
        self.check("MIT OR GPL-3.0-only", "permissive", "MIT", ["GPL-3.0"])

    def test_and_joins_obligations_once(self):
        _, obligations, _ = evaluate(parse("MIT AND BSD-3-Clause"), [])
        self.assertEqual(obligations, ("keep-notice", "no-endorsement"))


class Table(unittest.TestCase):
    def test_every_row_is_spelt_as_spdx_spells_it(self):
        for identity in [*licence_table.TABLE, *licence_table.SOFTENING]:
            if identity != "UNLICENSED":
                self.assertEqual(IDS.get(identity.lower()), identity)

    def test_every_category_and_obligation_is_explained(self):
        for category, obligations in [*licence_table.TABLE.values(), *licence_table.SOFTENING.values()]:
            self.assertIn(category, licence_terms.CATEGORY_MEANING)
            for name in obligations:
                self.assertIn(name, licence_terms.OBLIGATIONS)
        self.assertEqual(set(licence_terms.CATEGORIES), set(licence_terms.CATEGORY_MEANING))


if __name__ == "__main__":
    unittest.main()
