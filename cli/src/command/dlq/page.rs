//! Dead letters as people read them.

use std::fmt::Write as _;

use kapelle_types::Timestamp;

use crate::command::fleet::since;
use crate::output::{Table, bold, dim};
use crate::view::{DeadLetter, DeadLetterCount, DeadLetterGroup, Error};

/// Characters of a cause in a table.
const CAUSE_CHARS_MAX: usize = 120;

/// Dead letters as a table.
pub(super) fn table(letters: &[DeadLetter], total: u64, now: Timestamp) -> String {
    let mut table = Table::new(&["run", "step", "agent", "attempts", "age", "cause"]);
    for l in letters {
        let cause = l.error.as_ref().map(said).unwrap_or_default().chars().take(CAUSE_CHARS_MAX).collect();
        let (attempts, age) = (l.attempt.to_string(), since(l.at.as_deref(), now));
        table.row([l.run_id.clone(), l.step.clone(), l.agent.clone(), attempts, age, cause]);
    }
    let mut text = table.render("No dead letters.");
    if total > letters.len() as u64 {
        let more = format!("{} of {total}; more with --limit", letters.len());
        let _ = write!(text, "\n{}", dim(&more)); // a String takes whatever is written to it
    }
    text
}

/// One dead letter with its input and history.
pub(super) fn letter(l: &DeadLetter) -> String {
    let title = bold(&format!("{}  {}", l.run_id, l.step));
    let at = l.at.as_deref().unwrap_or("-");
    let mut text = format!("{title}\nworkflow  {}\nagent     {}\ngave up   {at}\n", l.workflow, l.agent);
    if let Some(replays) = l.replays {
        let _ = writeln!(text, "put back  {replays} time(s) before");
    }
    let _ = writeln!(text, "alike     {}", l.fingerprint);
    if let Some(error) = &l.error {
        let _ = writeln!(text, "cause     {}", said(error));
        for line in error.evidence.lines() {
            let _ = writeln!(text, "          {}", dim(line));
        }
    }
    let mut attempts = Table::new(&["attempt", "at", "cause"]);
    for a in &l.history {
        attempts.row([
            a.attempt.to_string(),
            a.at.clone().unwrap_or_default(),
            a.error.as_ref().map(said).unwrap_or_default(),
        ]);
    }
    let input = serde_json::to_string_pretty(&l.input).unwrap_or_default();
    let _ = write!(text, "\n{}\n\n{}\n{input}\n", attempts.render("No attempts are recorded."), bold("input"));
    let _ = write!(text, "\nPut it back with `kapelle dlq replay --run {} --step {}`.", l.run_id, l.step);
    text
}

/// Counts as a table.
pub(super) fn counts(counts: &[DeadLetterCount], now: Timestamp) -> String {
    let mut table = Table::new(&["agent", "cause", "count", "oldest"]);
    for c in counts {
        table.row([c.agent.clone(), c.code.clone(), c.count.to_string(), since(c.oldest_at.as_deref(), now)]);
    }
    table.render("No dead letters.")
}

/// Groups as a table.
pub(super) fn groups(groups: &[DeadLetterGroup], now: Timestamp) -> String {
    let mut table = Table::new(&["fingerprint", "agent", "count", "oldest", "newest", "cause"]);
    for g in groups {
        let cause = format!("{} {}", g.code, g.text).chars().take(CAUSE_CHARS_MAX).collect();
        let agent = format!("{}@{}", g.agent, g.versions.join(","));
        let (oldest, newest) = (since(g.oldest_at.as_deref(), now), since(g.newest_at.as_deref(), now));
        table.row([g.fingerprint.clone(), agent, g.count.to_string(), oldest, newest, cause]);
    }
    table.render("No dead letters.")
}

fn said(error: &Error) -> String {
    format!("{} {}", error.code, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_proto::v1;

    fn dead() -> DeadLetter {
        let failure = v1::StepFailure {
            code: "K0401".into(),
            message: "no answer in 20 s".into(),
            kind: 2,
            ..Default::default()
        };
        DeadLetter::from(v1::DeadLetterView {
            run_id: "r-1".into(),
            step: "review:17".into(),
            attempt: 4,
            agent: "licence-review@1.0.0".into(),
            workflow: "software-intake@1.0.0".into(),
            cause: Some(failure.clone()),
            at_unix_nanos: 1_000_000_000,
            input: br#"{"component":"serde"}"#.to_vec().into(),
            history: vec![v1::DeadLetterAttempt { attempt: 1, at_unix_nanos: 5, failure: Some(failure) }],
            fingerprint: "1f0c5a77b2e9".into(),
            replays: 2,
        })
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn tables_and_pages() {
        let now = Timestamp::from_millis(301_000);
        insta::assert_snapshot!("list", plain(&table(&[dead()], 3, now)));
        insta::assert_snapshot!("show", plain(&letter(&dead())));
        let count = DeadLetterCount { agent: "a@1.0.0".into(), code: "K0401".into(), count: 3, oldest_at: None };
        insta::assert_snapshot!("stats", counts(&[count], now));
        let group = DeadLetterGroup::from(v1::DeadLetterGroup {
            fingerprint: "1f0c5a77b2e9".into(),
            agent: "licence-review".into(),
            versions: vec!["1.0.0".into(), "1.1.0".into()],
            code: "K0401".into(),
            text: "no answer in … s".into(),
            count: 12,
            oldest_unix_nanos: 1_000_000_000,
            newest_unix_nanos: 241_000_000_000,
            ..v1::DeadLetterGroup::default()
        });
        insta::assert_snapshot!("groups", plain(&groups(&[group], now)));
    }
}
