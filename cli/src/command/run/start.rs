//! `kapelle run start` and `kapelle run execute`.

use std::time::Duration;

use clap::Args;
use kapelle_proto::v1;
use kapelle_retry::{Policy, Verdict};
use serde_json::json;
use tonic::Status;

use super::{input, page};
use crate::app::{App, End};
use crate::client::{Client, Until, follow, is_transient};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::view;

/// What to start.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The workflow's name
    workflow: String,
    /// The input: a JSON file, `-` for stdin, or JSON itself. Default: {}
    #[arg(short, long, value_name = "FILE|-|JSON")]
    input: Option<String>,
    /// An idempotency key: the same workflow and key are one run, however often they are submitted
    #[arg(short, long)]
    key: Option<String>,
    /// A label, to find the run by; repeat it for more
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How soon its tasks are served: 1 first, 5 last. Default: what the workflow says, or 3
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5))]
    priority: Option<u32>,
    /// Which version of the workflow, as a SemVer requirement such as ^1. Default: the highest
    #[arg(long, value_name = "REQUIREMENT")]
    version: Option<String>,
}

/// What to start and wait for.
#[derive(Debug, Args)]
pub(crate) struct Execute {
    #[command(flatten)]
    start: Start,
    /// Stop waiting after this time, such as 90s or 10m; the run goes on. Default: wait as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

/// A label as it is written on the command line.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label looks like name=value".to_owned()),
    }
}

impl Start {
    fn request(self) -> Result<v1::SubmitRequest, Failure> {
        Ok(v1::SubmitRequest {
            workflow: self.workflow,
            version: self.version.unwrap_or_default(),
            input: input::read(self.input.as_deref())?.into(),
            idempotency_key: self.key,
            labels: self.labels.into_iter().collect(),
            tag: 0,
            priority: self.priority.unwrap_or_default(),
        })
    }
}

/// Submits. With a key it is safe to ask again while the coordinator or the broker is away, so it is done.
pub(crate) async fn submit(client: &Client, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, Failure> {
    let keyed = request.idempotency_key.is_some();
    let verdict = |status: &Status| if keyed && is_transient(status) { Verdict::Retry } else { Verdict::Stop };
    let policy = Policy::default();
    let answer = kapelle_retry::retry(&policy, verdict, |_| {
        let (mut runs, request) = (client.runs(), request.clone());
        async move { runs.submit(request).await }
    });
    Ok(answer.await.map_err(|gave_up| client.failure(gave_up.error))?.into_inner())
}

/// `kapelle run start`.
pub(crate) async fn start(app: &App, args: Start) -> End {
    let request = args.request()?;
    let client = app.client().await?;
    let submitted = submit(&client, request).await?;
    app.output.warn(&submitted.warnings);
    let value = json!({ "run_id": submitted.run_id, "existed": submitted.existed });
    app.output.show(&value, |_| submitted.run_id.clone())?;
    Ok(Exit::Ok)
}

/// `kapelle run execute`.
pub(crate) async fn execute(app: &App, args: Execute) -> End {
    let request = args.start.request()?;
    let client = app.client().await?;
    let v1::SubmitResponse { run_id, warnings, .. } = submit(&client, request).await?;
    app.output.warn(&warnings);
    let followed = follow(&client, &run_id, Until::Settled, |_| Ok(()));
    let settled = match args.wait {
        None => followed.await?,
        Some(wait) => tokio::time::timeout(wait, followed).await.map_err(|_| waited(&run_id, wait))??,
    };
    let run = view::Run::from(settled);
    app.output.show(&run, page::outcome)?;
    Ok(if run.status == "COMPLETED" { Exit::Ok } else { Exit::Failed })
}

fn waited(run_id: &str, wait: Duration) -> Failure {
    let message = format!("Run {run_id} did not end within {}; it goes on.", humantime::format_duration(wait));
    Failure::plain(Exit::Unavailable, message).hint(format!("Watch it with `kapelle run watch {run_id}`."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pairs() {
        assert_eq!(label("team=legal"), Ok(("team".into(), "legal".into())));
        assert_eq!(label("empty="), Ok(("empty".into(), String::new())));
        assert!(label("team").is_err() && label("=x").is_err());
    }
}
