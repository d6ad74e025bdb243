//! What people are told of a question, when, and as which event.
//!
//! ```text
//!   asked ── reminders and rungs, as they are due ──▶ approved, rejected, expired or withdrawn
//!     └── changed, whenever somebody edits what is asked ──┘
//! ```
//!
//! A notice names the digest and how to look at what it stands for. It holds no payload, no comment and nothing that lets
//! anybody decide: that takes a login. Its id derives from the question and the notice, so that it is the same whoever tells it.

use async_nats::HeaderMap;
use kapelle_bus::approvals::Question;
use kapelle_types::{Sha256, Timestamp};
use serde_json::json;

use super::ending::Ending;

/// The type of the events, below `kapelle.event.`, and what all of them are found by.
pub(super) const FILTER: &str = "kapelle.event.approval.*";

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Asked,
    /// Somebody put other arguments in the place of the step's.
    Changed,
    Reminded,
    /// More groups may decide from here on.
    Escalated,
    Ended(Ending),
}

/// Something that people are told of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) what: What,
    /// When it became so.
    pub(super) at: Timestamp,
    /// Whom it is for; everybody if it is empty.
    pub(super) groups: Vec<String>,
}

impl What {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Changed => "changed",
            Self::Reminded => "reminded",
            Self::Escalated => "escalated",
            Self::Ended(Ending::Approved { .. }) => "approved",
            Self::Ended(Ending::Rejected { .. }) => "rejected",
            Self::Ended(Ending::Expired) => "expired",
            Self::Ended(Ending::Withdrawn) => "withdrawn",
        }
    }

    fn by(&self) -> Vec<String> {
        match self {
            Self::Ended(Ending::Approved { by, .. }) => by.clone(),
            Self::Ended(Ending::Rejected { by }) => vec![by.clone()],
            Self::Asked
            | Self::Changed
            | Self::Reminded
            | Self::Escalated
            | Self::Ended(Ending::Expired | Ending::Withdrawn) => Vec::new(),
        }
    }
}

/// Everything that is told of a question while it is open, in the order of time: its place here is what `told` counts.
pub(super) fn timeline(question: &Question) -> Vec<Notice> {
    let mut notices = vec![Notice { what: What::Asked, at: question.asked_at, groups: question.groups.clone() }];
    let escalated = question.escalate.iter();
    notices.extend(escalated.map(|(at, to)| Notice { what: What::Escalated, at: *at, groups: to.clone() }));
    let reminded = question.remind.iter();
    notices.extend(reminded.map(|at| Notice { what: What::Reminded, at: *at, groups: groups_at(question, *at) }));
    notices.sort_by_key(|notice| notice.at);
    notices
}

/// What is to be told by now of those that were not told yet, and how many were then. A reminder that was missed is left out
/// where a later one or a rung is due as well: nobody is reminded twice at once.
pub(super) fn due(question: &Question, now: Timestamp) -> (Vec<Notice>, usize) {
    let mut due: Vec<Notice> = timeline(question).into_iter().take_while(|it| it.at <= now).collect();
    let told = due.len().max(question.told);
    let mut due = due.split_off(question.told.min(due.len()));
    let (fresh, count, mut place) = (question.told == 0, due.len(), 0);
    due.retain(|notice| {
        place += 1;
        notice.what != What::Reminded || (!fresh && place == count)
    });
    (due, told)
}

/// The groups that may decide at a time.
pub(super) fn groups_at(question: &Question, now: Timestamp) -> Vec<String> {
    let reached = question.escalate.iter().filter(|(at, _)| *at <= now).flat_map(|(_, to)| to);
    question.groups.iter().chain(reached).cloned().collect()
}

/// The event of a notice: its type, its headers and its body.
pub(super) fn event(question: &Question, notice: &Notice) -> (String, HeaderMap, Vec<u8>) {
    let Question { run, step, workflow, title, digest, asked_at, expires, .. } = question;
    let name = notice.what.name();
    let identity = format!("{run}/{step}/{}/{name}/{}/{digest}", asked_at.nanos(), notice.at.nanos());
    let id = Sha256::of(identity.as_bytes()).to_string();
    let kind = format!("approval.{name}");
    let event = json!({
        "specversion": "1.0",
        "id": id,
        "source": "kapelle/coordinator",
        "type": format!("dev.kapelle.{kind}"),
        "subject": format!("{run}/{step}"),
        "time": notice.at.rfc3339(),
        "datacontenttype": "application/json",
        "data": {
            "run_id": run.to_string(),
            "step": step.to_string(),
            "workflow": workflow.to_string(),
            "title": title,
            "groups": notice.groups,
            "by": notice.what.by(),
            "digest": digest,
            "asked_at": asked_at.rfc3339(),
            "expires_at": expires.rfc3339(),
            "look": format!("kapelle approval show {run} {step}"),
        },
    });
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.as_str());
    headers.insert("ce-id", id.as_str());
    headers.insert("content-type", "application/cloudevents+json");
    (kind, headers, serde_json::to_vec(&event).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use kapelle_types::RunId;

    use super::*;

    fn question(told: usize) -> Question {
        let at = Timestamp::from_millis;
        Question {
            run: RunId::keyed("default", &"w".parse().unwrap(), "1"),
            step: "pay:3".parse().unwrap(),
            workflow: "w@1.0.0".parse().unwrap(),
            title: "Pay?".into(),
            groups: vec!["legal".into()],
            digest: "ab".into(),
            asked_at: at(1_000),
            expires: at(9_000),
            remind: vec![at(2_000), at(3_000), at(5_000)],
            escalate: vec![(at(4_000), vec!["leads".into()])],
            told,
        }
    }

    fn told(told: usize, now: i64) -> (Vec<String>, usize) {
        let (due, then) = due(&question(told), Timestamp::from_millis(now));
        (due.iter().map(|it| format!("{} {}", it.what.name(), it.groups.join("+"))).collect(), then)
    }

    #[test]
    fn notices_come_in_time_and_what_was_missed_is_caught_up() {
        let list = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(told(0, 1_000), (list(&["asked legal"]), 1));
        assert_eq!(told(1, 1_999), (vec![], 1));
        assert_eq!(told(1, 2_000), (list(&["reminded legal"]), 2));
        assert_eq!(told(0, 4_500), (list(&["asked legal", "escalated leads"]), 4), "nobody is reminded of what is new");
        assert_eq!(told(2, 6_000), (list(&["escalated leads", "reminded legal+leads"]), 5));
        assert_eq!(told(5, 8_999), (vec![], 5));
        assert_eq!(told(5, 500), (vec![], 5), "a clock that goes back tells nothing again");
    }

    #[test]
    fn an_event_has_the_digest_and_the_same_id_whoever_tells_it() {
        let notice = Notice { what: What::Asked, at: Timestamp::from_millis(1_000), groups: vec![] };
        let (kind, headers, body) = event(&question(0), &notice);
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(kind == "approval.asked" && text.contains(r#""digest":"ab""#) && text.contains("approval show"));
        assert_eq!(event(&question(3), &notice), (kind, headers.clone(), body), "however much was told");
        let changed = Notice { what: What::Changed, ..notice };
        assert_ne!(event(&question(0), &changed).1, headers);
    }
}
