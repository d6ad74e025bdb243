//! Runs and their logs as people read them.

use std::fmt::Write as _;

use kapelle_types::Timestamp;

use crate::command::fleet::since;
use crate::output::{Table, bold, dim, span, status};
use crate::view::{Entry, Flow, Run, RunRow, Step, Why};

/// Characters of one line about a cause.
const CAUSE_CHARS_MAX: usize = 160;

/// A run as a whole: how it stands, its steps, what went wrong and what to do.
pub(crate) fn describe(run: &Run, now: Timestamp) -> String {
    let mut text = format!("{}  {}\n", bold(&run.run_id), status(&run.status));
    if let Some(closing) = &run.closing {
        let _ = writeln!(text, "closing    {closing}, when its last steps are done");
    }
    let _ = writeln!(text, "workflow   {}", run.workflow); // a String takes whatever is written to it
    let _ = writeln!(
        text,
        "submitted  {} ({} ago)",
        run.submitted_at.as_deref().unwrap_or("-"),
        since(run.submitted_at.as_deref(), now)
    );
    if let Some(finished) = &run.finished_at {
        let _ =
            writeln!(text, "finished   {finished}{}", took(run).map(|t| format!(" (took {t})")).unwrap_or_default());
    }
    if let Some(key) = &run.key {
        let _ = writeln!(text, "key        {key}");
    }
    if let Some(priority) = run.priority {
        let _ = writeln!(text, "priority   {priority}, as it was submitted");
    }
    if !run.labels.is_empty() {
        let labels: Vec<_> = run.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let _ = writeln!(text, "labels     {}", labels.join(" "));
    }
    if let Some(old) = &run.forked_from {
        let _ = writeln!(text, "fork of    {old}");
    }
    let others = [("continued from", &run.continued_from), ("continued as", &run.continued_as)];
    for (how, other) in others.iter().filter_map(|(how, other)| Some((how, other.as_ref()?))) {
        let _ = writeln!(text, "{how} {other}");
    }
    // What has ended waits for nothing, and what is wrong stands below.
    if let Some(why) = run.why.as_ref().filter(|_| run.finished_at.is_none()) {
        let _ = writeln!(text, "why        {}{}", why.because, so_long(why, now));
        if run.error.is_none() && !why.advice.is_empty() {
            let _ = writeln!(text, "           {}", why.advice);
        }
    }
    let _ = write!(text, "\n{}\n", steps(&run.steps));
    for step in &run.steps {
        if let Some(below) = &step.run_id {
            let _ = writeln!(text, "step `{}` runs {below}", step.step);
        }
    }
    for step in &run.steps {
        if let Some(flow) = &step.flow {
            let _ = writeln!(text, "step `{}` has {}", step.step, stands(flow));
        }
    }
    text.push_str(&trouble(run));
    text
}

/// How a step stands among others that wait for its agent.
fn stands(flow: &Flow) -> String {
    let share =
        flow.fairness_key.as_ref().map(|key| format!(", the share of `{key}` with weight {}", flow.fairness_weight));
    let limit = flow.limit_key.as_ref().map(|key| format!(", the limit of `{key}`"));
    format!("priority {}{}{}", flow.priority, share.unwrap_or_default(), limit.unwrap_or_default())
}

/// Why a run does not go on, as a sentence and what to do.
pub(crate) fn why(run: &Run, now: Timestamp) -> String {
    let Some(why) = &run.why else { return format!("Run {} is {}.", run.run_id, run.status) };
    let mut text = format!("Run {} ({}): {}{}.\n", run.run_id, run.status, why.because, so_long(why, now));
    if !why.advice.is_empty() {
        let _ = writeln!(text, "To do: {}.", why.advice);
    }
    text
}

fn so_long(why: &Why, now: Timestamp) -> String {
    why.since.as_ref().map(|at| format!(", for {}", since(Some(at.as_str()), now))).unwrap_or_default()
}

