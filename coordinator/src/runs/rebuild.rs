//! A run as its log has it now, for whoever asks: any coordinator can answer, owner or not.

use kapelle_bus::Bus;
use kapelle_engine::{Record, Run, apply};
use kapelle_types::{Code, Diagnosis, RunId};

use crate::partition::effect::Loaded;
use crate::partition::load::{self, LoadError};
use crate::plans::PlanStore;

/// A run and the log that it was rebuilt from.
pub(crate) struct Rebuilt {
    /// Its state.
    pub(crate) run: Run,
    /// Its log, oldest first.
    pub(crate) records: Vec<Record>,
}

/// Reads and rebuilds a run, from whichever replica answers: what was written milliseconds ago may not be there yet. Boxed:
/// who waits for a run rarely reads its log.
///
/// # Errors
/// `UNKNOWN_RUN`, `PLAN_MISSING`, `BROKER_UNAVAILABLE`.
pub(crate) async fn rebuild(bus: &Bus, plans: &PlanStore, id: RunId) -> Result<Rebuilt, Diagnosis> {
    apply_all(id, Box::pin(load::load(bus, plans, id)).await)
}

/// As [`rebuild`], with everything up to a sequence that is known to be there.
///
/// # Errors
/// As [`rebuild`].
pub(crate) async fn rebuild_to(bus: &Bus, plans: &PlanStore, id: RunId, seq: u64) -> Result<Rebuilt, Diagnosis> {
    apply_all(id, Box::pin(load::load_whole(bus, plans, id, seq)).await)
}

fn apply_all(id: RunId, loaded: Result<(Loaded, u64), LoadError>) -> Result<Rebuilt, Diagnosis> {
    let (loaded, _) = loaded.map_err(|error| {
        Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("the log of run {id} cannot be read: {error}"))
            .hint("repeat the request; `kapelle doctor` says what is wrong with the broker")
    })?;
    match loaded {
        Loaded::Run { run, records } => {
            let mut run = *run;
            for record in &records {
                for entry in &record.entries {
                    let _ = apply(&mut run, entry, record.channel, record.stamp);
                }
            }
            Ok(Rebuilt { run, records })
        }
        Loaded::NotARun => Err(Diagnosis::new(Code::UNKNOWN_RUN, format!("there is no run {id}"))),
        Loaded::NoPlan { reason } | Loaded::FromTheFuture { reason } => {
            Err(Diagnosis::new(Code::PLAN_MISSING, format!("run {id} cannot be shown: {reason}")))
        }
    }
}
