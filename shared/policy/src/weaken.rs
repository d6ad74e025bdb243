//! What a new set of policies lets through that the one before it stopped: such a change takes a second person.
//!
//! A policy that only logs from now on stops or grants nothing any more; a forbid that is gone, or is not what it was, may
//! let through what it stopped. Whether a changed condition is wider or narrower cannot be told from its text, so every
//! change of an enforced forbid counts. What a new permit grants is no weakening: forbids stand above it.
//!
//! One that leaves the policies themselves to callers by name counts too: otherwise one person could shut all others out. Whoever
//! approves has to keep those rights, so at least two persons are left with them.

use std::collections::BTreeSet;

use kapelle_types::{Caller, Namespace, Principal, Role, Sha256};

use crate::{Action, Effect, Mode, Policies, Resource, Rule};

/// What whoever changes policies does: applies them, and approves what others weaken, since a set that forbade that could never
/// be weakened again.
pub const CHANGES: [&str; 3] =
    ["kapelle.v1.PolicyService/Apply", "kapelle.v1.PolicyService/Rollback", "kapelle.v1.PolicyService/Approve"];

/// What `new` weakens of `old`, a sentence each, by the names of the policies; empty if nothing.
#[must_use]
pub fn weakened(old: &Policies, new: &Policies) -> Vec<String> {
    let enforced = old.rules().filter(|rule| rule.mode == Mode::Enforce);
    enforced.filter_map(|rule| weakens(rule, new.rule(&rule.id))).collect()
}

/// What of [`CHANGES`] no role would have any more under these policies, whoever holds it: a sentence each. Callers whom the
/// policies name may have it all the same.
#[must_use]
pub fn reserved(policies: &Policies, namespace: &Namespace) -> Vec<String> {
    // A name that the policies cannot say: their own text would have to hold its digest. Persons have patterns in policies, so
    // there is no such person; a right that only persons have is not everybody's either.
    let text: String = policies.rules().map(|rule| rule.text.as_str()).collect();
    let principal = Principal(Sha256::of(text.as_bytes()).to_string());
    let resource = Resource::of(namespace.clone());
    let of = |role, sees_payloads| Caller {
        principal: principal.clone(),
        person: None,
        roles: BTreeSet::from([role]),
        groups: BTreeSet::new(),
        namespace: Some(namespace.clone()),
        sees_payloads,
    };
    let has = |action: &&str| {
        let action = Action::named(action);
        let mut callers = Role::ALL.into_iter().flat_map(|role| [of(role, false), of(role, true)]);
        callers.any(|caller| policies.decide(&caller, &action, &resource).allowed())
    };
    let reserved = CHANGES.iter().filter(|action| !has(action));
    reserved.map(|action| format!("no role could call {action}, but for callers by name")).collect()
}

fn weakens(old: &Rule, new: Option<&Rule>) -> Option<String> {
    let id = &old.id;
    match (old.effect, new) {
        (_, Some(new)) if new.mode == Mode::LogOnly => Some(format!("`{id}` would only be logged")),
        (Effect::Forbid, None) => Some(format!("the forbid `{id}` would be gone")),
        (Effect::Forbid, Some(new)) if body(new) != body(old) => Some(format!("the forbid `{id}` would be another")),
        (Effect::Forbid | Effect::Permit, _) => None,
    }
}

