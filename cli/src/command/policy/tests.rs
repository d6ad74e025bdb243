//! What is printed of policies.

use super::*;

fn policies(text: &str) -> Policies {
    Policies::load(&[("dir/mine.cedar", text)]).unwrap()
}

const LOGGED: &str = r#"
@id("readers_read") @mode("enforce") @why("Viewers read.")
permit (principal in Role::"viewer", action in Action::"read", resource);
@id("not_at_all") @mode("log_only") @why("Nothing for nobody.")
forbid (principal, action, resource);
"#;

#[test]
fn policies_are_listed() {
    let policies = policies(LOGGED);
    insta::assert_snapshot!("list", list(&policies.rules().collect::<Vec<_>>()));
    assert_eq!(list(&[]), "No policies: everything is denied.");
}

#[test]
fn a_decision_is_explained_with_its_policy() {
    let policies = policies(LOGGED);
    let caller = kapelle_types::Caller {
        principal: kapelle_types::Principal("ada".into()),
        person: None,
        roles: [kapelle_types::Role::Viewer].into(),
        namespace: Some(kapelle_types::Namespace::default()),
        sees_payloads: false,
        groups: Default::default(),
    };
    let resource = kapelle_policy::Resource::of(kapelle_types::Namespace::default());
    let decision = policies.decide(&caller, &kapelle_policy::Action::rpc("/kapelle.v1.RunService/Get"), &resource);
    insta::assert_snapshot!("explain", anstream::adapter::strip_str(&ask::page(&policies, &decision)).to_string());
}

#[test]
fn differences_are_told() {
    let recorded = Recorded::read(
        "- { caller: { principal: ada, roles: [viewer], namespace: default }, action: kapelle.v1.RunService/Get, \
         resource: { namespace: default }, expected: deny, policy: default_deny }",
    );
    let differences: Vec<_> = recorded.unwrap().iter().filter_map(|r| r.difference(&policies(LOGGED), 1)).collect();
    insta::assert_snapshot!("test", told(1, &differences));
    assert_eq!(told(3, &[]), "3 decisions, all as recorded");
}

#[test]
fn mistakes_are_for_people_and_for_programs() {
    let failure = invalid(Policies::load(&[("mine.cedar", "permit")]).unwrap_err());
    assert_eq!((failure.code(), failure.exit()), (Some(Code::POLICY_INVALID), Exit::Failed));
    assert_eq!(failure.json().unwrap()["error"]["problems"][0]["file"], "mine.cedar");
    assert!(failure.text().contains("mine.cedar:1:"));
}

#[test]
fn policies_are_read_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.cedar"), LOGGED).unwrap();
    std::fs::write(folder.path().join("kapelle.cedarschema"), "no policy").unwrap();
    let texts = read(&[folder.path().to_owned()]).unwrap();
    assert_eq!(Policies::load(&texts).unwrap().rules().count(), 2);
    let nothing = read(&[folder.path().join("none")]);
    assert_eq!(nothing.unwrap_err().code(), Some(Code::MANIFEST_FILE));
}
