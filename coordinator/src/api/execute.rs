//! Submit and wait: told by the partition if it is ours, by the log otherwise.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kapelle_engine::RunStatus;
use kapelle_proto::v1;
use kapelle_types::{Code, Diagnosis, RunId};
use tokio::time::{Instant, timeout_at};

use super::Context;
use crate::runs::{rebuild, rebuild_to, view};
use crate::submit::{Job, count_refusal};

/// How often the log is looked at while waiting: whoever tells us may have died.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The longest that anybody may wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Submits a job and waits until its run ends or stalls, or `wait` is over: then the view shows where it stands.
pub(super) async fn execute(
    context: &Context,
    job: Job,
    wait: Option<Duration>,
) -> Result<Arc<v1::RunView>, Diagnosis> {
    let deadline = Instant::now() + wait.unwrap_or(WAIT_MAX).min(WAIT_MAX);
    let prepared = context.submitter.prepare(job).await.inspect_err(count_refusal)?;
    // Before it is recorded, so that its end cannot be missed.
    let mut waiting = context.waiters.wait(prepared.run);
    let mut elsewhere = settled_elsewhere(context, prepared.run).await?;
    let submitted = context.submitter.record(prepared).await.inspect_err(count_refusal)?;
    if submitted.existed
        && let Some(view) = settled(context, submitted.run, None).await?
    {
        return Ok(Arc::new(view));
    }
    loop {
        let look = (Instant::now() + LOOK_EVERY).min(deadline);
        let at_least = tokio::select! {
            told = timeout_at(look, &mut waiting.settled) => match told {
                Ok(Ok(view)) => return Ok(view),
                _ => None,
            },
            Some(seq) = elsewhere.next() => Some(seq),
        };
        match settled(context, submitted.run, at_least).await {
            Ok(Some(view)) => return Ok(Arc::new(view)),
            Ok(None) if Instant::now() >= deadline => {
                return rebuild(&context.bus, &context.plans, submitted.run).await.map(|r| Arc::new(view(&r.run)));
            }
            Ok(None) => {}
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => tracing::debug!(run = %submitted.run, %error, "looking again"),
        }
    }
}

/// Signs of the run's end if another coordinator owns its partition, which cannot tell our waiters; none if it is ours.
async fn settled_elsewhere(context: &Context, run: RunId) -> Result<impl Stream<Item = u64> + use<>, Diagnosis> {
    if context.served.serves(context.bus.partitions().of(&run)) {
        return Ok(stream::pending().left_stream());
    }
    let signs = context.bus.settled(run).await;
    Ok(signs.map_err(|e| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string()))?.right_stream())
}

/// The view of a run that ended or stalled; `None` while it goes on. `at_least` is a sequence that is known to be there.
async fn settled(context: &Context, run: RunId, at_least: Option<u64>) -> Result<Option<v1::RunView>, Diagnosis> {
    let rebuilt = match at_least {
        Some(seq) => rebuild_to(&context.bus, &context.plans, run, seq).await?,
        None => rebuild(&context.bus, &context.plans, run).await?,
    };
    let over = rebuilt.run.is_finished() || rebuilt.run.status() == RunStatus::Stalled;
    Ok(over.then(|| view(&rebuilt.run)))
}
