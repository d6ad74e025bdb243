//! `kapelle run bulk`: one verb on every run that a filter finds. Shows what it would do; with `--yes` it does it.

use std::io::Write;

use clap::{Args, ValueEnum};
use kapelle_proto::v1;
use kapelle_proto::v1::bulk_answer::Answer;
use kapelle_proto::v1::bulk_done::Outcome;
use serde::Serialize;
use serde_json::Value;

use super::select::Filter;
use super::{input, page};
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::dim;
use crate::view::RunRow;

/// What to do with which runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --yes it only shows how many runs it would be done to, and the first of them. Without
--status a verb is for the runs that it can do something to: retry and fail for STALLED ones,
resume for PAUSED ones, pause for those that go on, cancel, terminate, signal and update for open
ones, restart, fork and query for all.

An operation has an id, which is printed first. If it is cut short, repeat the same command with
--id: no run has it done twice. With --limit each repetition goes on with as many more.")]
pub(crate) struct Bulk {
    /// What to do with each run
    #[arg(value_enum)]
    verb: Verb,
    #[command(flatten)]
    filter: Filter,
    /// On all runs, where no filter says which
    #[arg(long)]
    all: bool,
    /// On how many runs at most, the latest first. Default: all that match
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Why; it is kept in the runs' logs
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Of restart and fork: with the versions that a new run would get now
    #[arg(long)]
    latest: bool,
    /// Of signal, update and query: which
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Of signal and update: a file, `-` for stdin, or JSON. Default: nothing (null)
    #[arg(long, value_name = "FILE")]
    payload: Option<String>,
    /// Of fork: the step that the new runs begin at
    #[arg(long, value_name = "STEP", default_value = "", hide_default_value = true)]
    from: String,
    /// An operation that was cut short: what it did is not done twice. Default: a new one
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Do it
    #[arg(short, long)]
    yes: bool,
}

/// What can be done with many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    /// Ask them to end
    Cancel,
    /// Stop them at once
    Terminate,
    /// Hold their new steps
    Pause,
    /// Let paused ones go on
    Resume,
    /// Retry what gave up
    Retry,
    /// Give STALLED ones up for good: they end FAILED
    Fail,
    /// Start them again, as new runs
    Restart,
    /// Start new runs at a step of them, with --from; what does not depend on it is kept
    Fork,
    /// Tell them a signal, with --name and --payload
    Signal,
    /// The same, and wait 10 s for what each answers
    Update,
    /// Ask them for a value that their workflow declares, with --name; changes nothing
    Query,
}

impl From<Verb> for v1::BulkVerb {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Cancel => Self::Cancel,
            Verb::Terminate => Self::Terminate,
            Verb::Pause => Self::Pause,
            Verb::Resume => Self::Resume,
            Verb::Retry => Self::Retry,
            Verb::Fail => Self::Fail,
            Verb::Restart => Self::Restart,
            Verb::Fork => Self::Fork,
            Verb::Signal => Self::Signal,
            Verb::Update => Self::Update,
            Verb::Query => Self::Query,
        }
    }
}

/// What would be done, for programs.
#[derive(Debug, Serialize)]
struct Preview {
    dry_run: bool,
    count: u64,
    runs: Vec<RunRow>,
}

/// What came of one run, for programs.
#[derive(Debug, Serialize)]
struct Done {
    run_id: String,
    /// `done`, `already`, `passed_over` or `failed`.
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_run_id: Option<String>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refused>,
}

/// Why something was not done to a run.
#[derive(Debug, Serialize)]
struct Refused {
    code: String,
    message: String,
    hint: String,
}

/// What came of all of them, for programs.
#[derive(Debug, Serialize)]
struct Summary {
    id: String,
    done: u64,
    already: u64,
    passed_over: u64,
    failed: u64,
}

/// `kapelle run bulk`.
pub(crate) async fn bulk(app: &App, args: Bulk) -> End {
    if args.latest && !matches!(args.verb, Verb::Restart | Verb::Fork) {
        return Err(Failure::usage("`--latest` means something for restart and fork alone.", "Leave it out."));
    }
    let payload = match &args.payload {
        Some(source) => input::read(Some(source))?.into(),
        None => bytes::Bytes::new(),
    };
    let client = app.client().await?;
    let request = v1::BulkRequest {
        verb: v1::BulkVerb::from(args.verb) as i32,
        filter: Some(args.filter.wire(args.limit.unwrap_or(0))),
        all: args.all,
        dry_run: !args.yes,
        id: args.id.unwrap_or_default(),
        reason: args.reason,
        latest: args.latest,
        name: args.name,
        payload,
        step: args.from,
    };
    let mut answers = client.runs().bulk(request).await.map_err(|s| client.failure(s))?.into_inner();
    let mut id = String::new();
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer.answer,
            Ok(None) if !args.yes => return Ok(Exit::Ok),
            Ok(None) => return Err(cut_short(Failure::plain(Exit::Unavailable, "The coordinator stopped."), &id)),
            Err(status) => return Err(cut_short(client.failure(status), &id)),
        };
        match answer {
            Some(Answer::Selected(selected)) if args.yes => {
                id = selected.id;
                writeln!(anstream::stderr(), "{}", dim(&format!("operation {id}, {} run(s)", selected.total)))?;
            }
            Some(Answer::Selected(selected)) => preview(app, selected, args.limit)?,
            Some(Answer::Done(done)) => app.output.stream(&Done::from(done), line)?,
            Some(Answer::Summary(summary)) => return finish(app, id, summary),
            None => {}
        }
    }
}

