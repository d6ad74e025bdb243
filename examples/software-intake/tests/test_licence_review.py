"""Licence texts, licence files, and the verdict on both together."""

import os
import unittest

import support
import texts
from licence_files import FILE_BYTES_MAX, FILES_MAX, holders, read_licence_files
from licence_review import review
from licence_text import KNOWN, identify
from spdx import IDS


class Texts(unittest.TestCase):
    def test_identified_by_text(self):
        for text, expected in (
            (texts.MIT, ["MIT"]),
            (texts.MIT_0, ["MIT-0"]),
            (texts.BSD_1, ["BSD-1-Clause"]),
            (texts.BSD_2, ["BSD-2-Clause"]),
            (texts.BSD_3, ["BSD-3-Clause"]),
            (texts.BSD_4, ["BSD-4-Clause"]),
            (texts.ISC, ["ISC"]),
            (texts.ZERO_BSD, ["0BSD"]),
            (texts.APACHE, ["Apache-2.0"]),
            (texts.APACHE + texts.LLVM, ["Apache-2.0", "LLVM-exception"]),
            (texts.ZLIB, ["Zlib"]),
            (texts.UNLICENSE, ["Unlicense"]),
            (texts.MPL, ["MPL-2.0"]),
            (texts.GPL_3, ["GPL-3.0"]),
            (texts.AGPL_3, ["AGPL-3.0"]),
            (texts.LGPL_21, ["LGPL-2.1"]),
            (texts.MIT + texts.BSD_3, ["MIT", "BSD-3-Clause"]),
            (texts.BSD_2 + texts.BSD_3, ["BSD-2-Clause", "BSD-3-Clause"]),
            ("\n".join("// " + line for line in texts.MIT.splitlines()), ["MIT"]),
            (texts.APACHE_NOTICE, []),
            (texts.POINTER, []),
            ("All rights reserved.", []),
            ("", []),
        ):
            with self.subTest(text[:60]):
                self.assertEqual(identify(text), expected)

    def test_every_rule_names_an_spdx_id(self):
        for identity in KNOWN:
            if not identity.startswith("LicenseRef-"):
                self.assertEqual(IDS.get(identity.lower()), identity)

    def test_copyright_lines(self):
        self.assertEqual(holders([texts.MIT, texts.MIT, texts.ISC]),
                         ["Copyright (c) 2019 Ada Example", "Copyright © 2020 Cleo Example"])
        self.assertEqual(holders([texts.APACHE, texts.GPL_3]), [], "a licence's own lines are no notice")


class Files(support.FolderCase):
    def names(self, named=None):
        return [name for name, _ in read_licence_files([self.folder], named)[0]]

    def test_what_counts_as_a_licence_file(self):
        for name in ("LICENSE-MIT", "license.txt", "COPYING", "UNLICENSE", "NOTICE", "LICENCE.md", "LICENSES/MIT.txt"):
            self.write(name, texts.MIT)
        for name in ("license.rs", "src/LICENSE", "README.md", "licenses.json", "xLICENSE"):
            self.write(name, texts.MIT)
        self.assertEqual(self.names(), ["COPYING", "LICENCE.md", "LICENSE-MIT", "LICENSES/MIT.txt", "NOTICE", "UNLICENSE",
                                        "license.txt"])

    def test_the_named_file_counts_too_but_never_outside(self):
        self.write("legal/terms.txt", texts.ISC)
        self.assertEqual(self.names("legal/terms.txt"), ["legal/terms.txt"])
        self.assertEqual(self.names("../etc/passwd"), [])
        self.assertEqual(self.names("/etc/passwd"), [])

    def test_links_and_binaries_are_not_read(self):
        outside = self.write("elsewhere/secret", texts.MIT)
        package = os.path.join(self.folder, "package")
        os.mkdir(package)
        os.symlink(outside, os.path.join(package, "LICENSE"))
        os.symlink(os.path.dirname(outside), os.path.join(package, "LICENSES"))
        os.mkfifo(os.path.join(package, "COPYING"))
        with open(os.path.join(package, "NOTICE"), "wb") as file:
            file.write(b"\0\1\2")
        self.assertEqual(read_licence_files([package], None), ([], True))

    def test_reads_are_bounded(self):
        for number in range(FILES_MAX + 5):
            self.write(f"LICENSE-{number:03}", "x" * 10)
        self.write("LICENSE-000", "x" * (FILE_BYTES_MAX + 1))
        files, _ = read_licence_files([self.folder], None)
        self.assertEqual(len(files), FILES_MAX)
        self.assertEqual(len(files[0][1]), FILE_BYTES_MAX)

    def test_the_repository_root_serves_where_the_package_has_none(self):
        self.write("LICENSE", texts.MIT)
        os.mkdir(os.path.join(self.folder, "member"))
        member = os.path.join(self.folder, "member")
        self.assertEqual([name for name, _ in read_licence_files([member, self.folder], None)[0]], ["LICENSE"])

    def test_a_folder_that_is_not_there(self):
        self.assertEqual(read_licence_files([os.path.join(self.folder, "gone")], None), ([], False))


