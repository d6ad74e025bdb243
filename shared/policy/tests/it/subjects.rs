//! The permissions at the broker say exactly what the policies say, class by class and role by role.

use std::collections::BTreeSet;

use kapelle_policy::{Agents, CLASSES, Class, Permissions, Place, Resource, permissions};
use kapelle_types::{Namespace, Partitions, Role};

use crate::{caller, embedded, nobody, stranger};

fn place(id: &str) -> Place {
    Place {
        namespace: Namespace::default(),
        id: id.into(),
        inbox: format!("_INBOX_{id}"),
        partitions: Partitions::new(2).unwrap(),
        agents: Agents::Named(vec![format!("{id}-agent@1.0.0").parse().unwrap()]),
    }
}

fn place_of(role: Role, id: &str) -> Place {
    let place = place(id);
    Place { agents: Agents::of([role].into_iter(), place.agents), ..place }
}

/// Subjects that a class stands for at a place: whether they are published to, and one for each of its patterns.
fn subjects(class: &Class, id: &str) -> Vec<(bool, String)> {
    let filled = |pattern: &str| {
        let pattern = pattern.replace("<runs>", "RUNS_1").replace("<inbox>", &format!("_INBOX_{id}"));
        let pattern = pattern.replace("<queue>", &format!("{id}-agent-1_0_0")).replace("<id>", id);
        pattern.replace("<agent>", &format!("{id}-agent.1_0_0")).replace('*', "x").replace('>', "y.z")
    };
    let publish = class.publish.iter().map(|pattern| (true, filled(pattern)));
    publish.chain(class.subscribe.iter().map(|pattern| (false, filled(pattern)))).collect()
}

fn may(permissions: &Permissions, publish: bool, subject: &str) -> bool {
    if publish { permissions.may_publish(subject) } else { permissions.may_subscribe(subject) }
}

#[test]
fn permissions_and_decisions_agree_in_every_cell() {
    let policies = embedded();
    let mut cells = 0;
    for role in Role::ALL {
        for caller in [caller(&[role]), stranger(&[role]), nobody(&[role])] {
            let permissions = permissions(&policies, &caller, &place_of(role, "w1"));
            for class in CLASSES {
                let resource = Resource::of(Namespace::default());
                let allowed = policies.decide(&caller, &class.action(), &resource).allowed();
                for (publish, subject) in subjects(class, "w1") {
                    assert_eq!(may(&permissions, publish, &subject), allowed, "{role} {} {subject}", class.name);
                    cells += 1;
                }
                assert!(!class.answers || permissions.answers == allowed, "{role} {}", class.name);
            }
        }
    }
    assert!(cells > 3 * 8 * CLASSES.len(), "{cells}");
}

#[test]
fn nothing_is_said_as_a_denial_of_all() {
    let nothing = permissions(&embedded(), &nobody(&Role::ALL), &place("w1"));
    assert_eq!((nothing.publish.allow.len(), nothing.publish.deny.as_slice()), (0, [">".to_owned()].as_slice()));
    assert_eq!((nothing.subscribe.allow.len(), nothing.subscribe.deny.as_slice()), (0, [">".to_owned()].as_slice()));
    assert!(!nothing.answers);
    assert!(!nothing.may_publish("anything") && !nothing.may_subscribe("anything"));
}

/// A worker's queues, its inbox and its presence are its own.
#[test]
fn a_worker_reaches_nothing_of_another() {
    let policies = embedded();
    let permissions = permissions(&policies, &caller(&[Role::Worker]), &place("w1"));
    let mut looked_at = BTreeSet::new();
    for class in CLASSES {
        let patterns = class.publish.iter().chain(class.subscribe);
        let own =
            patterns.clone().any(|p| ["<queue>", "<agent>", "<inbox>", "<id>"].iter().any(|part| p.contains(part)));
        for (publish, subject) in subjects(class, "w2").into_iter().filter(|_| own) {
            assert!(!may(&permissions, publish, &subject), "{subject}");
            looked_at.insert(class.name);
        }
    }
    for name in ["tasks/consume", "withdrawals/subscribe", "words/publish", "presence/worker", "inbox/subscribe"] {
        assert!(looked_at.contains(name), "{name}");
    }
}

#[test]
fn every_class_has_its_action() {
    let policies = embedded();
    let actions: BTreeSet<&str> = policies.actions().keys().filter_map(|name| name.strip_prefix("nats/")).collect();
    let classes: BTreeSet<&str> = CLASSES.iter().map(|class| class.name).collect();
    assert_eq!(actions, classes, "the schema and the table of subjects");
    assert_eq!(classes.len(), CLASSES.len(), "two classes have one name");
}

/// As nats-server's configuration has it; `tests/tests/e2e_permissions` gives it to a real one.
#[test]
fn permissions_are_written_as_the_broker_reads_them() {
    let policies = embedded();
    insta::assert_snapshot!("worker", permissions(&policies, &caller(&[Role::Worker]), &place("w1")).to_string());
    insta::assert_snapshot!("publisher", permissions(&policies, &caller(&[Role::Publisher]), &place("p")).to_string());
    insta::assert_snapshot!("nobody", permissions(&policies, &caller(&[]), &place("x")).to_string());
}

/// What would change the audit trail, whose stream denies the rest by itself.
#[test]
fn no_part_of_kapelle_changes_the_audit_trail() {
    for role in Role::ALL {
        let permissions = permissions(&embedded(), &caller(&[role]), &place("w1"));
        for verb in ["PURGE", "DELETE", "UPDATE", "MSG.DELETE", "RESTORE", "SNAPSHOT"] {
            assert!(!permissions.may_publish(&format!("$JS.API.STREAM.{verb}.AUDIT")), "{role} {verb}");
        }
        let writes = permissions.may_publish("kapelle.audit.api.denied");
        assert_eq!(writes, role == Role::Coordinator, "{role}");
    }
}