fn preview(app: &App, selected: v1::BulkSelected, limit: Option<u32>) -> Result<(), Failure> {
    let runs: Vec<RunRow> = selected.runs.into_iter().map(Into::into).collect();
    let count = limit.map_or(selected.total, |limit| selected.total.min(u64::from(limit)));
    let preview = Preview { dry_run: true, count, runs };
    app.output.show(&preview, |preview| {
        let table = page::rows(&preview.runs, preview.runs.len() as u64, kapelle_telemetry::clock::now());
        format!("{table}\n\nIt would be done to {} run(s). Do it with --yes.", preview.count)
    })
}

/// A connection that ends in the middle: what was done stays done.
fn cut_short(failure: Failure, id: &str) -> Failure {
    if id.is_empty() {
        return failure;
    }
    let message = format!("The operation was cut short: {}", failure.message());
    Failure::plain(Exit::Unavailable, message)
        .hint(format!("Repeat the command with `--id {id}`: no run has it done twice."))
}

fn line(done: &Done) -> String {
    let new = done.new_run_id.as_ref().map(|run| format!("  as {run}")).unwrap_or_default();
    let why = done.error.as_ref().map(|e| format!("  {} {} {}", e.code, e.message, e.hint)).unwrap_or_default();
    let value = done.value.as_ref().map(|value| format!("  {value}")).unwrap_or_default();
    format!("{}  {}{new}{value}{}", done.run_id, done.outcome, why.trim_end())
}

fn finish(app: &App, id: String, summary: v1::BulkSummary) -> End {
    let v1::BulkSummary { done, already, passed_over, failed } = summary;
    let summary = Summary { id, done, already, passed_over, failed };
    app.output.stream(&summary, |s| {
        format!("\n{} done, {} already, {} passed over, {} failed", s.done, s.already, s.passed_over, s.failed)
    })?;
    Ok(if failed > 0 { Exit::Failed } else { Exit::Ok })
}

impl From<v1::BulkDone> for Done {
    fn from(wire: v1::BulkDone) -> Self {
        let outcome = match wire.outcome() {
            Outcome::Done => "done",
            Outcome::Already => "already",
            Outcome::PassedOver => "passed_over",
            Outcome::Failed => "failed",
            Outcome::Unspecified => "unknown",
        };
        let refused = |e: v1::ApiError| Refused { code: e.code, message: e.message, hint: e.hint };
        Self {
            run_id: wire.run_id,
            outcome: outcome.to_owned(),
            value: (!wire.value.is_empty()).then(|| serde_json::from_slice(&wire.value).unwrap_or_default()),
            new_run_id: (!wire.new_run_id.is_empty()).then_some(wire.new_run_id),
            error: wire.error.map(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_line() {
        let done = v1::BulkDone { run_id: "r-1".into(), outcome: Outcome::Done.into(), ..v1::BulkDone::default() };
        assert_eq!(line(&Done::from(done.clone())), "r-1  done");
        let again = v1::BulkDone { new_run_id: "r-2".into(), ..done.clone() };
        assert_eq!(line(&Done::from(again)), "r-1  done  as r-2");
        let asked = v1::BulkDone { value: r#"{"n": 7}"#.into(), ..done.clone() };
        assert_eq!(line(&Done::from(asked)), r#"r-1  done  {"n":7}"#);
        let error = v1::ApiError { code: "K0206".into(), message: "it has ended".into(), hint: String::new() };
        let failed = v1::BulkDone { outcome: Outcome::Failed.into(), error: Some(error), ..done };
        assert_eq!(line(&Done::from(failed)), "r-1  failed  K0206 it has ended");
    }

    #[test]
    fn what_was_cut_short_says_how_to_go_on() {
        let failure = cut_short(Failure::plain(Exit::Failed, "gone"), "op-1");
        assert_eq!(failure.exit(), Exit::Unavailable);
        assert!(failure.advice().contains("--id op-1"), "{failure:?}");
        assert_eq!(cut_short(Failure::plain(Exit::Denied, "no"), "").exit(), Exit::Denied, "nothing was begun");
    }
}
