//! What the tasks of an agent version have cost in one UTC day, in the whole fleet: one counter of the broker's a day.
//!
//! ```text
//!   worker ──Nats-Incr: +<millionths of a dollar>, Nats-Msg-Id: …/<run>/<step>#<attempt>──▶ SPEND kapelle.spend.<agent>.<version>.<day>
//!   worker ◀──{"val": "<the sum>"}── direct get of the counter
//! ```
//!
//! The broker adds; nobody reads before writing. An attempt that is counted twice within the broker's window for repeats
//! counts once.

use async_nats::HeaderMap;
use kapelle_proto::{stream, subject};
use kapelle_types::{AgentVersion, Timestamp, Usd};
use serde::Deserialize;

use crate::{Bus, Error};

/// The day's money of one agent version.
#[derive(Debug, Clone)]
pub struct Ledger {
    bus: Bus,
    agent: AgentVersion,
    /// What no other worker knows: message ids are the whole stream's, and whoever took ours first would have our cost left out.
    own: String,
}

/// A counter as the broker stores it.
#[derive(Deserialize)]
struct Counter {
    val: String,
}

impl Ledger {
    /// The ledger of an agent version.
    #[must_use]
    pub fn new(bus: Bus, agent: AgentVersion) -> Self {
        let own = bus.client().new_inbox();
        Self { bus, agent, own }
    }

    /// What was spent on the day of this moment so far.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer, [`Error::Unreadable`] if what stands there is no sum.
    pub async fn spent(&self, at: Timestamp) -> Result<Usd, Error> {
        let subject = subject::spend(&self.agent, &at.day());
        let Some(last) = self.bus.last(stream::SPEND, &subject).await? else { return Ok(Usd::ZERO) };
        let counter: Option<Counter> = serde_json::from_slice(&last.payload).ok();
        let micros = counter.and_then(|it| it.val.parse().ok());
        micros.map(Usd::from_micros).ok_or_else(|| Error::Unreadable(format!("the counter {subject}")))
    }

    /// Adds what an attempt cost to the day of this moment; `attempt` tells repeats apart.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not take it, [`Error::Refused`] if it never will.
    pub async fn add(&self, at: Timestamp, cost: Usd, attempt: &str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Incr", format!("+{}", cost.micros()).as_str());
        headers.insert("Nats-Msg-Id", format!("{}/{attempt}", self.own).as_str());
        let subject = subject::spend(&self.agent, &at.day());
        self.bus.publisher().publish(subject, Some(headers), bytes::Bytes::new()).await?.await.map(drop)
    }
}
