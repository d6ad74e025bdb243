//! Whether an agent version is stopped: what its queue says, asked when somebody says that it is different, and now and then
//! because that may be lost.
//!
//! Who says so is not relied on, since others can make it look as if the coordinators did. The broker gives nothing out of a queue that
//! is stopped whether a worker knows of it or not; a worker that does stops what it has begun.

use std::pin::Pin;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::tasks::Told;
use kapelle_types::AgentVersion;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::holds::{Hold, Holds};

/// How often is asked without a reason.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The shortest time between two questions, however often somebody says that there is a reason.
const LOOK_MIN: Duration = Duration::from_millis(200);

/// What is known of it.
pub(crate) struct Halt {
    bus: Bus,
    agent: AgentVersion,
    hold: Hold,
    stopped: bool,
    asked_at: Instant,
    /// When is asked next. Kept, since the worker's loop comes by with every task.
    next: Pin<Box<Sleep>>,
    asking: Option<AbortOnDropHandle<Result<Told, kapelle_bus::Error>>>,
}

impl Halt {
    pub(crate) fn new(bus: &Bus, agent: &AgentVersion, holds: &Holds) -> Self {
        let (bus, agent, hold, now) = (bus.clone(), agent.clone(), holds.of(agent, "stopped"), Instant::now());
        Self { bus, agent, hold, stopped: false, asked_at: now, next: Box::pin(sleep_until(now)), asking: None }
    }

    /// Whether none of its tasks is to be worked at.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Somebody says that the queue is different.
    pub(crate) fn look(&mut self) {
        let soon = self.next.deadline().min(self.asked_at + LOOK_MIN);
        self.next.as_mut().reset(soon);
    }

    /// Waits until the queue says something else; gives whether it is stopped now. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> bool {
        loop {
            if self.asking.is_none() {
                self.next.as_mut().await;
                self.asked_at = Instant::now();
                self.next.as_mut().reset(self.asked_at + LOOK_EVERY);
                let (bus, agent) = (self.bus.clone(), self.agent.clone());
                self.asking = Some(AbortOnDropHandle::new(tokio::spawn(async move { bus.queue_told(&agent).await })));
            }
            let Some(asking) = &mut self.asking else { continue };
            let told = asking.await.unwrap_or_else(|ended| Err(kapelle_bus::Error::Unavailable(ended.to_string())));
            self.asking = None;
            match told {
                Ok(told) if told.stopped != self.stopped => {
                    self.stopped = told.stopped;
                    if self.stopped {
                        self.hold.because("it is stopped; `kapelle agent list` says by whom");
                    } else {
                        self.hold.release();
                    }
                    return self.stopped;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(agent = %self.agent, %error, "the queue does not say whether it is stopped");
                    self.next.as_mut().reset(Instant::now() + LOOK_MIN * 5);
                }
            }
        }
    }
}