class Verdicts(support.FolderCase):
    def check(self, licence, files, **expected):
        with self.subTest(licence=licence, files=sorted(files)):
            name = f"case{len(os.listdir(self.folder))}"
            os.mkdir(os.path.join(self.folder, name))
            for file, text in files.items():
                self.write(f"{name}/{file}", text)
            component = {"id": "pkg:cargo/x@1.0.0", "folders": [os.path.join(self.folder, name)]}
            if licence is not None:
                component["licence"] = licence
            got = review({"component": component}, support.RecordingTask())
            self.assertEqual({key: got[key] for key in expected}, expected)

    def test_declared_against_found(self):
        both = {"LICENSE-MIT": texts.MIT, "LICENSE-APACHE": texts.APACHE}
        self.check("MIT OR Apache-2.0", both, verdict="agrees", extra=[], missing=[], choice="MIT")
        self.check("MIT OR Apache-2.0", {"LICENSE": texts.APACHE}, verdict="agrees", choice="Apache-2.0")
        self.check("MIT AND Apache-2.0", {"LICENSE": texts.MIT}, verdict="incomplete", missing=["Apache-2.0"])
        self.check("MIT", {"LICENSE": texts.GPL_3}, verdict="mismatch", extra=["GPL-3.0"], extra_category="strong-copyleft")
        self.check("MIT", {"LICENSE": texts.MIT, "LICENSE-THIRD-PARTY": texts.BSD_3}, verdict="extra-text",
                   extra=["BSD-3-Clause"], extra_category="permissive")
        self.check("MIT", {"COPYING": texts.POINTER}, verdict="unrecognised", found=[])
        self.check("MIT", {"COPYING": texts.POINTER, "LICENSE-MIT": texts.MIT}, verdict="agrees")
        self.check("MIT", {"README": texts.MIT}, verdict="no-text", missing=["MIT"])
        self.check("GPL-3.0-or-later", {"COPYING": texts.GPL_3}, verdict="agrees", category="strong-copyleft")
        self.check("Apache-2.0 WITH LLVM-exception", {"LICENSE": texts.APACHE + texts.LLVM}, verdict="agrees", extra=[])
        self.check("Apache-2.0 WITH LLVM-exception", {"LICENSE": texts.APACHE}, verdict="incomplete",
                   missing=["LLVM-exception"])

    def test_unknown_stays_unknown(self):
        self.check(None, {"LICENSE": texts.MIT}, verdict="undeclared", category="unknown", found=["MIT"], expression=None)
        self.check("Apache 2.0", {"LICENSE": texts.APACHE}, verdict="undeclared", category="unknown", listed=False)
        self.check("MITT", {}, category="unknown", listed=False, problem=None)
        # No rule knows this licence's text, so nothing can be said against it.
        self.check("CPL-1.0", {"LICENSE": "Common Public License", "NOTICE": texts.MIT}, verdict="unrecognised")

    def test_files_that_cannot_be_reached(self):
        component = {"id": "x", "licence": "MIT", "folders": [os.path.join(self.folder, "gone")]}
        got = review({"component": component}, support.RecordingTask())
        self.assertEqual((got["verdict"], got["category"]), ("unavailable", "permissive"))


if __name__ == "__main__":
    unittest.main()
