"""Reads a JavaScript tree from `package-lock.json` (lockfileVersion 1, 2 and 3)."""

import base64
import binascii
import os
import re
from urllib.parse import quote

from kapelle_agent import AgentError
from source_files import read_object, without_nothing

FOLDER = "node_modules/"
EDGE_FIELDS = ("dependencies", "optionalDependencies", "peerDependencies", "devDependencies")
# The strongest first.
HASHES = ("sha512", "sha384", "sha256", "sha1")
# Lower is nearer to what is shipped: one package may lie in the tree twice.
NEARNESS = ("runtime", "optional", "development")


def read_npm(source):
    """The tree of an npm project, its workspaces marked as first-party."""
    path = source.get("lockfile") or os.path.join(source["root"], "package-lock.json")
    lock = read_object(path, "npm lock file")
    packages = packages_of(lock, path)
    top = packages.get("", {})
    folder = os.path.basename(source["root"].rstrip("/\\")) or "project"
    name = str(source.get("name") or top.get("name") or lock.get("name") or folder)
    project = without_nothing({
        "id": f"project/{name}", "name": name, "ecosystem": "npm", "version": top.get("version") or lock.get("version"),
    })

    ids = {"": project["id"]}
    components = {}
    for place, entry in sorted(packages.items()):
        if place and not entry.get("link"):
            component = describe(place, entry, source["root"])
            ids[place] = component["id"]
            components[component["id"]] = nearer(components.get(component["id"]), component)
    edges = {}
    for place, entry in packages.items():
        if place in ids:
            targets = (resolve(packages, place, wanted) for wanted in wanted_by(entry))
            edges.setdefault(ids[place], set()).update(ids[target] for target in targets if target in ids)
    members = {component["id"] for component in components.values() if component["first_party"]}
    edges.setdefault(project["id"], set()).update(members)
    return {
        "project": project,
        "components": [without_nothing(components[key]) for key in sorted(components)],
        "dependencies": {key: sorted(edges[key]) for key in sorted(edges)},
    }


def packages_of(lock, path):
    """Place in the tree → entry, the form of versions 2 and 3; version 1 is brought into it."""
    version = lock.get("lockfileVersion")
    if version in (2, 3) and isinstance(lock.get("packages"), dict):
        return lock["packages"]
    if version == 1:
        packages = {"": {"dependencies": {}}}
        flatten(lock.get("dependencies", {}), "", packages)
        # Version 1 does not say which packages the project asked for itself; all of the top level is the best answer.
        packages[""]["dependencies"] = {name: "*" for name in lock.get("dependencies", {})}
        return packages
    raise AgentError("bad_source", f"npm lock file `{path}` has lockfileVersion {version!r}; 1, 2 and 3 are known")


def flatten(nested, above, packages):
    """Writes version 1's nested dependencies into `packages`, keyed by place."""
    for name, entry in nested.items():
        place = f"{above}{FOLDER}{name}"
        packages[place] = dict(entry, dependencies=entry.get("requires") or {})
        flatten(entry.get("dependencies") or {}, f"{place}/", packages)


def describe(place, entry, root):
    """One component."""
    first_party = FOLDER not in place
    name = str(entry.get("name") or place.rpartition(FOLDER)[2])
    version = str(entry.get("version") or "0.0.0")
    origin, purl = where_from(entry, name, version, first_party)
    folder = os.path.join(root, place)
    licence, licence_file = declared(entry, folder)
    scope = "development" if entry.get("dev") or entry.get("devOptional") else "runtime"
    if entry.get("optional"):
        scope = "optional"
    component = {
        "id": purl or f"{'first-party' if first_party else 'path'}/{name}@{version}",
        "name": name,
        "version": version,
        "purl": purl,
        "first_party": first_party,
        "origin": origin,
        "licence": licence,
        "licence_file": licence_file,
        "folders": [folder, root] if first_party else [folder],
        "scope": scope,
    }
    component.update(integrity(entry.get("integrity")))
    return component


def where_from(entry, name, version, first_party):
    """Origin and purl. A folder on this disk has no purl: nobody else could fetch it."""
    resolved = entry.get("resolved") or (entry.get("version") if ":" in version else "") or ""
    if first_party or resolved.startswith("file:"):
        return "path", None
    purl = f"pkg:npm/{quote(name, safe='/')}@{quote(version)}"
    if resolved.startswith("git"):
        return "git", f"{purl}?vcs_url={quote(resolved, safe=':/')}"
    return "registry", purl


def declared(entry, folder):
    """The licence that the lock file names or, where it names none, the package's own manifest if it is installed."""
    licence = entry.get("license")
    manifest = os.path.join(folder, "package.json")
    if licence is None and os.path.isfile(manifest):
        licence = read_object(manifest, "package manifest").get("license")
    if isinstance(licence, dict):
        licence = licence.get("type")
    if not isinstance(licence, str) or not licence.strip():
        return None, None
    # npm's own words for «the terms are in this file».
    pointer = re.fullmatch(r"SEE LICEN[CS]E IN (.+)", licence.strip(), re.IGNORECASE)
    return (None, pointer.group(1)) if pointer else (licence.strip(), None)


def integrity(value):
    """The strongest hash of an `integrity` field as hexadecimal, under its name."""
    found = {}
    for part in str(value or "").split():
        name, _, text = part.partition("-")
        try:
            found[name] = base64.b64decode(text.partition("?")[0], validate=True).hex()
        except (binascii.Error, ValueError):
            continue
    for name in HASHES:
        if name in found:
            return {name: found[name]}
    return {}


def nearer(known, other):
    """Of two places of one package the one that is shipped rather than only developed with."""
    if known is None or NEARNESS.index(other["scope"]) < NEARNESS.index(known["scope"]):
        return other
    return known


def wanted_by(entry):
    """Names that an entry depends on."""
    return {name for field in EDGE_FIELDS for name in (entry.get(field) or {})}


def resolve(packages, place, name):
    """Node's rule: the nearest `node_modules` upwards that has the name. `None` if an optional one is not installed."""
    above = place
    while True:
        candidate = f"{above}/{FOLDER}{name}" if above else f"{FOLDER}{name}"
        if candidate in packages:
            entry = packages[candidate]
            return entry.get("resolved") if entry.get("link") else candidate
        if not above:
            return None
        above = above.rpartition(FOLDER)[0].rstrip("/") if FOLDER in above else above.rpartition("/")[0]
