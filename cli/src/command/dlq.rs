//! `kapelle dlq …`: steps that gave up, looked at, put back or given up for good.

mod act;
mod page;

use std::time::Duration;

use clap::{Args, Subcommand};
use kapelle_proto::v1;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::view;

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A step that exhausts its attempts writes a dead letter, and its run is STALLED until somebody decides:
  replay    the step goes back to its queue with fresh attempts; the run goes on
  discard   the step is given up for good; its run ends FAILED
  purge     the same for everything that matches, all agents' included

`dlq groups` shows which ones are alike: mend a cause, then replay its group with --fingerprint, the
first few with --limit. What gave up again after three replays is passed over.")]
pub(crate) enum Verb {
    /// Dead letters, the oldest first
    List(List),
    /// One dead letter: its input, its cause, every attempt
    Show(Place),
    /// How many there are, by agent and cause
    Stats,
    /// Which ones are alike: the same agent, code and words but for numbers, ids and times
    Groups(Filter),
    /// Put steps back to their queues
    Replay(act::Replay),
    /// Give steps up for good: their runs end FAILED. Takes at least one filter
    Discard(act::Args),
    /// Give up everything that matches; without a filter, everything
    Purge(act::Args),
}

/// Which dead letters.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct Filter {
    /// Only of this agent: name, or name@version
    #[arg(long)]
    agent: Option<String>,
    /// Only of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only those with this text in their workflow, step, cause or evidence
    #[arg(long = "match", value_name = "TEXT")]
    text: Option<String>,
    /// Only with this cause, such as K0401 or an agent's own code
    #[arg(long)]
    code: Option<String>,
    /// Only those that are alike, as `dlq groups` shows them
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// Only those that have waited for longer than this, such as 30m or 2d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

/// Which dead letters, and how many.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many at most
    #[arg(short = 'n', long, default_value_t = 100)]
    limit: u32,
}

/// One dead letter.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The run's id
    run: String,
    /// The step, or one member of it: review:17
    step: String,
}

impl Filter {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn wire(&self, limit: u32) -> v1::DeadLetterFilter {
        v1::DeadLetterFilter {
            agent: self.agent.clone().unwrap_or_default(),
            run_id: self.run.clone().unwrap_or_default(),
            code: self.code.clone().unwrap_or_default(),
            older_than_seconds: self.older_than.map_or(0, |d| d.as_secs()),
            limit,
            r#match: self.text.clone().unwrap_or_default(),
            fingerprint: self.fingerprint.clone().unwrap_or_default(),
        }
    }
}

/// `kapelle dlq …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::List(args) => list(app, &args).await?,
        Verb::Show(place) => show(app, place).await?,
        Verb::Stats => stats(app).await?,
        Verb::Groups(filter) => groups(app, &filter).await?,
        Verb::Replay(args) => return act::replay(app, args).await,
        Verb::Discard(args) => return act::give_up(app, act::Deed::Discard, args).await,
        Verb::Purge(args) => return act::give_up(app, act::Deed::Purge, args).await,
    }
    Ok(Exit::Ok)
}

async fn list(app: &App, args: &List) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::ListDeadLettersRequest { filter: Some(args.filter.wire(args.limit)) };
    let answer = client.dead_letters().list(request).await.map_err(|s| client.failure(s))?.into_inner();
    let letters: Vec<view::DeadLetter> = answer.dead_letters.into_iter().map(Into::into).collect();
    app.output.show(&letters, |letters| page::table(letters, answer.total, kapelle_telemetry::clock::now()))
}

async fn show(app: &App, place: Place) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::GetDeadLetterRequest { run_id: place.run, step: place.step };
    let answer = client.dead_letters().get(request).await.map_err(|s| client.failure(s))?;
    app.output.show(&view::DeadLetter::from(answer.into_inner()), page::letter)
}

async fn stats(app: &App) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.dead_letters().stats(v1::DeadLetterStatsRequest { filter: None }).await;
    let counts = answer.map_err(|s| client.failure(s))?.into_inner().counts;
    let counts: Vec<view::DeadLetterCount> = counts.into_iter().map(Into::into).collect();
    app.output.show(&counts, |counts| page::counts(counts, kapelle_telemetry::clock::now()))
}

async fn groups(app: &App, filter: &Filter) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::DeadLetterStatsRequest { filter: Some(filter.wire(0)) };
    let answer = client.dead_letters().stats(request).await.map_err(|s| client.failure(s))?.into_inner();
    let groups: Vec<view::DeadLetterGroup> = answer.groups.into_iter().map(Into::into).collect();
    app.output.show(&groups, |groups| page::groups(groups, kapelle_telemetry::clock::now()))
}
