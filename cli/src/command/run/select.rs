//! `kapelle run list` and `kapelle run count`, and which runs `kapelle run bulk` is about.

use std::time::Duration;

use clap::{Args, ValueEnum};
use kapelle_proto::v1;
use kapelle_types::RunId;
use serde_json::json;

use super::page;
use super::start::label;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::view;

/// Which runs.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only runs of this workflow
    #[arg(short, long)]
    workflow: Option<String>,
    /// Only runs that stand like this; repeat it for more
    #[arg(short, long = "status", value_enum, ignore_case = true)]
    statuses: Vec<Status>,
    /// Only runs with this label; repeat it for runs with all of them
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only runs that this run began
    #[arg(long, value_name = "RUN")]
    parent: Option<RunId>,
    /// Only runs that were submitted longer ago than this, such as 30m or 2d
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
}

impl Filter {
    /// As the API takes it.
    pub(super) fn wire(self, limit: u32) -> v1::ListRunsRequest {
        // Each run that another one begins has its id as a label.
        let below = self.parent.map(|run| ("parent".to_owned(), run.to_string()));
        v1::ListRunsRequest {
            workflow: self.workflow.unwrap_or_default(),
            statuses: self.statuses.into_iter().map(|s| v1::RunStatus::from(s) as i32).collect(),
            limit,
            labels: self.labels.into_iter().chain(below).collect(),
            older_than_seconds: self.older_than.map_or(0, |d| d.as_secs()),
        }
    }
}

/// Which runs, and how many.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many runs at most
    #[arg(short = 'n', long, default_value_t = 100)]
    limit: u32,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    Pending,
    Running,
    Paused,
    Waiting,
    Completed,
    Failed,
    Canceled,
    Terminated,
    TimedOut,
    Stalled,
}

impl From<Status> for v1::RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Running => Self::Running,
            Status::Paused => Self::Paused,
            Status::Waiting => Self::Waiting,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Canceled => Self::Canceled,
            Status::Terminated => Self::Terminated,
            Status::TimedOut => Self::TimedOut,
            Status::Stalled => Self::Stalled,
        }
    }
}

/// `kapelle run list`.
pub(crate) async fn list(app: &App, args: List) -> End {
    let (runs, total) = ask(app, args.filter, args.limit).await?;
    app.output.show(&runs, |runs| page::rows(runs, total, kapelle_telemetry::clock::now()))?;
    Ok(Exit::Ok)
}

/// `kapelle run count`.
pub(crate) async fn count(app: &App, filter: Filter) -> End {
    let (_, total) = ask(app, filter, 1).await?;
    app.output.show(&json!({ "count": total }), |_| total.to_string())?;
    Ok(Exit::Ok)
}

async fn ask(app: &App, filter: Filter, limit: u32) -> Result<(Vec<view::RunRow>, u64), Failure> {
    let client = app.client().await?;
    let answer = client.runs().list(filter.wire(limit)).await.map_err(|s| client.failure(s))?.into_inner();
    Ok((answer.runs.into_iter().map(Into::into).collect(), answer.total))
}
