"""Inventories of small trees: cargo's metadata and npm's lock files of every version."""

import os
import unittest

import support
from cargo_tree import component_id, read_checksums
from inventory import take_inventory
from kapelle_agent import AgentError

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def package(name, source=CRATES_IO, kind="lib", **more):
    """A package as cargo's metadata has it, as far as the inventory reads it."""
    base = {"id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT", "license_file": None,
            "manifest_path": f"/crates/{name}-1.0.0/Cargo.toml", "targets": [{"kind": [kind]}], "repository": None}
    return dict(base, **more)


def node(name, **edges):
    """A node of the resolved graph; an edge's value is its kind."""
    return {"id": name, "deps": [{"name": to, "pkg": to, "dep_kinds": [{"kind": kind, "target": None}]}
                                 for to, kind in edges.items()]}


class Cargo(support.FolderCase):
    def read(self, packages, nodes, members=("app",), root="app", lock="", **source):
        metadata = {"version": 1, "packages": packages, "workspace_members": list(members),
                    "workspace_root": self.folder, "resolve": {"nodes": nodes, "root": root}}
        self.write("Cargo.lock", lock)
        given = {"kind": "cargo", "root": self.folder, "metadata": self.write("metadata.json", metadata)}
        return take_inventory({"source": dict(given, **source)}, support.RecordingTask())

    def tree(self, **source):
        lock = f'version = 4\n\n[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "{CRATES_IO}"\nchecksum = "{"ab" * 32}"\n'
        packages = [package("app", None), package("a", repository="https://example.com/a"), package("m", kind="proc-macro"),
                    package("under_m"), package("b"), package("t"), package("both")]
        nodes = [node("app", a=None, m=None, b="build", t="dev"), node("a", both=None), node("m", under_m=None, both=None),
                 node("under_m"), node("b"), node("t"), node("both")]
        return self.read(packages, nodes, lock=lock, **source)

    def test_scopes(self):
        scopes = {component["name"]: component["scope"] for component in self.tree()["components"]}
        self.assertEqual(scopes, {"app": "runtime", "a": "runtime", "m": "build", "under_m": "build", "b": "build",
                                  "t": "development", "both": "runtime"})

    def test_components_and_edges(self):
        tree = self.tree()
        found = {component["name"]: component for component in tree["components"]}
        self.assertEqual(found["a"], {
            "id": "pkg:cargo/a@1.0.0", "name": "a", "version": "1.0.0", "purl": "pkg:cargo/a@1.0.0", "first_party": False,
            "origin": "registry", "licence": "MIT", "folders": ["/crates/a-1.0.0"], "repository": "https://example.com/a",
            "scope": "runtime", "sha256": "ab" * 32,
        })
        self.assertEqual(found["app"]["id"], "first-party/app@1.0.0")
        self.assertNotIn("purl", found["app"])
        self.assertEqual(found["app"]["folders"], ["/crates/app-1.0.0", self.folder])
        self.assertEqual(tree["dependencies"]["project/app"], ["first-party/app@1.0.0"])
        self.assertEqual(tree["dependencies"]["pkg:cargo/a@1.0.0"], ["pkg:cargo/both@1.0.0"])
        self.assertEqual(tree["summary"], {"components": 7, "first_party": 1, "third_party": 6, "runtime": 2, "optional": 0,
                                           "build": 3, "development": 1})

    def test_the_caller_may_name_the_project(self):
        self.assertEqual(self.tree(name="cathedral")["project"],
                         {"id": "project/cathedral", "name": "cathedral", "ecosystem": "cargo", "version": "1.0.0"})

    def test_ids_by_source(self):
        for source, expected in (
            (CRATES_IO, "pkg:cargo/x@1.0.0"),
            ("sparse+https://index.crates.io/", "pkg:cargo/x@1.0.0"),
            ("git+https://example.com/x?rev=1#abc", "pkg:cargo/x@1.0.0?vcs_url=git%2Bhttps://example.com/x%3Frev%3D1%23abc"),
            ("registry+https://example.com/i", "pkg:cargo/x@1.0.0?repository_url=registry%2Bhttps://example.com/i"),
            (None, "path/x@1.0.0"),
        ):
            with self.subTest(source):
                self.assertEqual(component_id(package("x", source), False), expected)

    def test_checksums(self):
        lock = '[[package]]\nname = "x"\nversion = "1"\nchecksum = "short"\n\n[metadata]\nname = "y"\n'
        self.assertEqual(read_checksums(lock), {})

    def test_refusals_name_the_file(self):
        good = {"kind": "cargo", "root": self.folder}
        for source, code in (
            (good, "bad_input"),
            (dict(good, metadata="/gone.json"), "source_not_found"),
            (dict(good, metadata=self.write("broken.json", "{")), "bad_source"),
            (dict(good, metadata=self.write("list.json", "[]")), "bad_source"),
            (dict(good, metadata=self.write("bare.json", {"version": 1, "resolve": None})), "bad_source"),
            (dict(good, root="relative"), "source_not_found"),
            (dict(good, kind="maven"), "unsupported_source"),
        ):
            with self.subTest(source):
                with self.assertRaises(AgentError) as caught:
                    take_inventory({"source": source}, support.RecordingTask())
                self.assertEqual(caught.exception.code, code)