/// How a run ended, in a few lines, with its output.
pub(crate) fn outcome(run: &Run) -> String {
    let took = took(run).map(|t| dim(&format!("  in {t}"))).unwrap_or_default();
    let mut text = format!("{}  {}{took}\n", bold(&run.run_id), status(&run.status));
    if !run.output.is_null() {
        let _ = writeln!(text, "\n{}", serde_json::to_string_pretty(&run.output).unwrap_or_default());
    }
    text.push_str(&trouble(run));
    text
}

/// What to do about a run that has no result.
pub(crate) fn advice(run: &Run) -> String {
    let id = &run.run_id;
    match run.status.as_str() {
        "COMPLETED" => String::new(),
        "STALLED" if run.closing.is_some() => {
            format!(
                "Mend the cause, then `kapelle run retry {id}`; or leave the rest undone with `kapelle run terminate {id}`."
            )
        }
        "STALLED" => {
            format!("Mend the cause, then `kapelle run retry {id}`; or give it up with `kapelle run cancel {id}`.")
        }
        "PAUSED" => format!("Let it go on with `kapelle run resume {id}`."),
        "FAILED" | "TIMED_OUT" | "CANCELED" | "TERMINATED" => format!("Its log: `kapelle run show {id}`."),
        _ => format!("Watch it with `kapelle run watch {id}`."),
    }
}

fn trouble(run: &Run) -> String {
    let Some(error) = &run.error else { return String::new() };
    let mut text = format!("\n{}  {}\n", status("FAIL").replace("FAIL", &error.code), error.message);
    for line in error.evidence.lines() {
        let _ = writeln!(text, "  {}", dim(line));
    }
    let _ = writeln!(text, "\n{}", advice(run));
    text
}

fn took(run: &Run) -> Option<String> {
    let end = Timestamp::parse(run.finished_at.as_deref()?)?;
    Some(span(end.since(Timestamp::parse(run.submitted_at.as_deref()?)?)))
}

/// Who did a step, one after another.
fn acted(step: &Step) -> String {
    step.chain.iter().chain([&step.agent]).map(String::as_str).collect::<Vec<_>>().join(" > ")
}

/// The steps as a table.
pub(crate) fn steps(steps: &[Step]) -> String {
    let mut table = Table::new(&["step", "status", "done", "attempts", "failed", "by", "cause"]);
    for s in steps {
        let done = s.members.map_or_else(|| "-".to_owned(), |m| format!("{}/{}", m.done, m.total));
        let cause = s.error.as_ref().map(|e| format!("{} {}", e.code, e.message));
        let cause = cause.unwrap_or_else(|| waits_for(s));
        let by = if s.agent.is_empty() { s.kind.clone() } else { acted(s) };
        let cause = cause.chars().take(CAUSE_CHARS_MAX).collect();
        let (attempts, failed) = (s.attempts.to_string(), s.failed_attempts().to_string());
        table.row([s.step.clone(), s.status.clone(), done, attempts, failed, by, cause]);
    }
    table.render("It has no steps.")
}

/// What a step without trouble waits for.
fn waits_for(step: &Step) -> String {
    match (&step.signal, &step.due) {
        (Some(signal), Some(due)) => format!("waits for the signal {signal} until {due}"),
        (Some(signal), None) => format!("waits for the signal {signal}"),
        (None, Some(due)) => format!("until {due}"),
        (None, None) => String::new(),
    }
}

/// Runs as a table.
pub(crate) fn rows(runs: &[RunRow], total: u64, now: Timestamp) -> String {
    let mut table = Table::new(&["run", "workflow", "status", "age", "last progress"]);
    for r in runs {
        let (age, progress) = (since(r.submitted_at.as_deref(), now), since(r.last_progress_at.as_deref(), now));
        table.row([&r.run_id, &r.workflow, &r.status, &age, &progress].map(String::clone));
    }
    let mut text = table.render("No runs.");
    if total > runs.len() as u64 {
        let _ = write!(text, "\n{}", dim(&format!("{} of {total}; more with --limit", runs.len())));
    }
    text
}

