//! `kapelle run signal`: what somebody outside tells a run. The answer says what the run made of it.

use clap::Args;
use kapelle_proto::v1;
use serde_json::json;

use super::input;
use crate::app::{App, End};
use crate::exit::Exit;

/// Which run, and what it is told.
#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// The run's id
    run: String,
    /// The signal's name, as the workflow declares it
    name: String,
    /// What it says: a file, `-` for stdin, or JSON such as '{"agreed": true}'. Default: nothing (null)
    #[arg(long, value_name = "FILE")]
    payload: Option<String>,
    /// Tells a repetition from a second signal: of signals with the same name and id only the first counts
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    id: String,
}

/// `kapelle run signal`.
pub(crate) async fn signal(app: &App, args: Signal) -> End {
    let payload = match &args.payload {
        Some(source) => input::read(Some(source))?.into(),
        None => bytes::Bytes::new(),
    };
    let client = app.client().await?;
    let request = v1::SignalRequest { run_id: args.run.clone(), name: args.name.clone(), payload, id: args.id };
    let answer = client.runs().signal(request).await.map_err(|s| client.failure(s))?.into_inner();
    let shown = json!({ "run_id": args.run, "seq": answer.seq, "duplicate": answer.duplicate });
    app.output.show(&shown, |_| {
        let what = if answer.duplicate { "had the signal already" } else { "took the signal" };
        format!("Run {} {what} {} (entry {}).", args.run, args.name, answer.seq)
    })?;
    Ok(Exit::Ok)
}