class Npm(support.FolderCase):
    def read(self, lock, **source):
        self.write("package-lock.json", lock)
        given = dict({"kind": "npm", "root": self.folder}, **source)
        return take_inventory({"source": given}, support.RecordingTask())

    def test_versions_of_one_package_and_nested_resolution(self):
        tree = self.read({"name": "shop", "version": "2.0.0", "lockfileVersion": 3, "packages": {
            "": {"name": "shop", "version": "2.0.0", "dependencies": {"a": "^1", "@x/b": "^1"}, "devDependencies": {"d": "1"}},
            "node_modules/a": {"version": "1.0.0", "license": "MIT", "dependencies": {"@x/b": "^2"},
                               "integrity": "sha1-qqqqqqqqqqqqqqqqqqqqqqqqqqo= sha512-" + "A" * 86 + "=="},
            "node_modules/a/node_modules/@x/b": {"version": "2.0.0", "license": "(MIT OR GPL-3.0-or-later)"},
            "node_modules/@x/b": {"version": "1.0.0", "license": "SEE LICENSE IN terms.txt", "optional": True},
            "node_modules/d": {"version": "1.0.0", "dev": True, "dependencies": {"a": "^1"}, "peerDependencies": {"no": "1"}},
        }})
        found = {component["id"]: component for component in tree["components"]}
        self.assertEqual(sorted(found), ["pkg:npm/%40x/b@1.0.0", "pkg:npm/%40x/b@2.0.0", "pkg:npm/a@1.0.0", "pkg:npm/d@1.0.0"])
        self.assertEqual(tree["dependencies"]["project/shop"], ["pkg:npm/%40x/b@1.0.0", "pkg:npm/a@1.0.0", "pkg:npm/d@1.0.0"])
        self.assertEqual(tree["dependencies"]["pkg:npm/a@1.0.0"], ["pkg:npm/%40x/b@2.0.0"])
        self.assertEqual(tree["dependencies"]["pkg:npm/d@1.0.0"], ["pkg:npm/a@1.0.0"])
        self.assertEqual(found["pkg:npm/a@1.0.0"]["sha512"], "00" * 64)
        self.assertEqual(found["pkg:npm/d@1.0.0"]["scope"], "development")
        self.assertEqual(found["pkg:npm/%40x/b@1.0.0"]["scope"], "optional")
        self.assertEqual(found["pkg:npm/%40x/b@1.0.0"]["licence_file"], "terms.txt")
        self.assertNotIn("licence", found["pkg:npm/%40x/b@1.0.0"])

    def test_workspaces_are_first_party(self):
        tree = self.read({"lockfileVersion": 3, "packages": {
            "": {"name": "mono", "workspaces": ["packages/*"]},
            "packages/web": {"name": "web", "version": "0.1.0", "dependencies": {"a": "1"}},
            "node_modules/web": {"resolved": "packages/web", "link": True},
            "node_modules/a": {"version": "1.0.0", "license": "MIT"},
        }})
        self.assertEqual({c["id"]: c["first_party"] for c in tree["components"]},
                         {"first-party/web@0.1.0": True, "pkg:npm/a@1.0.0": False})
        self.assertEqual(tree["dependencies"]["project/mono"], ["first-party/web@0.1.0"])
        self.assertEqual(tree["dependencies"]["first-party/web@0.1.0"], ["pkg:npm/a@1.0.0"])

    def test_the_same_package_in_two_places_is_one_component(self):
        tree = self.read({"lockfileVersion": 2, "packages": {
            "": {"name": "p"},
            "node_modules/a/node_modules/x": {"version": "1.0.0", "dev": True},
            "node_modules/x": {"version": "1.0.0"},
        }})
        self.assertEqual([(c["id"], c["scope"]) for c in tree["components"]], [("pkg:npm/x@1.0.0", "runtime")])

    def test_version_1_reads_the_licence_of_an_installed_package(self):
        self.write("node_modules/a/package.json", {"license": {"type": "ISC"}})
        tree = self.read({"name": "old", "lockfileVersion": 1, "dependencies": {
            "a": {"version": "1.0.0", "requires": {"b": "^2"}, "dependencies": {"b": {"version": "2.0.0"}}},
            "b": {"version": "1.0.0", "dev": True},
        }})
        found = {component["id"]: component for component in tree["components"]}
        self.assertEqual(found["pkg:npm/a@1.0.0"]["licence"], "ISC")
        self.assertNotIn("licence", found["pkg:npm/b@1.0.0"])
        self.assertEqual(tree["dependencies"]["pkg:npm/a@1.0.0"], ["pkg:npm/b@2.0.0"])

    def test_an_unknown_version_is_refused(self):
        with self.assertRaisesRegex(AgentError, "lockfileVersion 9"):
            self.read({"lockfileVersion": 9})

    def test_the_sample(self):
        tree = take_inventory({"source": {"kind": "npm", "root": support.SAMPLE}}, support.RecordingTask())
        licences = {component["name"]: component["licence"] for component in tree["components"]}
        self.assertEqual(licences["jszip"], "(MIT OR GPL-3.0-or-later)")
        self.assertEqual(tree["summary"]["development"], 1)
        self.assertTrue(all("sha512" in component for component in tree["components"]))
        self.assertTrue(os.path.isabs(tree["components"][0]["folders"][0]))


if __name__ == "__main__":
    unittest.main()
