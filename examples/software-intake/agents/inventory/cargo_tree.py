"""Reads a Rust tree from `cargo metadata --format-version 1` and `Cargo.lock`."""

import os
import re
from urllib.parse import quote

from kapelle_agent import AgentError, field
from source_files import read_object, read_text, without_nothing

# How cargo names the public registry, by git index and by sparse index. Any other is named in the purl.
PUBLIC_REGISTRIES = (
    "registry+https://github.com/rust-lang/crates.io-index",
    "sparse+https://index.crates.io/",
)
METADATA_VERSION = 1


def read_cargo(source):
    """The tree of a cargo workspace, its members marked as first-party."""
    metadata = read_object(field(source, "metadata"), "cargo metadata")
    if metadata.get("version") != METADATA_VERSION or not metadata.get("resolve"):
        raise AgentError("bad_source", "expected the output of `cargo metadata --format-version 1` with its `resolve`")
    lock_path = source.get("lockfile") or os.path.join(metadata["workspace_root"], "Cargo.lock")
    checksums = read_checksums(read_text(lock_path, "Cargo.lock"))
    members = set(metadata["workspace_members"])
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    scopes = find_scopes(nodes, packages, members)
    ids = {key: component_id(package, key in members) for key, package in packages.items()}

    components = []
    for key in nodes:
        component = describe(packages[key], ids[key], key in members, metadata["workspace_root"])
        component["scope"] = scopes[key]
        package = packages[key]
        component["sha256"] = checksums.get((package["name"], package["version"], package["source"]))
        components.append(without_nothing(component))
    components.sort(key=lambda component: component["id"])

    project = describe_project(metadata, packages, source.get("name"))
    dependencies = {ids[key]: sorted({ids[edge["pkg"]] for edge in node["deps"]}) for key, node in nodes.items()}
    dependencies[project["id"]] = sorted(ids[key] for key in members if key in nodes)
    return {"project": project, "components": components, "dependencies": dict(sorted(dependencies.items()))}


def describe_project(metadata, packages, given_name):
    """The workspace as a whole: named by the caller, after its root package, or after its folder."""
    root = packages.get(metadata["resolve"].get("root"))
    folder = os.path.basename(metadata["workspace_root"].rstrip("/\\")) or "workspace"
    name = given_name or (root["name"] if root else folder)
    project = {"id": f"project/{name}", "name": name, "ecosystem": "cargo"}
    if root:
        project["version"] = root["version"]
    return project


def describe(package, identity, first_party, workspace_root):
    """One component, but for scope and checksum."""
    folder = os.path.dirname(package["manifest_path"])
    purl = identity if identity.startswith("pkg:") else None
    repository = package.get("repository")
    return {
        "id": identity,
        "name": package["name"],
        "version": package["version"],
        "purl": purl,
        "first_party": first_party,
        "origin": origin(package["source"]),
        "licence": package.get("license"),
        "licence_file": package.get("license_file"),
        "folders": licence_folders(folder, package["source"], workspace_root if first_party else None),
        "repository": repository if is_web_address(repository) else None,
    }


def component_id(package, first_party):
    """The purl of what can be had elsewhere; a name of ours for what lies only in a folder here."""
    name, version, source = package["name"], package["version"], package["source"]
    if source is None:
        return f"{'first-party' if first_party else 'path'}/{name}@{version}"
    purl = f"pkg:cargo/{quote(name)}@{quote(version)}"
    if source in PUBLIC_REGISTRIES:
        return purl
    qualifier = "vcs_url" if source.startswith("git+") else "repository_url"
    return f"{purl}?{qualifier}={quote(source, safe=':/')}"


def origin(source):
    """Where the component comes from: `registry`, `git` or `path`."""
    if source is None:
        return "path"
    return "git" if source.startswith("git+") else "registry"


def is_web_address(value):
    """Whether a manifest's `repository` is fit to be a link."""
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s<>\"|]{1,300}", value) is not None


def licence_folders(folder, source, workspace_root):
    """Where licence files may lie: beside the manifest, and at the root of the repository that it belongs to."""
    folders = [folder]
    if workspace_root and workspace_root != folder:
        folders.append(workspace_root)
    if source is not None and source.startswith("git+"):
        # Cargo marks the root of a checkout; a crate of a git workspace lies below it.
        above = os.path.dirname(folder)
        while len(above) > 1 and above != os.path.dirname(above):
            if os.path.exists(os.path.join(above, ".cargo-ok")):
                folders.append(above)
                break
            above = os.path.dirname(above)
    return folders


def find_scopes(nodes, packages, members):
    """`runtime` if linked into what we build, `build` if only run while building, `development` for the rest.

    A procedural macro and everything under it runs inside the compiler, so it is `build`.
    """
    def follow(starts, kinds, enter):
        seen, queue = set(starts), list(starts)
        while queue:
            for edge in nodes[queue.pop()]["deps"]:
                target = edge["pkg"]
                wanted = any(kind["kind"] in kinds for kind in edge["dep_kinds"])
                if wanted and target not in seen and enter(target):
                    seen.add(target)
                    queue.append(target)
        return seen

    starts = [key for key in nodes if key in members]
    runtime = follow(starts, (None,), lambda key: not is_macro(packages[key]))
    build = follow(starts, (None, "build"), lambda key: True)
    return {key: "runtime" if key in runtime else "build" if key in build else "development" for key in nodes}


def is_macro(package):
    """Whether the package is a procedural macro."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def read_checksums(lock):
    """(name, version, source) → SHA-256 of the published archive.

    Cargo writes this file itself, one `key = "value"` a line under each `[[package]]`, so a line reader does;
    the standard library has a TOML parser only from Python 3.11 on.
    """
    checksums, current = {}, {}
    for line in [*lock.splitlines(), "[[package]]"]:
        if line.startswith("["):
            if re.fullmatch(r"[0-9a-f]{64}", current.get("checksum", "")):
                key = (current.get("name"), current.get("version"), current.get("source"))
                checksums[key] = current["checksum"]
            current = {}
            continue
        pair = re.fullmatch(r'(name|version|source|checksum) = "([^"]*)"', line)
        if pair:
            current[pair.group(1)] = pair.group(2)
    return checksums