/// A log as a table.
pub(crate) fn history(entries: &[Entry]) -> String {
    let mut table = Table::new(&["seq", "at", "entry", "what", "by"]);
    for e in entries {
        let at = e.at.clone().unwrap_or_default();
        let gist: String = e.gist().chars().take(CAUSE_CHARS_MAX).collect();
        table.row([e.seq.to_string(), at, e.kind.to_owned(), gist, e.principal.clone()]);
    }
    table.render("Its log is empty.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_proto::v1;

    fn stalled() -> Run {
        let failure = v1::StepFailure {
            code: "rate_limited".into(),
            message: "too many requests".into(),
            kind: 1,
            evidence: "Traceback\n  File x".into(),
            ..Default::default()
        };
        let step = |step: &str, status: &str, attempts, total, done, failure| v1::StepView {
            step: step.into(),
            status: status.into(),
            agent: format!("{step}@1.0.0"),
            attempts,
            members_total: total,
            members_done: done,
            failure,
            ..Default::default()
        };
        Run::from(v1::RunView {
            run_id: "0192f0c1-2345-7abc-8def-0123456789ab".into(),
            workflow: "software-intake@1.0.0".into(),
            status: v1::RunStatus::Stalled as i32,
            error: Some(failure.clone()),
            steps: vec![
                step("inventory", "SUCCEEDED", 1, 0, 0, None),
                step("review", "GAVE_UP", 415, 412, 411, Some(failure)),
                step("score", "WAITING", 0, 0, 0, None),
            ],
            submitted_at_unix_nanos: 1_000_000_000,
            idempotency_key: Some("intake-1".into()),
            labels: [("team".to_owned(), "legal".to_owned())].into(),
            ..Default::default()
        })
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_stalled_run_says_what_would_mend_it() {
        insta::assert_snapshot!("describe", plain(&describe(&stalled(), Timestamp::from_millis(61_000))));
    }

    #[test]
    fn a_run_says_what_it_waits_for() {
        let why = v1::Why {
            because: "it waits for a worker of review@1.0.0 (step review): none is connected".into(),
            since_unix_nanos: 1_000_000_000,
            advice: "start a worker that has review@1.0.0".into(),
        };
        let run = Run { status: "RUNNING".into(), error: None, why: Some(why.into()), ..stalled() };
        let now = Timestamp::from_millis(61_000);
        let text = format!("{}\n{}", plain(&describe(&run, now)), super::why(&run, now));
        insta::assert_snapshot!("why", text);
    }

    #[test]
    fn a_run_that_closes_says_how_it_is_to_end() {
        let run = Run { status: "RUNNING".into(), closing: Some("CANCELED".into()), error: None, ..stalled() };
        let told = plain(&describe(&run, Timestamp::from_millis(61_000)));
        assert!(told.contains("RUNNING\nclosing    CANCELED, when its last steps are done\n"), "{told}");
    }

    #[test]
    fn a_completed_run_shows_its_output() {
        let run = Run {
            status: "COMPLETED".into(),
            output: serde_json::json!({ "risk": 0.25 }),
            error: None,
            finished_at: crate::output::moment(3_500_000_000),
            ..stalled()
        };
        insta::assert_snapshot!("outcome", plain(&outcome(&run)));
    }

    #[test]
    fn a_list_says_that_there_is_more() {
        let row = RunRow {
            run_id: "r-1".into(),
            workflow: "intake@1.0.0".into(),
            status: "RUNNING".into(),
            submitted_at: crate::output::moment(1_000_000_000),
            last_progress_at: None,
        };
        insta::assert_snapshot!("rows", plain(&rows(&[row], 7, Timestamp::from_millis(61_000))));
        assert_eq!(rows(&[], 0, Timestamp::from_millis(0)), "No runs.");
    }
}
