//! Decisions that were made before. A decision is a function of the question alone, so one that is remembered by the whole
//! question is never wrong, whatever the policies say. Calls that were decided before do not wait for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use kapelle_types::Caller;

use crate::{Action, Decision, Resource};

/// Decisions that are remembered: some kilobytes each for as many callers as call in a minute. When there are more, all are
/// forgotten; to make one anew takes microseconds.
const DECISIONS_MAX: usize = 4_096;
/// Bytes of a question that is remembered; names of callers come from outside and may be long.
const QUESTION_BYTES_MAX: usize = 1_024;

/// What was decided, by question.
#[derive(Debug, Default)]
pub(crate) struct Memo(RwLock<BTreeMap<Vec<u8>, Arc<Decision>>>);

impl Memo {
    /// The decision on a question: the one that was made before, or what `decide` says now.
    pub(crate) fn get_or(
        &self,
        caller: &Caller,
        action: &Action,
        resource: &Resource,
        decide: impl FnOnce() -> Decision,
    ) -> Arc<Decision> {
        let question = question(caller, action, resource);
        // Nothing in here panics half-way, so a poisoned map is whole.
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return Arc::clone(known);
        }
        let decision = Arc::new(decide());
        if question.len() <= QUESTION_BYTES_MAX {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= DECISIONS_MAX {
                known.clear();
            }
            known.insert(question, Arc::clone(&decision));
        }
        decision
    }
}

/// Everything that a policy can look at, in one spelling: what is there is counted, so that no two questions look alike.
fn question(caller: &Caller, action: &Action, resource: &Resource) -> Vec<u8> {
    let Caller { principal, person, roles, namespace, sees_payloads, groups: _ } = caller;
    let Resource { namespace: whose, owner } = resource;
    let mut bytes = Vec::with_capacity(128);
    let mut put = |part: Option<&str>| {
        bytes.push(u8::from(part.is_some()));
        let part = part.unwrap_or_default();
        bytes.extend_from_slice(&part.len().to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    };
    put(Some(action.as_str()));
    put(Some(&principal.0));
    put(person.as_deref());
    put(namespace.as_ref().map(|namespace| namespace.as_str()));
    put(Some(whose.as_str()));
    put(owner.as_ref().map(|owner| owner.0.as_str()));
    roles.iter().for_each(|role| put(Some(role.as_str())));
    bytes.push(u8::from(*sees_payloads));
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kapelle_types::{Namespace, Principal, Role};

    use super::*;

    fn caller(name: &str) -> Caller {
        let roles = BTreeSet::from([Role::Viewer]);
        Caller {
            principal: Principal(name.into()),
            person: None,
            roles,
            namespace: None,
            sees_payloads: false,
            groups: Default::default(),
        }
    }

    #[test]
    fn questions_that_differ_in_anything_are_two() {
        let (one, get, of) = (caller("a"), Action::named("get"), Resource::of(Namespace::default()));
        let other: Namespace = "other".parse().unwrap();
        let all = [
            question(&one, &get, &of),
            question(&caller("b"), &get, &of),
            question(&one, &Action::named("list"), &of),
            question(&Caller { person: Some(String::new()), ..one.clone() }, &get, &of),
            question(&Caller { roles: BTreeSet::new(), ..one.clone() }, &get, &of),
            question(&Caller { roles: BTreeSet::from([Role::Viewer, Role::Admin]), ..one.clone() }, &get, &of),
            question(&Caller { namespace: Some(other.clone()), ..one.clone() }, &get, &of),
            question(&Caller { sees_payloads: true, ..one.clone() }, &get, &of),
            question(&one, &get, &Resource::of(other)),
            question(&one, &get, &of.clone().owned_by(Principal("a".into()))),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let (memo, get, of) = (Memo::default(), Action::named("get"), Resource::of(Namespace::default()));
        let ask = |name: &str| memo.get_or(&caller(name), &get, &of, || Decision::deny("x", name));
        for n in 0..2 * DECISIONS_MAX {
            assert_eq!(ask(&n.to_string()).why, n.to_string());
            assert!(memo.0.read().unwrap().len() <= DECISIONS_MAX);
        }
        let before = memo.0.read().unwrap().len();
        ask(&"x".repeat(QUESTION_BYTES_MAX));
        assert_eq!(memo.0.read().unwrap().len(), before, "too long to be remembered");
        let asked_before = memo.get_or(&caller("0"), &get, &of, || Decision::deny("x", "anew"));
        assert_eq!(asked_before.why, "anew", "forgotten");
        assert_eq!(memo.get_or(&caller("0"), &get, &of, || unreachable!()).why, "anew");
    }
}
