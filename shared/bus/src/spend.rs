//! What the tasks of an agent version have cost in one UTC day, in the whole fleet: one counter of the broker's a day.
//!
//! ```text
//!   worker ──Nats-Incr: +<millionths of a dollar>, Nats-Msg-Id: <random>──▶ SPEND kapelle.spend.<agent>.<version>.<day>
//!   worker ◀──{"val": "<the sum>"}── direct get of the counter
//! ```
//!
//! The broker adds; nobody reads before writing. A payment that is sent twice within the broker's window for repeats counts
//! once. The broker knows repeats by an id for all agents together, so the id is random: no worker of another agent can have
//! used it before and so hide what this one costs.

use async_nats::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapelle_proto::{stream, subject};
use kapelle_types::{AgentVersion, Timestamp, Usd};
use serde::Deserialize;

use crate::{Bus, Error};

/// The day's money of one agent version.
#[derive(Debug, Clone)]
pub struct Ledger {
    bus: Bus,
    agent: AgentVersion,
}

/// What an attempt cost, as it is sent: again and again, if need be, and counted once.
#[derive(Debug)]
pub struct Payment {
    id: String,
    at: Timestamp,
    cost: Usd,
}

impl Payment {
    /// A payment of this day, unlike any other.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system has no randomness.
    pub fn new(at: Timestamp, cost: Usd) -> Result<Self, Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(Error::unavailable)?;
        Ok(Self { id: URL_SAFE_NO_PAD.encode(id), at, cost })
    }
}

/// A counter as the broker stores it.
#[derive(Deserialize)]
struct Counter {
    val: String,
}

impl Ledger {
    /// The ledger of an agent version.
    #[must_use]
    pub const fn new(bus: Bus, agent: AgentVersion) -> Self {
        Self { bus, agent }
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

    /// Adds a payment to its day, once however often it is added.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not take it, [`Error::Refused`] if it never will.
    pub async fn add(&self, payment: &Payment) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Incr", format!("+{}", payment.cost.micros()).as_str());
        headers.insert("Nats-Msg-Id", payment.id.as_str());
        let subject = subject::spend(&self.agent, &payment.at.day());
        self.bus.publisher().publish(subject, Some(headers), bytes::Bytes::new()).await?.await.map(drop)
    }
}