/// A policy's text behind the line of its last annotation, so that the reason may be said in other words. Blanks count: a line
/// end less may make a comment of a condition.
fn body(rule: &Rule) -> &str {
    let start = rule.text.find(match rule.effect {
        Effect::Permit => "\npermit",
        Effect::Forbid => "\nforbid",
    });
    rule.text[start.unwrap_or(0)..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(id: &str, mode: &str, rest: &str) -> String {
        format!("@id(\"{id}\") @mode(\"{mode}\") @why(\"because\")\n{rest};\n")
    }

    fn set(policies: &[String]) -> Policies {
        Policies::load(&[("some.cedar", policies.concat())]).unwrap()
    }

    const PERMIT: &str = "permit (principal, action in Action::\"read\", resource)";
    const FORBID: &str = "forbid (principal, action in Action::\"submit\", resource)";

    #[test]
    fn what_stops_less_than_before_is_named() {
        let old = set(&[policy("yes", "enforce", PERMIT), policy("no", "enforce", FORBID)]);
        let none: Vec<String> = Vec::new();
        let told = |policies: &[String]| weakened(&old, &set(policies));
        assert_eq!(told(&[policy("yes", "enforce", PERMIT), policy("no", "enforce", FORBID)]), none);
        assert_eq!(told(&[policy("no", "enforce", FORBID)]), none, "less is granted");
        assert_eq!(told(&[policy("yes", "enforce", PERMIT)]), ["the forbid `no` would be gone"]);
        assert_eq!(
            told(&[policy("yes", "log_only", PERMIT), policy("no", "log_only", FORBID)]),
            ["`no` would only be logged", "`yes` would only be logged"]
        );
        let narrower = format!("{FORBID} when {{ principal.sees_payloads }}");
        assert_eq!(told(&[policy("no", "enforce", &narrower)]), ["the forbid `no` would be another"]);
        assert_eq!(told(&[policy("no", "enforce", PERMIT)]), ["the forbid `no` would be another"]);
    }

    #[test]
    fn another_reason_is_the_same_policy_and_a_comment_is_another_one() {
        let forbid = format!("{FORBID} // of submitting\nunless {{ principal.sees_payloads }}\n");
        let (old, same) = (set(&[policy("no", "enforce", &forbid)]), policy("no", "enforce", &forbid));
        assert!(weakened(&old, &set(&[same.replace("because", "for a better reason")])).is_empty());
        let new = set(&[policy("no", "enforce", &forbid.replace("\nunless", " unless"))]);
        assert_eq!(weakened(&old, &new).len(), 1);
        let old = set(&[policy("no", "enforce", FORBID)]);
        assert!(weakened(&old, &set(&[policy("no", "enforce", FORBID), policy("yes", "enforce", PERMIT)])).is_empty());
    }

    #[test]
    fn what_was_only_logged_may_go() {
        let old = set(&[policy("no", "log_only", FORBID)]);
        assert!(weakened(&old, &set(&[policy("yes", "enforce", PERMIT)])).is_empty());
    }

    const ADMINS: &str = "permit (principal in Role::\"admin\", action in Action::\"administer\", resource)";

    #[test]
    fn what_is_left_to_callers_by_name_is_named() {
        let namespace = Namespace::default();
        let told = |policies: &[String]| reserved(&set(policies), &namespace);
        let none: Vec<String> = Vec::new();
        assert_eq!(reserved(&Policies::embedded().unwrap(), &namespace), none);
        assert_eq!(told(&[policy("admins", "enforce", ADMINS)]), none);
        assert_eq!(told(&[policy("admins", "log_only", ADMINS)]).len(), CHANGES.len());
        let but = |condition: &str| {
            let forbid = format!("forbid (principal, action in Action::\"administer\", resource) {condition}");
            told(&[policy("admins", "enforce", ADMINS), policy("alone", "enforce", &forbid)]).len()
        };
        assert_eq!(but("unless { principal == Caller::\"ada\" }"), CHANGES.len());
        assert_eq!(but("unless { principal has person && principal.person like \"*\" }"), CHANGES.len());
        assert_eq!(but("unless { principal.sees_payloads }"), 0, "whoever was given that");
        assert_eq!(but("when { principal == Caller::\"bob\" }"), 0, "one is shut out, no role is");
        let approving = "forbid (principal, action == Action::\"kapelle.v1.PolicyService/Approve\", resource)";
        let all = [policy("admins", "enforce", ADMINS), policy("alone", "enforce", approving)];
        assert_eq!(told(&all), [format!("no role could call {}, but for callers by name", CHANGES[2])]);
    }
}
