"""The CycloneDX 1.6 document of a reviewed tree: a pure function of inventory, reviews and run.

The caller of the workflow validates it against the official schema under `schemas/`.
"""

import re
import uuid

from kapelle_agent import AgentError

# Serial numbers are derived from the run, so that the same run always yields the same document.
SERIAL_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://kapelle.dev/software-intake/sbom")
TOOL = {"type": "application", "name": "kapelle software-intake", "version": "1.0.0"}
SCOPES = {"runtime": "required", "optional": "optional", "build": "excluded", "development": "excluded"}
HASHES = {"sha512": "SHA-512", "sha384": "SHA-384", "sha256": "SHA-256", "sha1": "SHA-1"}
# A licence id that stands alone; anything with AND, OR, WITH, `+` or a reference is an expression.
PLAIN_ID = re.compile(r"(?!LicenseRef-|DocumentRef-)[A-Za-z0-9.\-]+")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def build_bom(inventory, reviews, run):
    """The document as JSON values, in a stable order."""
    if not TIMESTAMP.fullmatch(run["started_at"]):
        raise AgentError("bad_input", f"started_at `{run['started_at']}` is not an RFC 3339 timestamp")
    project = inventory["project"]
    subject = {"type": "application", "bom-ref": project["id"], "name": project["name"]}
    if "version" in project:
        subject["version"] = project["version"]
    edges = inventory["dependencies"]
    refs = [project["id"], *(component["id"] for component in inventory["components"])]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(SERIAL_NAMESPACE, run['id'])}",
        "version": 1,
        "metadata": {
            "timestamp": run["started_at"],
            "tools": {"components": [TOOL]},
            "component": subject,
            "properties": [{"name": "kapelle:run", "value": run["id"]}],
        },
        "components": [entry(component, reviews[component["id"]]) for component in inventory["components"]],
        "dependencies": [dependency(ref, edges.get(ref, [])) for ref in refs],
    }


def dependency(ref, targets):
    """One node of the graph; a component without dependencies says so by an entry without `dependsOn`."""
    return {"ref": ref, "dependsOn": targets} if targets else {"ref": ref}


def entry(component, review):
    """One component with what was declared about it and what was found."""
    result = {"type": "library", "bom-ref": component["id"]}
    name = component["name"]
    if name.startswith("@") and "/" in name:
        result["group"], name = name.split("/", 1)
    result.update(name=name, version=component["version"], scope=SCOPES[component["scope"]])
    hashes = [{"alg": alg, "content": component[key]} for key, alg in HASHES.items() if key in component]
    if hashes:
        result["hashes"] = hashes
    licences = declared(review)
    if licences:
        result["licenses"] = licences
    if "purl" in component:
        result["purl"] = component["purl"]
    if "repository" in component:
        result["externalReferences"] = [{"type": "vcs", "url": component["repository"]}]
    evidence = evidence_of(review)
    if evidence:
        result["evidence"] = evidence
    result["properties"] = properties(component, review)
    return result


def declared(review):
    """The declaration: as an id, as an expression, or under its own name if SPDX does not know it."""
    if review["declared"] is None:
        return None
    if not review["expression"] or not review["listed"]:
        return [{"license": {"name": review["declared"], "acknowledgement": "declared"}}]
    if PLAIN_ID.fullmatch(review["expression"]):
        return [{"license": {"id": review["expression"], "acknowledgement": "declared"}}]
    return [{"expression": review["expression"], "acknowledgement": "declared"}]


def evidence_of(review):
    """Licence texts and copyright notices that were seen in the component's files."""
    evidence = {}
    if review["found"]:
        evidence["licenses"] = [{"license": named(identity)} for identity in review["found"]]
    if review["copyrights"]:
        evidence["copyright"] = [{"text": line} for line in review["copyrights"]]
    return evidence


def named(identity):
    """A found text by its SPDX id; a reference of ours by name."""
    return {"id": identity} if PLAIN_ID.fullmatch(identity) else {"name": identity}


def properties(component, review):
    """What CycloneDX has no field for."""
    values = {
        "kapelle:first_party": "true" if component["first_party"] else "false",
        "kapelle:scope": component["scope"],
        "kapelle:licence:category": review["category"],
        "kapelle:licence:verdict": review["verdict"],
    }
    if review["choice"]:
        values["kapelle:licence:choice"] = review["choice"]
    return [{"name": name, "value": value} for name, value in values.items()]
