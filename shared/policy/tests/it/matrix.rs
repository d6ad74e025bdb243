//! Who may do what, action by action and role by role: the table that is checked in, and what must hold besides it.

use std::collections::BTreeSet;
use std::path::Path;

use kapelle_policy::{Action, DEFAULT_DENY, Policies, Resource, UNKNOWN_ACTION, matrix};
use kapelle_proto::DESCRIPTORS;
use kapelle_types::{Caller, Namespace, Role};
use prost_reflect::DescriptorPool;

use crate::{caller, embedded};

/// What the server offers besides Kapelle's own services and does not leave open to everybody.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// The groups of actions that change something.
const CHANGES: [&str; 4] = ["submit", "cancel", "steer", "register"];

/// Every method of every service, as policies name it.
fn methods() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let services: Vec<_> = pool.services().collect();
    let methods = services.iter().flat_map(|service| {
        service.methods().map(|method| format!("{}/{}", service.full_name(), method.name())).collect::<Vec<_>>()
    });
    methods.chain([REFLECTION.to_owned()]).collect()
}

/// `KAPELLE_GOLDEN=write` writes it anew; the change is then seen in review.
#[test]
fn the_matrix_is_the_one_that_was_agreed_on() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix.txt");
    let now = matrix(&embedded()) + "\n";
    if std::env::var("KAPELLE_GOLDEN").is_ok_and(|mode| mode == "write") {
        std::fs::write(&path, &now).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap();
    for (agreed, now) in agreed.lines().zip(now.lines()) {
        assert_eq!(agreed, now, "matrix.txt; KAPELLE_GOLDEN=write writes it anew");
    }
    assert_eq!(agreed, now);
    assert!(!agreed.contains("sometimes"), "a cell depends on what the table does not show");
}

#[test]
fn every_method_has_an_action_and_every_action_a_method() {
    let policies = embedded();
    let actions: BTreeSet<String> = policies
        .actions()
        .keys()
        .filter(|name| !name.starts_with("nats/") && *name != "see_payloads")
        .cloned()
        .collect();
    let methods = methods();
    let without: Vec<_> = methods.difference(&actions).collect();
    assert!(without.is_empty(), "put these methods into a group, in policies/kapelle.cedarschema: {without:?}");
    let strays: Vec<_> = actions.difference(&methods).collect();
    assert!(strays.is_empty(), "no service has these methods: {strays:?}");
}

#[test]
fn every_action_but_the_sight_of_payloads_is_in_a_group() {
    for (name, groups) in embedded().actions() {
        assert_eq!(groups.is_empty(), name == "see_payloads", "{name}");
    }
}

fn allowed(policies: &Policies, caller: &Caller, action: &str) -> bool {
    policies.decide(caller, &Action::named(action), &Resource::of(Namespace::default())).allowed()
}

#[test]
fn who_only_looks_changes_nothing_and_parts_call_nothing() {
    let policies = embedded();
    for (name, groups) in policies.actions() {
        let changes = CHANGES.iter().any(|group| groups.contains(*group));
        let internal = (groups.contains("drive") || groups.contains("execute"))
            && !groups.contains("read")
            && !groups.contains("inspect");
        for role in [Role::Viewer, Role::Approver, Role::Auditor] {
            assert!(!(changes || internal) || !allowed(&policies, &caller(&[role]), name), "{role} {name}");
        }
        for role in [Role::Worker, Role::Coordinator] {
            assert!(name.starts_with("nats/") || !allowed(&policies, &caller(&[role]), name), "{role} {name}");
        }
        for role in [Role::Publisher, Role::Operator, Role::Admin] {
            assert!(!internal || !allowed(&policies, &caller(&[role]), name), "{role} {name}");
        }
    }
    assert!(!allowed(&policies, &caller(&[Role::Worker]), "nats/logs/consume"), "a worker reads no run's log");
    assert!(!allowed(&policies, &caller(&[Role::Worker]), "nats/control/publish"), "only coordinators write it");
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Coordinator) {
        assert!(!allowed(&policies, &caller(&[role]), "nats/keys/keep"), "{role}: who has the keys can forge reports");
        assert!(!allowed(&policies, &caller(&[role]), "nats/tokens/keep"), "{role}: who writes tokens gives roles");
    }
    assert!(!allowed(&policies, &caller(&[Role::Coordinator]), "nats/reports/publish"), "only workers report");
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Coordinator) {
        assert!(!allowed(&policies, &caller(&[role]), "nats/policies/keep"), "{role}: who writes policies may do all");
        assert!(!allowed(&policies, &caller(&[role]), "nats/audit/publish"), "{role}: who writes the trail can lie");
    }
}

#[test]
fn a_credential_of_a_person_is_no_part_of_the_system() {
    let policies = embedded();
    let part = caller(&[Role::Worker, Role::Coordinator, Role::Admin]);
    let person = Caller { person: Some("ada".into()), ..part.clone() };
    for (name, groups) in policies.actions() {
        let internal = groups.iter().all(|group| group == "drive" || group == "execute") && !groups.is_empty();
        assert!(!internal || allowed(&policies, &part, name), "{name}");
        assert!(!internal || !allowed(&policies, &person, name), "{name}");
        let peoples = allowed(&policies, &caller(&[Role::Admin]), name);
        assert!(!peoples || allowed(&policies, &person, name), "an admin stays one: {name}");
    }
}

#[test]
fn what_nobody_knows_is_denied() {
    let policies = embedded();
    let all = Caller { sees_payloads: true, ..caller(&Role::ALL) };
    for name in ["", "kapelle.v1.RunService/Nothing", "read", "/kapelle.v1.RunService/Get", "nats/everything", "🦀\"\0"]
    {
        let decision = policies.decide(&all, &Action::named(name), &Resource::of(Namespace::default()));
        assert_eq!((decision.allowed(), decision.policy.as_str()), (false, UNKNOWN_ACTION), "{name}");
    }
    let get = Action::rpc("/kapelle.v1.RunService/Get");
    assert!(policies.decide(&all, &get, &Resource::of(Namespace::default())).allowed());
    let nothing = Policies::load::<&str, &str>(&[]).unwrap();
    assert_eq!(nothing.decide(&all, &get, &Resource::of(Namespace::default())).policy, DEFAULT_DENY);
}
