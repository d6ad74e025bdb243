//! `kapelle run update`: what somebody outside tells a run, and what the run's workflow answers to that.

use std::time::Duration;

use clap::Args;
use kapelle_proto::v1;
use serde_json::{Value, json};

use super::input;
use crate::app::{App, End};
use crate::exit::Exit;

/// Which run, and what it is told.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The run's id
    run: String,
    /// The signal's name; the workflow declares an `answer` to it
    name: String,
    /// What it says: a file, `-` for stdin, or JSON such as '{"to": "Ada"}'. Default: nothing (null)
    #[arg(long, value_name = "FILE")]
    payload: Option<String>,
    /// Waits for the update that was told under this id, if there is one; else it is told under it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    id: String,
    /// Stop waiting for the answer after this time, such as 90s; the update stays told
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "10s")]
    wait: Duration,
}

/// `kapelle run update`.
pub(crate) async fn update(app: &App, args: Update) -> End {
    let Update { run, name, payload, id, wait } = args;
    let payload = match &payload {
        Some(source) => input::read(Some(source))?.into(),
        None => bytes::Bytes::new(),
    };
    // Nothing to wait is a millisecond: zero leaves it to the coordinator.
    let wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let client = app.client().await?;
    let request = v1::UpdateRequest { run_id: run.clone(), name: name.clone(), payload, id, wait_millis };
    let answer = client.runs().update(request).await.map_err(|s| client.failure(s))?.into_inner();
    let value: Value = serde_json::from_slice(&answer.value).unwrap_or_default();
    let shown = json!({
        "run_id": run, "name": name, "value": value, "seq": answer.seq,
        "answered_seq": answer.answered_seq, "duplicate": answer.duplicate,
    });
    // The answer alone for people and pipes.
    app.output.show(&shown, |_| serde_json::to_string_pretty(&value).unwrap_or_default())?;
    Ok(Exit::Ok)
}
