//! Whose word a step waits for, and how long: `approval` as a step of its own, `approve` beside an agent.

use std::time::Duration;

use kapelle_types::limits::{APPROVAL_GROUPS_MAX, APPROVAL_LIFE_DEFAULT, APPROVAL_QUORUM_MAX, REASON_CHARS_MAX};
use serde::Serialize;

use crate::issue::Issue;
use crate::read::{Issues, Part, optional};
use crate::write;

/// What is asked of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// What is asked, in one line.
    pub title: String,
    /// Why it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The groups whose members may decide; every approver may if it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// How many persons have to agree.
    pub quorum: u32,
    /// How long is waited. Then it is denied.
    #[serde(serialize_with = "write::duration")]
    pub expires: Duration,
    /// Whether the person who submitted the run may agree.
    pub self_approval: bool,
}

impl Approval {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let title = fields.required("title", issues).and_then(|it| line(&it, issues));
        let reason = optional(fields.optional("reason"), |it| line(it, issues));
        let groups = optional(fields.optional("groups"), |it| groups(it, issues));
        let quorum = optional(fields.optional("quorum"), |it| it.count(1, APPROVAL_QUORUM_MAX, issues));
        let expires = optional(fields.optional("expires"), |it| it.duration(issues));
        let words = [("deny", ())];
        let on_expiry = optional(fields.optional("on_expiry"), |it| it.word(&words, issues));
        let self_approval = optional(fields.optional("self_approval"), |it| it.flag(issues));
        fields.close(&["escalate"], issues);
        on_expiry?;
        Some(Self {
            title: title?,
            reason: reason?,
            groups: groups?.unwrap_or_default(),
            quorum: quorum?.unwrap_or(1),
            expires: expires?.unwrap_or(APPROVAL_LIFE_DEFAULT),
            self_approval: self_approval?.unwrap_or(false),
        })
    }
}

/// A text that the people who decide are shown.
fn line(part: &Part<'_>, issues: &mut Issues) -> Option<String> {
    let text = part.text(issues)?;
    if text.chars().count() <= REASON_CHARS_MAX {
        return Some(text.to_owned());
    }
    issues.push(Issue::rule(&part.pointer, format!("a text here has {REASON_CHARS_MAX} characters at most")));
    None
}

fn groups(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<String>> {
    let items = part.items(issues)?;
    if items.len() > APPROVAL_GROUPS_MAX {
        issues.push(Issue::rule(&part.pointer, format!("{APPROVAL_GROUPS_MAX} groups may be asked at most")));
        return None;
    }
    items.iter().map(|it| line(it, issues)).collect()
}
