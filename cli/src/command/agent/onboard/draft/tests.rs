//! What becomes of a manifest: put together from nothing, completed, left alone.

use super::*;

const NAME: Slot = Slot { component: "role", about: "name", field: "metadata.name" };
const INPUT: Slot = Slot { component: "contract", about: "input", field: "spec.input.schema" };

/// A folder with this agent.yaml, if any.
fn folder(text: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = text {
        fs::write(folder.path().join("agent.yaml"), text).unwrap();
    }
    folder
}

const COMPLETE: &str = "\
# What the author thought of it.
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: count, version: 1.0.0, owner: me }
spec:
  role: { purpose: Count. }
  runtime: { process: { command: [./count] } }
";

fn fill(draft: &mut Draft) {
    for (field, value) in [
        ("metadata.name", json!("count")),
        ("metadata.version", json!("1.0.0")),
        ("metadata.owner", json!("me: and \"others\" # no")),
        ("spec.role.purpose", json!("no")),
        ("spec.runtime.process.command", json!(["python3", "-c", "print('a: b')\nx"])),
        ("spec.input.schema", json!({ "type": "object", "properties": { "on": { "type": ["null", "string"] } } })),
    ] {
        draft.put(field, value, true);
    }
}

#[test]
fn what_is_written_from_nothing_reads_back_the_same() {
    let folder = folder(None);
    let mut draft = Draft::read(folder.path(), false).unwrap();
    fill(&mut draft);
    let (_, agent) = draft.manifests().unwrap();
    assert_eq!(agent.metadata.owner, "me: and \"others\" # no");
    draft.may_be_written().unwrap();
    draft.stage().unwrap().unwrap().settle().unwrap();
    let again = Draft::read(folder.path(), false).unwrap();
    assert_eq!(again.changes(), []);
    assert_eq!(again.manifests().unwrap().1, agent);
    let text = fs::read_to_string(folder.path().join("agent.yaml")).unwrap();
    assert!(text.find("role:") < text.find("input:") && text.find("input:") < text.find("runtime:"), "{text}");
}

#[test]
fn a_finished_file_is_left_alone_and_proposals_stay_proposals() {
    let folder = folder(Some(COMPLETE));
    let mut draft = Draft::read(folder.path(), false).unwrap();
    draft.settle(NAME, None, Otherwise::Needed("other".into(), "the folder's name".into()));
    draft.settle(INPUT, None, Otherwise::Better(json!({ "type": "object" }), "1 sample".into()));
    assert_eq!(draft.facts.iter().map(|it| it.state).collect::<Vec<_>>(), [State::Written, State::Proposed]);
    draft.may_be_written().unwrap();
    assert!(draft.stage().unwrap().is_none());
    assert!(draft.manifests().unwrap().1.spec.input.is_any());
}

#[test]
fn a_file_is_changed_on_demand_and_kept_as_it_was() {
    let folder = folder(Some(COMPLETE));
    let given = || Some(("--name", Value::from("other")));
    let mut draft = Draft::read(folder.path(), false).unwrap();
    draft.settle(NAME, given(), Otherwise::Missing(""));
    let refused = draft.may_be_written().unwrap_err();
    assert!(refused.message().contains("metadata.name") && refused.advice().contains("--write"), "{refused:?}");

    let mut draft = Draft::read(folder.path(), true).unwrap();
    draft.settle(NAME, given(), Otherwise::Missing(""));
    draft.settle(INPUT, None, Otherwise::Better(json!({ "type": "object" }), "1 sample".into()));
    draft.may_be_written().unwrap();
    drop(draft.stage().unwrap());
    assert_eq!(fs::read_to_string(folder.path().join("agent.yaml")).unwrap(), COMPLETE, "only staged");
    draft.stage().unwrap().unwrap().settle().unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("agent.yaml.orig")).unwrap(), COMPLETE);
    assert_eq!(Draft::read(folder.path(), false).unwrap().manifests().unwrap().1.metadata.name.as_str(), "other");
    let refused = draft.may_be_written().unwrap_err();
    assert!(refused.message().contains("agent.yaml.orig is there already"), "{refused:?}");
}

#[test]
fn workflows_in_the_same_file_come_along() {
    let workflow = "---\napiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: me }\n\
                    spec: { output: 1, steps: [{ id: a, agent: count@^1 }] }\n";
    let folder = folder(Some(&format!("{COMPLETE}{workflow}")));
    let mut draft = Draft::read(folder.path(), true).unwrap();
    assert_eq!(draft.manifests().unwrap().0.len(), 2);
    draft.put("spec.risk", "minimal".into(), false);
    assert_eq!(draft.manifests().unwrap().0.len(), 2, "{}", draft.text().unwrap());
    let two = self::folder(Some(&format!("{COMPLETE}---\n{COMPLETE}")));
    assert!(Draft::read(two.path(), false).unwrap_err().message().contains("2 agents"));
}

#[test]
fn what_stands_in_the_way_is_left_to_the_check() {
    let folder = folder(Some("apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: 7\nspec: { role: [] }\n"));
    let mut draft = Draft::read(folder.path(), true).unwrap();
    fill(&mut draft);
    assert_eq!(draft.manifests().unwrap_err().code(), Some(Code::MANIFEST_SYNTAX));
}
