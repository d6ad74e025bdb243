//! Jobs that were published straight to `kapelle.submit.<workflow>`: taken, recorded as runs, or refused as an event.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use kapelle_bus::Bus;
use kapelle_bus::submit::{Submission, Submissions};
use kapelle_telemetry::clock;
use kapelle_types::{Code, Diagnosis, Namespace, Principal};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::submit::{Job, Submitter};

/// Submissions that are recorded at once.
const IN_FLIGHT_MAX: usize = 256;
/// How long a job that cannot be taken now waits.
const POSTPONED: Duration = Duration::from_secs(1);
/// How soon the queue is opened again after it was closed or could not be opened.
const OPEN_AGAIN: Duration = Duration::from_millis(250);

/// Takes jobs until `stop`. Whoever may publish to the broker's account submits to the namespace that it serves.
pub(crate) async fn take_jobs(bus: Bus, submitter: Arc<Submitter>, namespace: Namespace, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match Submissions::open(&bus).await {
            Ok(queue) => take_from(queue, &bus, &submitter, &namespace, &stop).await,
            Err(error) => tracing::debug!(%error, "the queue of direct submissions is not open yet"),
        }
        tokio::time::sleep(OPEN_AGAIN).await;
    }
}

async fn take_from(
    mut queue: Submissions,
    bus: &Bus,
    submitter: &Submitter,
    namespace: &Namespace,
    stop: &CancellationToken,
) {
    let mut working = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(()) = working.next(), if !working.is_empty() => {}
            next = queue.next(), if working.len() < IN_FLIGHT_MAX => match next {
                Ok(submission) => working.push(take(submission, bus, submitter, namespace)),
                Err(error) => {
                    tracing::debug!(%error, "opening the queue of direct submissions again");
                    break;
                }
            },
        }
    }
    while working.next().await.is_some() {}
}

async fn take(submission: Submission, bus: &Bus, submitter: &Submitter, namespace: &Namespace) {
    let job = Job {
        workflow: submission.workflow.clone(),
        version: submission.version.clone(),
        input: submission.input.clone(),
        key: Some(submission.key.clone()),
        principal: Principal("nats".into()),
        namespace: namespace.clone(),
        // Why it is refused is an event, for everybody who reads.
        heard_by_others: true,
        ..Job::default()
    };
    match submitter.submit(job).await {
        Ok(submitted) => {
            let run = submitted.run.to_string();
            let warnings: Vec<String> = submitted.outgoing.iter().map(ToString::to_string).collect();
            let (key, existed) = (&submission.key, submitted.existed);
            let data = json!({ "run_id": run, "key": key, "existed": existed, "warnings": warnings });
            bus.emit("submission.accepted", &submission.workflow, &run, clock::now(), &data).await;
            submission.settle().await;
        }
        Err(diagnosis) if may_succeed_later(&diagnosis) => submission.postpone(POSTPONED).await,
        Err(diagnosis) => refuse(&submission, bus, &diagnosis).await,
    }
}

fn may_succeed_later(diagnosis: &Diagnosis) -> bool {
    matches!(diagnosis.code, Code::ADMISSION | Code::NOT_RECORDED | Code::BROKER_UNAVAILABLE)
}

async fn refuse(submission: &Submission, bus: &Bus, diagnosis: &Diagnosis) {
    tracing::warn!(workflow = submission.workflow, %diagnosis, "a direct submission is refused");
    let data = json!({
        "key": submission.key, "code": diagnosis.code, "message": diagnosis.message, "hint": diagnosis.hint,
    });
    bus.emit("submission.refused", &submission.workflow, &submission.key, clock::now(), &data).await;
    submission.settle().await;
}
