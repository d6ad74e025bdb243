//! `kapelle run cancel|terminate|pause|resume|retry`: a request is recorded in the run's log; the run acts on it.

use clap::Args;
use kapelle_proto::v1;
use serde_json::json;

use crate::app::{App, End};
use crate::exit::Exit;

/// Which run, and why.
#[derive(Debug, Args)]
pub(crate) struct Steer {
    /// The run's id
    run: String,
    /// Why; it is kept in the run's log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// Which run, and which of its steps.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The run's id
    run: String,
    /// A step that gave up, or one member of it (review:17); repeat it for more. Default: all that gave up
    #[arg(long = "step", value_name = "STEP")]
    steps: Vec<String>,
}

/// What is asked of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    /// End, finishing what runs.
    Cancel,
    /// End at once.
    Terminate,
    /// Start nothing new.
    Pause,
    /// Go on.
    Resume,
}

impl Wish {
    const fn asked(self) -> &'static str {
        match self {
            Self::Cancel => "Asked to cancel",
            Self::Terminate => "Asked to terminate",
            Self::Pause => "Asked to pause",
            Self::Resume => "Asked to resume",
        }
    }
}

/// `kapelle run cancel|terminate|pause|resume`.
pub(crate) async fn steer(app: &App, wish: Wish, args: Steer) -> End {
    let client = app.client().await?;
    let request = v1::SteerRequest { run_id: args.run.clone(), reason: args.reason };
    let mut runs = client.runs();
    let answer = match wish {
        Wish::Cancel => runs.cancel(request).await,
        Wish::Terminate => runs.terminate(request).await,
        Wish::Pause => runs.pause(request).await,
        Wish::Resume => runs.resume(request).await,
    };
    let seq = answer.map_err(|s| client.failure(s))?.into_inner().seq;
    tell(app, &args.run, seq, wish.asked())
}

/// `kapelle run retry`.
pub(crate) async fn retry(app: &App, args: Retry) -> End {
    let client = app.client().await?;
    let request = v1::RetryRunRequest { run_id: args.run.clone(), steps: args.steps };
    let seq = client.runs().retry(request).await.map_err(|s| client.failure(s))?.into_inner().seq;
    tell(app, &args.run, seq, "Asked to retry")
}

fn tell(app: &App, run: &str, seq: u64, asked: &str) -> End {
    app.output.show(&json!({ "run_id": run, "seq": seq }), |_| format!("{asked} {run} (entry {seq})."))?;
    Ok(Exit::Ok)
}
