//! What stands between a queue and this worker: the limits that the fleet keeps together, of which the queue tells.
//!
//! Workers learn them from the broker and not from their own manifests, so that an agent that is built into a program, or whose
//! folder somebody has changed, is held to what was registered. Nothing is asked for before they are known. An agent
//! without such limits costs one question at the start and nothing after it.

use std::sync::Arc;

use kapelle_bus::Bus;
use kapelle_bus::pace::Pacer;
use kapelle_bus::spend::Ledger;
use kapelle_retry::{Delays, Policy};
use kapelle_types::AgentVersion;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Purse};
use crate::holds::Holds;
use crate::turns::{Outside, Turns};

/// The limits of one agent version.
#[derive(Default)]
pub(crate) struct Gate {
    turns: Option<Arc<Turns>>,
    budget: Option<Budget>,
}

/// What one task has to keep to.
#[derive(Default)]
pub(crate) struct Terms {
    /// It has to wait for its start.
    pub(crate) turn: Option<Outside>,
    /// It has to be paid, and does not begin when nothing is left.
    pub(crate) purse: Option<Purse>,
}

impl Gate {
    /// Asks the queue until it tells; `None` if the worker drains before.
    pub(crate) async fn open(
        bus: &Bus,
        agent: &AgentVersion,
        holds: &Holds,
        draining: &CancellationToken,
    ) -> Option<Self> {
        let mut delays = Delays::new(&Policy { max: std::time::Duration::from_secs(1), ..Policy::default() });
        let told = loop {
            match bus.queue_told(agent).await {
                Ok(told) => break told,
                // The queue comes with the agent's registration; the same is said of it when tasks are asked for.
                Err(error) => tracing::debug!(%agent, %error, "the queue does not tell its limits yet"),
            }
            tokio::select! {
                () = draining.cancelled() => return None,
                () = tokio::time::sleep(delays.next()) => {}
            }
        };
        let turns = told.rate.map(|rate| {
            let pacer = Pacer::new(bus.clone(), agent.clone(), rate);
            Arc::new(Turns::new(pacer, holds.of(agent, "rate")))
        });
        let budget = told.cost_per_day.map(|limit| {
            let ledger = Ledger::new(bus.clone(), agent.clone());
            Budget::start(ledger, agent, limit, holds.of(agent, "cost_per_day"))
        });
        Some(Self { turns, budget })
    }

    /// How many tasks may come now, and when to ask again if nothing changes before. `None` is as many as there are slots.
    pub(crate) fn room(&self) -> (Option<usize>, Option<Instant>) {
        match (&self.budget, &self.turns) {
            (Some(budget), _) if !budget.is_open() => (Some(0), None),
            (_, Some(turns)) => {
                let (room, again_at) = turns.room();
                (Some(room), Some(again_at))
            }
            (_, None) => (None, None),
        }
    }

    /// Waits until [`Gate::room`] may say something else, or until it is time to ask again. Cancel-safe.
    pub(crate) async fn changed(&mut self, again_at: Option<Instant>) {
        let turns = self.turns.as_ref();
        let time = async {
            match again_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let turn = async {
            match turns {
                Some(turns) => turns.changed().await,
                None => std::future::pending().await,
            }
        };
        let budget = async {
            match &mut self.budget {
                Some(budget) => budget.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = turn => {}
            () = budget => {}
        }
    }

    /// Gives back what was reserved for tasks that did not begin.
    pub(crate) async fn close(&self) {
        if let Some(turns) = &self.turns {
            turns.close().await;
        }
    }

    /// The terms of a task that came, with so many behind it in its queue, when so many more could be held.
    pub(crate) fn terms(&self, behind: u64, free: usize) -> Terms {
        Terms {
            turn: self.turns.as_ref().map(|turns| turns.came(behind, free)),
            purse: self.budget.as_ref().map(Budget::purse),
        }
    }
}
