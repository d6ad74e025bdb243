//! When a model may be asked next: its rate, which all agents that ask it keep together, in the whole fleet.

use kapelle_bus::Bus;
use kapelle_bus::pace::Pacer;
use kapelle_engine::Failure;
use kapelle_manifest::Model;
use kapelle_types::{AgentVersion, Code, Rate, Sha256};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::failure;

/// The starts of requests to one model.
pub(super) struct Turns {
    rate: Rate,
    pacer: Mutex<Pacer>,
}

impl Turns {
    /// Those of the model with this name at this endpoint.
    pub(super) fn new(bus: &Bus, agent: &AgentVersion, model: &Model, rate: Rate) -> Self {
        let whose = Sha256::of(format!("{}\n{}", model.endpoint, model.model).as_bytes());
        Self { rate, pacer: Mutex::new(Pacer::of_model(bus.clone(), agent.clone(), whose, rate)) }
    }

    /// Waits for a start. One that is due only after the attempt has ended is not taken, so that others can have it.
    pub(super) async fn start(&self, ends_at: Instant) -> Result<(), Failure> {
        let reserved = self.pacer.lock().await.reserve_before(ends_at).await;
        let start = reserved.map_err(|error| {
            let message = format!("the model's rate of {} cannot be kept, so it is not asked: {error}", self.rate);
            failure::transient(Code::MODEL_UNAVAILABLE, message)
        })?;
        match start {
            Ok(at) => {
                sleep_until(at).await;
                Ok(())
            }
            Err(due) => {
                let message =
                    format!("the model's rate of {} is used up for longer than the attempt may take", self.rate);
                let busy = failure::transient(Code::MODEL_UNAVAILABLE, message);
                Err(Failure { retry_after: Some(due.saturating_duration_since(Instant::now())), ..busy })
            }
        }
    }
}
