//! Whose word a step waits for, and how long: `approval` as a step of its own, `approve` beside an agent.

use std::time::Duration;

use kapelle_types::limits::{
    APPROVAL_GROUPS_MAX, APPROVAL_LIFE_DEFAULT, APPROVAL_QUORUM_MAX, APPROVAL_REMINDERS_MAX, APPROVAL_RUNGS_MAX,
    REASON_CHARS_MAX,
};
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
    /// How long after it was asked those who may decide are told once more.
    #[serde(serialize_with = "write::durations", skip_serializing_if = "Vec::is_empty")]
    pub remind: Vec<Duration>,
    /// Who may decide too if nobody has for a while, rung by rung. None of them agrees by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Rung>,
    /// Whether the person who submitted the run may agree.
    pub self_approval: bool,
}

/// A rung of an approval's ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// How long after it was asked.
    #[serde(serialize_with = "write::duration")]
    pub after: Duration,
    /// The groups whose members may decide from then on too.
    pub to: Vec<String>,
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
        let (remind_part, escalate_part) = (fields.optional("remind"), fields.optional("escalate"));
        let remind = optional(remind_part.clone(), |it| reminders(it, issues));
        let escalate = optional(escalate_part.clone(), |it| ladder(it, issues));
        let self_approval = optional(fields.optional("self_approval"), |it| it.flag(issues));
        fields.close(&[], issues);
        on_expiry?;
        let approval = Self {
            title: title?,
            reason: reason?,
            groups: groups?.unwrap_or_default(),
            quorum: quorum?.unwrap_or(1),
            expires: expires?.unwrap_or(APPROVAL_LIFE_DEFAULT),
            remind: remind?.unwrap_or_default(),
            escalate: escalate?.unwrap_or_default(),
            self_approval: self_approval?.unwrap_or(false),
        };
        if let Some(part) = remind_part {
            approval.in_order(&part, approval.remind.iter().copied(), issues);
        }
        if let Some(part) = escalate_part {
            approval.in_order(&part, approval.escalate.iter().map(|rung| rung.after), issues);
            if approval.groups.is_empty() {
                let issue =
                    Issue::rule(&part.pointer, "every approver may decide from the start, so nobody is left to ask");
                issues.push(issue.hint("name in `groups` who is asked first"));
            }
        }
        Some(approval)
    }

    /// Reports times that do not come one after another, or not before it is denied.
    fn in_order(&self, part: &Part<'_>, times: impl Iterator<Item = Duration>, issues: &mut Issues) {
        let times: Vec<Duration> = times.collect();
        if !times.is_sorted_by(|a, b| a < b) {
            issues.push(Issue::rule(&part.pointer, "these times come one after another, the first one first"));
        }
        if times.iter().any(|it| *it >= self.expires) {
            let expires = kapelle_types::duration::format(self.expires);
            issues.push(Issue::rule(&part.pointer, format!("after {expires} it is denied: nobody is told any more")));
        }
    }
}

fn reminders(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Duration>> {
    let items = few(part, APPROVAL_REMINDERS_MAX, "reminders", issues)?;
    items.iter().map(|it| it.duration(issues)).collect()
}

fn ladder(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Rung>> {
    let items = few(part, APPROVAL_RUNGS_MAX, "rungs", issues)?;
    items.iter().map(|it| rung(it, issues)).collect()
}

fn rung(part: &Part<'_>, issues: &mut Issues) -> Option<Rung> {
    let mut fields = part.fields(issues)?;
    let after = fields.required("after", issues).and_then(|it| it.duration(issues));
    let to_part = fields.required("to", issues);
    let to = to_part.as_ref().and_then(|it| groups(it, issues));
    fields.close(&[], issues);
    if let (Some(part), Some([])) = (&to_part, to.as_deref()) {
        issues.push(Issue::rule(&part.pointer, "a rung names at least one group"));
    }
    Some(Rung { after: after?, to: to? })
}

/// The items of a list that has few of them.
fn few<'v>(part: &Part<'v>, max: usize, what: &str, issues: &mut Issues) -> Option<Vec<Part<'v>>> {
    let items = part.items(issues)?;
    if items.len() <= max {
        return Some(items);
    }
    issues.push(Issue::rule(&part.pointer, format!("there are {max} {what} at most")));
    None
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
    let items = few(part, APPROVAL_GROUPS_MAX, "groups", issues)?;
    items.iter().map(|it| line(it, issues)).collect()
}
