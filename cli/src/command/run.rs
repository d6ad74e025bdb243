//! `kapelle run …`: starting, watching and steering runs.

mod again;
mod bulk;
pub(crate) mod input;
mod page;
mod query;
mod select;
mod signal;
mod start;
mod steer;
mod text;
mod update;
mod watch;

use clap::Subcommand;
use kapelle_proto::v1;
use serde_json::json;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::view;

pub(crate) use page::{advice, steps};
pub(crate) use start::submit;

/// What can be done with runs.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Words that are easily confused:
  retry      the same run, from its failed steps
  restart    the same input, a new run
  fork       a new run from a step of an old one, keeping the results before it
  cancel     asks; what runs may end, nothing new starts
  terminate  stops at once
  pause      holds new steps; resume lets them go

A run ends COMPLETED, FAILED, CANCELED, TERMINATED or TIMED_OUT. STALLED is no end: a step gave
up, and the run waits until somebody mends the cause and retries it, or cancels it.")]
pub(crate) enum Verb {
    /// Start a run and print its id
    Start(start::Start),
    /// Start a run, wait until it ends or STALLS and print it; exit 0 only for COMPLETED
    Execute(start::Execute),
    /// Runs, the latest first
    List(select::List),
    /// How many runs there are
    Count(select::Filter),
    /// One run: how it stands and its steps
    Describe(Id),
    /// One run's log: every recorded fact, oldest first
    Show(Id),
    /// One run's output; exit 0 only for COMPLETED
    Result(Id),
    /// Why a run does not go on: what it waits for, since when, and what can be done about it
    Why(Id),
    /// Watch a run until it ends; with --text, what its models write
    Watch(watch::Watch),
    /// Ask a run to end: what runs may finish, nothing new starts
    Cancel(steer::Steer),
    /// Stop a run at once
    Terminate(steer::Steer),
    /// Hold a run's new steps
    Pause(steer::Steer),
    /// Let a paused run go on
    Resume(steer::Steer),
    /// Retry the steps of a STALLED run that gave up
    Retry(steer::Retry),
    /// Tell a run what it waits for, now or later
    Signal(signal::Signal),
    /// Tell a run something and wait for what its workflow answers to that
    Update(update::Update),
    /// Ask a run for a value that its workflow declares under `queries`, as the run stands
    Query(query::Query),
    /// Start a new run with the input of an old one
    Restart(again::Restart),
    /// Start a new run at a step of an old one; what does not depend on that step is kept
    Fork(again::Fork),
    /// Do something with every run that a filter finds
    Bulk(bulk::Bulk),
}

/// One run.
#[derive(Debug, clap::Args)]
pub(crate) struct Id {
    /// The run's id, as `run start` printed it
    run: String,
}

/// `kapelle run …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Start(args) => start::start(app, args).await,
        Verb::Execute(args) => start::execute(app, args).await,
        Verb::List(args) => select::list(app, args).await,
        Verb::Count(filter) => select::count(app, filter).await,
        Verb::Describe(id) => describe(app, id).await,
        Verb::Show(id) => show(app, id).await,
        Verb::Result(id) => result(app, id).await,
        Verb::Watch(args) => watch::run(app, args).await,
        Verb::Cancel(args) => steer::steer(app, steer::Wish::Cancel, args).await,
        Verb::Terminate(args) => steer::steer(app, steer::Wish::Terminate, args).await,
        Verb::Pause(args) => steer::steer(app, steer::Wish::Pause, args).await,
        Verb::Resume(args) => steer::steer(app, steer::Wish::Resume, args).await,
        Verb::Retry(args) => steer::retry(app, args).await,
        Verb::Signal(args) => signal::signal(app, args).await,
        Verb::Update(args) => update::update(app, args).await,
        Verb::Query(args) => query::query(app, args).await,
        Verb::Why(id) => why(app, id).await,
        Verb::Restart(args) => again::restart(app, args).await,
        Verb::Fork(args) => again::fork(app, args).await,
        Verb::Bulk(args) => bulk::bulk(app, args).await,
    }
}

async fn get(app: &App, id: Id) -> Result<view::Run, Failure> {
    let client = app.client().await?;
    let answer = client.runs().get(v1::GetRunRequest { run_id: id.run }).await.map_err(|s| client.failure(s))?;
    Ok(answer.into_inner().into())
}

async fn describe(app: &App, id: Id) -> End {
    let run = get(app, id).await?;
    app.output.show(&run, |run| page::describe(run, kapelle_telemetry::clock::now()))?;
    Ok(Exit::Ok)
}

async fn why(app: &App, id: Id) -> End {
    let run = get(app, id).await?;
    let told = json!({ "run_id": run.run_id, "status": run.status, "why": run.why });
    app.output.show(&told, |_| page::why(&run, kapelle_telemetry::clock::now()))?;
    Ok(Exit::Ok)
}

async fn show(app: &App, id: Id) -> End {
    let client = app.client().await?;
    let request = v1::HistoryRequest { run_id: id.run };
    let answer = client.runs().history(request).await.map_err(|s| client.failure(s))?.into_inner();
    let entries: Vec<view::Entry> = answer.entries.into_iter().map(Into::into).collect();
    app.output.show(&entries, |entries| page::history(entries))?;
    Ok(Exit::Ok)
}

async fn result(app: &App, id: Id) -> End {
    let run = get(app, id).await?;
    if run.status == "COMPLETED" {
        // The output alone, as JSON unless YAML is asked for, so that it can be piped on.
        app.output.show(&run.output, |output| serde_json::to_string_pretty(output).unwrap_or_default())?;
        return Ok(Exit::Ok);
    }
    let why = run.error.as_ref().map(|e| format!(": {} {}", e.code, e.message)).unwrap_or_default();
    let message = format!("Run {} has no result: it is {}{why}.", run.run_id, run.status);
    Err(Failure::plain(Exit::Failed, message).hint(page::advice(&run)))
}
