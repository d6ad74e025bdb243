//! `kapelle run restart` and `kapelle run fork`: a new run from an old one.

use clap::Args;
use kapelle_proto::v1;
use serde_json::json;

use super::input;
use crate::app::{App, End};
use crate::exit::Exit;

/// How to start it again.
#[derive(Debug, Args)]
struct Anew {
    /// With the versions that a new run would get now. Default: those that the old run has
    #[arg(long)]
    latest: bool,
    /// An idempotency key: the same workflow and key are one run, however often this is said
    #[arg(short, long)]
    key: Option<String>,
}

/// What to start again.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// The run's id
    run: String,
    #[command(flatten)]
    anew: Anew,
}

/// What to start again, and from where.
#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The run's id
    run: String,
    /// The step that the new run begins at; what does not depend on it is kept and not done again
    #[arg(long, value_name = "STEP")]
    from: String,
    /// Another input: a JSON file, `-` for stdin, or JSON itself. Default: the input of the old run
    #[arg(short, long, value_name = "FILE|-|JSON")]
    input: Option<String>,
    #[command(flatten)]
    anew: Anew,
}

/// `kapelle run restart`.
pub(crate) async fn restart(app: &App, args: Restart) -> End {
    let client = app.client().await?;
    let Restart { run: run_id, anew } = args;
    let request = v1::RestartRunRequest { run_id, latest: anew.latest, idempotency_key: anew.key };
    let answer = client.runs().restart(request).await.map_err(|s| client.failure(s))?;
    tell(app, &answer.into_inner())
}

/// `kapelle run fork`.
pub(crate) async fn fork(app: &App, args: Fork) -> End {
    let Fork { run: run_id, from: step, input, anew } = args;
    let input = input.map(|source| input::read(Some(&source))).transpose()?.unwrap_or_default().into();
    let client = app.client().await?;
    let request = v1::ForkRunRequest { run_id, step, input, latest: anew.latest, idempotency_key: anew.key };
    let answer = client.runs().fork(request).await.map_err(|s| client.failure(s))?;
    tell(app, &answer.into_inner())
}

/// As `run start` says it, so that scripts can go on with the new run.
fn tell(app: &App, answer: &v1::SubmitResponse) -> End {
    app.output.warn(&answer.warnings);
    let value = json!({ "run_id": answer.run_id, "existed": answer.existed });
    app.output.show(&value, |_| answer.run_id.clone())?;
    Ok(Exit::Ok)
}
