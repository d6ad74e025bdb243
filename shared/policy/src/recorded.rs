//! Decisions that were written down, to be held against policies: as tests of one's own, and before a change.

use std::collections::BTreeSet;

use kapelle_types::{Caller, Namespace, Principal, Role};
use serde::{Deserialize, Serialize};

use crate::{Action, Decision, Policies, Resource, Verdict};

/// One question with the answer that is expected.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    caller: Asking,
    action: String,
    resource: Resource,
    expected: Verdict,
    /// Who decides it; not looked at if it is left out.
    #[serde(default)]
    policy: Option<String>,
}

/// A caller as it is written down.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asking {
    principal: Principal,
    #[serde(default)]
    person: Option<String>,
    #[serde(default)]
    roles: BTreeSet<Role>,
    #[serde(default)]
    namespace: Option<Namespace>,
    #[serde(default)]
    sees_payloads: bool,
}

/// A recorded decision that is made otherwise now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its place among the recorded ones, from 1.
    pub number: usize,
    /// Who asked.
    pub principal: String,
    /// What for.
    pub action: String,
    /// What was expected: the verdict, and the policy if one was named.
    pub expected: String,
    /// What is decided now.
    pub decision: Decision,
}

impl Recorded {
    /// Reads recorded decisions: JSON, one object a line, or a YAML (or JSON) list.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn read(text: &str) -> Result<Vec<Self>, String> {
        if !text.trim_start().starts_with('{') {
            return serde_saphyr::from_str(text).map_err(|error| error.to_string());
        }
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read =
            |(n, line): (usize, &str)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", n + 1));
        lines.map(read).collect()
    }

    /// How this decision differs from what is recorded, if it does.
    #[must_use]
    pub fn difference(&self, policies: &Policies, number: usize) -> Option<Difference> {
        let Asking { principal, person, roles, namespace, sees_payloads } = self.caller.clone();
        let caller = Caller { principal, person, roles, namespace, sees_payloads, groups: Default::default() };
        let decision = policies.decide(&caller, &Action::named(&self.action), &self.resource);
        let same =
            decision.verdict == self.expected && self.policy.as_ref().is_none_or(|policy| *policy == decision.policy);
        let by = self.policy.as_ref().map(|policy| format!(" by {policy}")).unwrap_or_default();
        (!same).then(|| Difference {
            number,
            principal: caller.principal.0,
            action: self.action.clone(),
            expected: format!("{}{by}", self.expected),
            decision: (*decision).clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
- caller: { principal: 'person:ada', roles: [viewer], namespace: default }
  action: kapelle.v1.RunService/Cancel
  resource: { namespace: default }
  expected: deny
  policy: default_deny
- caller: { principal: 'service:erp', roles: [publisher], namespace: default }
  action: kapelle.v1.RunService/Cancel
  resource: { namespace: default, owner: 'service:erp' }
  expected: deny
";

    #[test]
    fn a_difference_says_what_was_expected_and_what_is() {
        let policies = Policies::embedded().unwrap();
        let recorded = Recorded::read(LIST).unwrap();
        assert_eq!(recorded[0].difference(&policies, 1), None);
        let difference = recorded[1].difference(&policies, 2).unwrap();
        assert_eq!((difference.number, difference.expected.as_str()), (2, "deny"));
        assert_eq!(difference.decision.policy, "publishers_cancel_their_own");
    }

    #[test]
    fn lines_and_lists_are_read_and_nothing_is_overlooked() {
        let line = r#"{"caller":{"principal":"a"},"action":"x","resource":{"namespace":"default"},"expected":"deny"}"#;
        assert_eq!(Recorded::read(&format!("{line}\n\n{line}\n")).unwrap().len(), 2);
        assert_eq!(Recorded::read(&format!("[{line}]")).unwrap().len(), 1);
        for (bad, says) in [
            (format!("{line}\n{{"), "line 2"),
            (line.replace("deny", "maybe"), "maybe"),
            (line.replace("\"action\"", "\"akcion\""), "akcion"),
            (line.replace("default", "No Name"), "namespace"),
            (line.replace("\"principal\":\"a\"", "\"principal\":\"a\",\"roles\":[\"root\"]"), "root"),
        ] {
            let error = Recorded::read(&bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
