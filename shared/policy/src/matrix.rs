//! Who may do what, as a table; and the bounds that no set of policies may break.

use std::collections::BTreeSet;

use kapelle_types::{Caller, Namespace, Principal, Role};

use crate::{Action, Policies, Resource};

/// Where the caller belongs, seen from what is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// To the same namespace.
    Own,
    /// To another one.
    Other,
    /// To none.
    Nowhere,
}

/// Who submitted the run that is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Unknown,
    Caller,
    SomebodyElse,
}

const SIDES: [(Side, &str); 3] = [
    (Side::Own, "In the caller's own namespace"),
    (Side::Other, "In another namespace"),
    (Side::Nowhere, "By a caller without a namespace"),
];
const OWNERS: [Owner; 3] = [Owner::Unknown, Owner::Caller, Owner::SomebodyElse];
/// The cells of a row: what each role may.
type Cells = [&'static str; Role::ALL.len()];

/// Every action × role, in the caller's own namespace, in another one and without one: whether it is allowed always (`yes`),
/// never (`-`), to whoever sees payloads (`sees`), for one's own runs (`own`), or for either reason (`sees/own`).
#[must_use]
pub fn matrix(policies: &Policies) -> String {
    let table = |(side, title)| {
        let mut lines = vec![format!("{title}\n")];
        let rows = rows(policies, side);
        if rows.is_empty() {
            lines.push("nothing".to_owned());
        } else {
            lines.push(line("", Role::ALL.map(Role::as_str)));
        }
        lines.extend(rows.iter().map(|(action, cells)| line(action, *cells)));
        lines.join("\n")
    };
    SIDES.map(table).join("\n\n")
}

fn line(action: &str, cells: Cells) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:<12}")).collect();
    format!("{action:<58}{cells}").trim_end().to_owned()
}

/// A row for each action; elsewhere than in the caller's own namespace only for what is allowed to somebody.
fn rows(policies: &Policies, side: Side) -> Vec<(String, Cells)> {
    let row = |name: &String| (name.clone(), Role::ALL.map(|role| cell(policies, &Action::named(name), role, side)));
    let told = |(_, cells): &(String, Cells)| side == Side::Own || cells.iter().any(|cell| *cell != "-");
    policies.actions().keys().map(row).filter(told).collect()
}

fn cell(policies: &Policies, action: &Action, role: Role, side: Side) -> &'static str {
    let cases = || [false, true].into_iter().flat_map(|sees| OWNERS.map(|owner| (sees, owner)));
    let allowed = |sees, owner| policies.decide(&caller(&[role], side, sees), action, &resource(owner)).allowed();
    let allowed: Vec<_> = cases().filter(|(sees, owner)| allowed(*sees, *owner)).collect();
    let exactly = |rule: fn(bool, bool) -> bool| {
        cases().filter(|(sees, owner)| rule(*sees, *owner == Owner::Caller)).eq(allowed.iter().copied())
    };
    match () {
        () if allowed.is_empty() => "-",
        () if exactly(|_, _| true) => "yes",
        () if exactly(|sees, _| sees) => "sees",
        () if exactly(|_, own| own) => "own",
        () if exactly(|sees, own| sees || own) => "sees/own",
        () => "sometimes",
    }
}

/// What breaks a bound that holds for every set of policies, whatever an installation's own say: a line each. Nothing of a
/// namespace goes to a caller who does not belong to it, and nothing to a caller without a role.
#[must_use]
pub fn breaches(policies: &Policies) -> Vec<String> {
    let outsiders = [
        ("a caller of another namespace", Role::ALL.as_slice(), Side::Other),
        ("a caller without a namespace", Role::ALL.as_slice(), Side::Nowhere),
        ("a caller without a role", &[], Side::Own),
    ];
    let mut found = BTreeSet::new();
    for (who, roles, side) in outsiders {
        for name in policies.actions().keys() {
            for (sees, owner) in [false, true].into_iter().flat_map(|sees| OWNERS.map(|owner| (sees, owner))) {
                let decision = policies.decide(&caller(roles, side, sees), &Action::named(name), &resource(owner));
                if decision.allowed() {
                    found.insert(format!("{who} may do `{name}`, by {}", decision.policy));
                }
            }
        }
    }
    found.into_iter().collect()
}

fn caller(roles: &[Role], side: Side, sees_payloads: bool) -> Caller {
    let namespace = match side {
        Side::Own => Some(Namespace::default()),
        Side::Other => another(),
        Side::Nowhere => None,
    };
    Caller {
        principal: somebody(),
        person: None,
        roles: roles.iter().copied().collect(),
        namespace,
        sees_payloads,
        groups: Default::default(),
    }
}

fn resource(owner: Owner) -> Resource {
    let resource = Resource::of(Namespace::default());
    match owner {
        Owner::Unknown => resource,
        Owner::Caller => resource.owned_by(somebody()),
        Owner::SomebodyElse => resource.owned_by(Principal("somebody-else".to_owned())),
    }
}

fn somebody() -> Principal {
    Principal("somebody".to_owned())
}

/// A namespace that is not the default one.
fn another() -> Option<Namespace> {
    "another".parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_sides_are_three() {
        let namespaces = SIDES.map(|(side, _)| caller(&[], side, false).namespace);
        assert_eq!(namespaces.iter().flatten().collect::<BTreeSet<_>>().len(), 2);
    }

    #[test]
    fn the_embedded_policies_hold_the_bounds() {
        assert_eq!(breaches(&Policies::embedded().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn a_breach_is_found() {
        let open =
            r#"@id("open") @mode("enforce") @why("open") permit (principal, action in Action::"read", resource);"#;
        let found = breaches(&Policies::load(&[("open.cedar", open)]).unwrap());
        assert!(found.contains(&"a caller without a role may do `kapelle.v1.RunService/Get`, by open".to_owned()));
        assert!(found.iter().any(|breach| breach.starts_with("a caller of another namespace may do")));
    }
}
