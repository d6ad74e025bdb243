//! `Update`: a signal with an answer. It is told as a signal is, and answered when a step has taken it and all that the answer
//! refers to has ended. What is asked again under the same id gets the same answer, whichever coordinator is asked.

use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kapelle_engine::{Run, apply};
use kapelle_expression::Error;
use kapelle_proto::v1;
use kapelle_types::{Caller, Code, Diagnosis, Payload, RunId, SignalName};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::signal::{Manner, signal};
use super::{Context, visible};
use crate::runs::{Rebuilt, json, rebuild_to};

/// How long an answer is waited for where nobody says.
const WAIT: Duration = Duration::from_secs(10);
/// The longest that anybody may wait in one call.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// How often a run is looked at without news.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// News within this time are looked at together.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Records an update and waits for its answer. Whoever may not see the run's payloads gets what stands in its place.
///
/// # Errors
/// As [`signal`], and `UPDATE_FAILED`, `UPDATE_PENDING`.
pub(super) async fn update(
    context: &Context,
    run: RunId,
    caller: &Caller,
    request: v1::UpdateRequest,
) -> Result<v1::UpdateResponse, Diagnosis> {
    let v1::UpdateRequest { name, payload, id, wait_millis, .. } = request;
    let wait = if wait_millis == 0 { WAIT } else { Duration::from_millis(wait_millis).min(WAIT_MAX) };
    let deadline = Instant::now() + wait;
    // Whoever has no answer in time asks again under it.
    let id = if id.is_empty() { Uuid::now_v7().to_string() } else { id };
    let told = v1::SignalRequest { run_id: run.to_string(), name: name.clone(), payload, id: id.clone() };
    let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
    let mut news = pin!(context.bus.news_of(run).await.map_err(unavailable)?);
    let v1::SignalResponse { seq, duplicate } = signal(context, run, caller, (Manner::Update, told)).await?;
    let invalid = |e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
    let name: SignalName = name.parse().map_err(invalid)?;
    loop {
        let rebuilt = match rebuild_to(&context.bus, &context.plans, run, seq).await {
            Ok(rebuilt) => rebuilt,
            Err(error) if Instant::now() >= deadline => return Err(pending(run, &name, &id, &error.message)),
            Err(error) => {
                tracing::debug!(%run, %error, "looking again");
                sleep(LOOK_PAUSE).await;
                continue;
            }
        };
        match stand(&rebuilt, &name, seq) {
            Stand::Answered(run, answer, answered_seq) => {
                let make =
                    || answer.map_err(|error| failed(&run, &name, &error)).and_then(|it| bytes(&run, &name, &it));
                let value = visible::value(&context.access, caller, &run, make)?;
                return Ok(v1::UpdateResponse { value, seq, answered_seq, duplicate });
            }
            Stand::NeverTaken => return Err(never_taken(&rebuilt.run, &name)),
            Stand::Waits(what) if Instant::now() >= deadline => return Err(pending(run, &name, &id, &what)),
            Stand::Waits(_) => {}
        }
        let _ = timeout_at(deadline.min(Instant::now() + LOOK_EVERY), news.next()).await;
        sleep(LOOK_PAUSE).await;
        while let Some(Some(())) = news.next().now_or_never() {}
    }
}

/// Where an update stands.
enum Stand {
    /// The run as it was answered, the answer, and after which entry there was one.
    Answered(Box<Run>, Result<Payload, Error>, u64),
    /// The run ended, or is to end, and no step took it.
    NeverTaken,
    /// What it waits for.
    Waits(String),
}

/// Where the update of this name stands that the log has at this sequence.
fn stand(rebuilt: &Rebuilt, name: &SignalName, seq: u64) -> Stand {
    let (mut run, mut taken) = (rebuilt.run.before_its_log(), false);
    for record in &rebuilt.records {
        for entry in &record.entries {
            taken |= apply(&mut run, entry, record.channel, record.stamp).taken.contains(&seq);
            if let Some(answer) = run.answer(name).filter(|_| taken) {
                return Stand::Answered(Box::new(run), answer, record.stamp.seq);
            }
        }
    }
    match run.answer_waits_for(name) {
        Some(step) if taken => Stand::Waits(format!("its answer waits for the step `{step}`")),
        _ if run.is_finished() || run.closing().is_some() => Stand::NeverTaken,
        _ => Stand::Waits("no step has taken it yet".to_owned()),
    }
}

fn bytes(run: &Run, name: &SignalName, answer: &Payload) -> Result<bytes::Bytes, Diagnosis> {
    if answer.value.is_some() {
        return Ok(json(answer));
    }
    let message = format!("the payload that answers the update `{name}` of run {} could not be fetched", run.id());
    Err(Diagnosis::new(Code::PAYLOAD_MISSING, message).hint("restore the stream `OBJ_payloads`, then ask again"))
}

/// Why there is no answer and will be none.
fn failed(run: &Run, name: &SignalName, error: &Error) -> Diagnosis {
    let message = format!("run {} took the update `{name}` and there is no answer to it: {error}", run.id());
    let hint =
        "`has(steps.x.output) ? … : …` in `answer` says what holds without it; `kapelle run describe` shows the run";
    Diagnosis::new(Code::UPDATE_FAILED, message).hint(hint)
}

fn never_taken(run: &Run, name: &SignalName) -> Diagnosis {
    let message = format!("run {} is {} and no step has taken the update `{name}`", run.id(), run.status().name());
    let hint = format!("nothing of it counts; see `kapelle run describe {}`", run.id());
    Diagnosis::new(Code::UPDATE_FAILED, message).hint(hint)
}

fn pending(run: RunId, name: &SignalName, id: &str, what: &str) -> Diagnosis {
    let message = format!("run {run} has the update `{name}`, and there is no answer in time: {what}");
    let hint =
        format!("ask again with the id `{id}`: it waits for the same update; `kapelle run why {run}` says for what");
    Diagnosis::new(Code::UPDATE_PENDING, message).hint(hint)
}
