//! Watches what the broker holds for others to see: how long queues are, how many dead letters there are. A queue that is
//! gone is made anew; the reconciler then fills it from the run logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::layout::Layout;
use kapelle_bus::provision::ensure_tasks;
use kapelle_proto::subject;
use kapelle_telemetry::metrics::{DEAD_LETTERS, QUEUE_BACKLOG, QUEUE_IN_FLIGHT};
use kapelle_types::AgentVersion;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::turns::Takers;

/// How often queues are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How many looks pass between two counts of the dead letters.
const LOOKS_PER_COUNT: u64 = 5;

/// Keeps the queues there and their metrics current until `stop`.
pub(crate) async fn watch_queues(
    bus: Bus,
    takers: Arc<Takers>,
    catalog: Arc<Catalog>,
    layout: Layout,
    stop: CancellationToken,
) {
    let mut counted = BTreeSet::new();
    for look in 0_u64.. {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mut all_there = true;
        for agent in catalog.agent_versions() {
            let Some(stopped) = observe_queue(&takers, &agent).await else {
                all_there = false;
                continue;
            };
            if stopped != catalog.snapshot().stops(&agent)
                && let Err(error) = settle_queue(&catalog, &agent, stopped).await
            {
                tracing::warn!(%agent, %error, "its queue is not as it should be yet");
            }
        }
        if !all_there {
            mend_queues(&bus, &catalog, &layout).await;
        }
        if look % LOOKS_PER_COUNT == 0 {
            count_dead_letters(&bus, &mut counted).await;
        }
    }
}

/// Stops a queue that should be stopped, or lets it go on. What was decided just now may not be known here yet.
async fn settle_queue(catalog: &Catalog, agent: &AgentVersion, stopped: bool) -> Result<(), kapelle_bus::Error> {
    catalog.up_to_date().await?;
    if stopped == catalog.snapshot().stops(agent) { Ok(()) } else { catalog.settle_queue(agent).await }
}

/// Several coordinators may do it at once: what is there already stays as it is.
async fn mend_queues(bus: &Bus, catalog: &Catalog, layout: &Layout) {
    match ensure_tasks(bus.jetstream(), layout).await {
        Ok(true) => tracing::warn!("the broker lost the task queue; it is made anew and filled from the run logs"),
        Ok(false) => {}
        Err(error) => return tracing::debug!(%error, "the task queue cannot be looked at right now"),
    }
    if let Err(error) = catalog.ensure_queues().await {
        tracing::warn!(%error, "the queues of some agents are not there yet");
    }
}

/// Shows how long a queue is, and gives whether it is stopped; `None` if it does not answer.
#[allow(clippy::cast_precision_loss)] // counts far below 2^52
async fn observe_queue(takers: &Takers, agent: &AgentVersion) -> Option<bool> {
    let state = takers.queue_state(agent).await.ok()?;
    let (name, version) = (agent.name.to_string(), agent.version.to_string());
    let labels = [name.as_str(), version.as_str()];
    QUEUE_BACKLOG.gauge(&labels).set((state.pending + state.redelivered) as f64);
    QUEUE_IN_FLIGHT.gauge(&labels).set(state.in_flight as f64);
    Some(state.stopped)
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
async fn count_dead_letters(bus: &Bus, counted: &mut BTreeSet<AgentVersion>) {
    let Ok(subjects) = bus.dead_subjects(subject::dead_all()).await else { return };
    let mut counts: BTreeMap<AgentVersion, u64> = counted.iter().map(|a| (a.clone(), 0)).collect();
    for letter in subjects {
        *counts.entry(letter.agent).or_default() += 1;
    }
    for (agent, count) in counts {
        let (name, version) = (agent.name.to_string(), agent.version.to_string());
        DEAD_LETTERS.gauge(&[&name, &version]).set(count as f64);
        counted.insert(agent);
    }
}
