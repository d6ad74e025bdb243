//! Questions that coordinators put to each other over core NATS: each knows its own partitions, and nobody all of them.
//!
//! A coordinator that does not answer in time has not answered; what that means is for whoever asked to say.

use std::time::Duration;

use futures::StreamExt;
use kapelle_bus::Bus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// How long another coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon questions are listened for again after the connection refused it.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Answers the questions on a subject until `stop`. What cannot be read stays without an answer.
pub(crate) async fn answer<Q, A, F>(bus: Bus, subject: String, stop: CancellationToken, reply: impl Fn(Q) -> F)
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = A>,
{
    while !stop.is_cancelled() {
        let Ok(mut questions) = bus.client().subscribe(subject.clone()).await else {
            tokio::time::sleep(LISTEN_AGAIN).await;
            continue;
        };
        loop {
            let question = tokio::select! {
                () = stop.cancelled() => return,
                question = questions.next() => question,
            };
            let Some(question) = question else { break };
            let (Some(to), Ok(asked)) = (question.reply, serde_json::from_slice::<Q>(&question.payload)) else {
                continue;
            };
            if let Ok(body) = serde_json::to_vec(&reply(asked).await) {
                let _ = bus.client().publish(to, body.into()).await;
            }
        }
    }
}

/// Asks on a subject; `None` if nobody answers in time, or not what was asked.
pub(crate) async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
    bus: &Bus,
    subject: String,
    question: &Q,
) -> Option<A> {
    let body = serde_json::to_vec(question).ok()?;
    match tokio::time::timeout(PATIENCE, bus.client().request(subject.clone(), body.into())).await {
        Ok(Ok(message)) => serde_json::from_slice(&message.payload)
            .inspect_err(|error| tracing::warn!(subject, %error, "an answer cannot be read"))
            .ok(),
        Ok(Err(error)) => {
            tracing::warn!(subject, %error, "nobody answers");
            None
        }
        Err(_) => {
            tracing::warn!(subject, "nobody answers in time");
            None
        }
    }
}
