//! How a decision comes about: forbid wins, LOG_ONLY decides nothing and is named, errors deny, and what one costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kapelle_policy::{Action, DEFAULT_DENY, Decision, Policies, Resource, UNDECIDABLE, Verdict};
use kapelle_types::{Caller, Namespace, Principal, Role};

use crate::{caller, embedded, nobody, stranger};

/// The decision of policies, written short as (name, mode, text), about a viewer who gets a run.
fn decided(policies: &[(&str, &str, &str)]) -> Decision {
    let text: String = policies
        .iter()
        .map(|(id, mode, text)| format!("@id(\"{id}\") @mode(\"{mode}\") @why(\"because of {id}\") {text};\n"))
        .collect();
    let policies = Policies::load(&[("test.cedar", text)]).unwrap();
    Decision::clone(&get(&policies, &caller(&[Role::Viewer])))
}

pub(crate) fn get(policies: &Policies, caller: &Caller) -> Arc<Decision> {
    policies.decide(caller, &Action::rpc("/kapelle.v1.RunService/Get"), &Resource::of(Namespace::default()))
}

const PERMIT: &str = "permit (principal, action, resource)";
const FORBID: &str = "forbid (principal, action, resource)";

#[test]
fn forbid_wins_and_nothing_is_no() {
    let decision = decided(&[("yes", "enforce", PERMIT)]);
    assert_eq!((decision.verdict, decision.policy.as_str()), (Verdict::Allow, "yes"));
    assert_eq!(decision.why, "because of yes");
    let decision = decided(&[("yes", "enforce", PERMIT), ("no", "enforce", FORBID), ("also_no", "enforce", FORBID)]);
    assert_eq!((decision.verdict, decision.policy.as_str()), (Verdict::Deny, "also_no"), "the first by name");
    let decision = decided(&[]);
    assert_eq!((decision.verdict, decision.policy.as_str()), (Verdict::Deny, DEFAULT_DENY));
    assert_eq!(decision.why, "No policy permits `kapelle.v1.RunService/Get` to viewer.");
}

#[test]
fn log_only_turns_nothing_and_is_named_where_it_would() {
    let decision = decided(&[("yes", "enforce", PERMIT), ("maybe_no", "log_only", FORBID)]);
    assert_eq!((decision.verdict, decision.log_only), (Verdict::Allow, vec!["maybe_no".to_owned()]));
    let decision = decided(&[("maybe_yes", "log_only", PERMIT)]);
    assert_eq!((decision.verdict, decision.policy.as_str()), (Verdict::Deny, DEFAULT_DENY));
    assert_eq!(decision.log_only, ["maybe_yes"]);
    let decision = decided(&[("no", "enforce", FORBID), ("maybe_yes", "log_only", PERMIT)]);
    assert_eq!((decision.verdict, decision.log_only), (Verdict::Deny, vec![]), "a permit would not have helped");
    let decision = decided(&[("yes", "enforce", PERMIT), ("maybe_yes", "log_only", PERMIT)]);
    assert_eq!((decision.verdict, decision.log_only), (Verdict::Allow, vec![]), "it is allowed anyway");
}

/// No condition that passes strict validation fails on our values but for arithmetic that overflows.
const FAILS: &str = "when { 9223372036854775807 + (if principal.sees_payloads then 0 else 1) > 0 }";

#[test]
fn what_cannot_be_evaluated_is_denied() {
    let broken = format!("{FORBID} {FAILS}");
    let decision = decided(&[("yes", "enforce", PERMIT), ("broken", "enforce", &broken)]);
    assert_eq!((decision.verdict, decision.policy.as_str()), (Verdict::Deny, UNDECIDABLE));
    assert!(decision.errors[0].contains("broken"), "{:?}", decision.errors);
    let decision = decided(&[("yes", "enforce", PERMIT), ("broken", "log_only", &broken)]);
    assert_eq!((decision.verdict, decision.errors.len()), (Verdict::Allow, 1), "what does not count does not deny");
}

#[test]
fn the_boundary_of_a_namespace_is_named() {
    let policies = embedded();
    assert_eq!(get(&policies, &caller(&[Role::Viewer])).policy, "roles_read");
    assert_eq!(get(&policies, &stranger(&Role::ALL)).policy, "other_namespace");
    assert_eq!(get(&policies, &nobody(&Role::ALL)).policy, "no_namespace");
}

#[test]
fn payloads_are_for_those_who_were_given_them_and_for_ones_own_runs() {
    let policies = embedded();
    let see = |caller: &Caller, owner: &str| {
        let run = Resource::of(Namespace::default()).owned_by(Principal(owner.into()));
        policies.decide(caller, &Action::see_payloads(), &run).allowed()
    };
    let granted = |roles: &[Role]| Caller { sees_payloads: true, ..caller(roles) };
    for role in Role::ALL {
        let peoples = !matches!(role, Role::Worker | Role::Coordinator);
        assert_eq!(see(&granted(&[role]), "somebody-else"), peoples, "{role}");
        let submits = matches!(role, Role::Publisher | Role::Operator | Role::Admin);
        assert_eq!(see(&caller(&[role]), "somebody"), submits, "{role}");
        assert!(!see(&caller(&[role]), "somebody-else"), "{role}");
    }
    assert!(!see(&granted(&[]), "somebody"), "payload access alone is no role");
}

/// Names of callers come from outside: whatever is in them is a name and nothing else.
#[test]
fn a_name_is_never_read_as_anything_else() {
    let policies = embedded();
    for name in ["", "\"", "Role::\"admin\"", "a\0b", "'; permit(principal, action, resource);", &"x".repeat(100_000)] {
        let strange =
            Caller { principal: Principal(name.into()), person: Some(name.into()), ..caller(&[Role::Viewer]) };
        assert!(get(&policies, &strange).allowed(), "{name}");
        let cancel = Action::rpc("/kapelle.v1.RunService/Cancel");
        let own = Resource::of(Namespace::default()).owned_by(Principal(name.into()));
        assert!(!policies.decide(&strange, &cancel, &own).allowed(), "{name}");
    }
}

/// Printed with `--no-capture`. The bound is wide, for machines that do other things besides.
#[test]
#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement: it prints what it took")]
fn a_decision_takes_microseconds() {
    let policies = embedded();
    let timed = |what: &str, caller: &dyn Fn(u32) -> Caller| {
        let callers: Vec<_> = (0..1_000).map(caller).collect();
        let started = Instant::now();
        assert!(callers.iter().all(|caller| get(&policies, caller).allowed()));
        let each = started.elapsed() / 1_000;
        println!("{} policies, a decision {what}: {each:?}", policies.rules().count());
        assert!(each < Duration::from_millis(2), "{each:?}");
    };
    timed("that is new", &|n| Caller { principal: Principal(n.to_string()), ..caller(&[Role::Viewer]) });
    timed("that was made before", &|_| caller(&[Role::Viewer]));
}
