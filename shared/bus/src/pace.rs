//! How often the tasks of an agent version start in the whole fleet: one key, the time at which the next may start. The same
//! for requests to a model, whose key is shared by all agents that ask it.
//!
//! ```text
//!   worker ──read──▶ KV pace <agent>.<version>, _model.<digest>: next start at T
//!      └────write T + n intervals, if nobody was quicker──▶ n starts are this worker's: T, T + 1 interval, …
//! ```
//!
//! Starts are an interval apart and none is given twice, whoever asks for them. Times are the broker's: each worker learns how
//! far its own clock is away, from an answer that carries the broker's time. A start that was given is not taken back; a
//! worker that dies loses what it was given and no more.

use std::time::Duration;

use async_nats::HeaderMap;
use kapelle_proto::bucket;
use kapelle_retry::{Delays, Policy};
use kapelle_types::{AgentVersion, Rate, Sha256, Timestamp};
use tokio::time::Instant;

use crate::{Bus, Error, Refusal};

/// How long the difference between two clocks is relied on: good ones part by some milliseconds in this time.
const CALIBRATION: Duration = Duration::from_secs(60);
/// Times that somebody else may be quicker before it counts as a failure.
const TRIES_MAX: usize = 100;
/// What the keys of models begin with; no agent has such a name.
const MODEL: &str = "_model";

/// Reserves starts of one agent version, or of requests to one model.
#[derive(Debug)]
pub struct Pacer {
    bus: Bus,
    /// Whose queue tells the broker's time.
    agent: AgentVersion,
    subject: String,
    rate: Rate,
    /// A moment by this machine's clock and the same or an earlier one by the broker's.
    clock: Option<(Instant, Timestamp)>,
}

impl Pacer {
    /// A pacer that has reserved nothing.
    #[must_use]
    pub fn new(bus: Bus, agent: AgentVersion, rate: Rate) -> Self {
        let subject = format!("$KV.{}.{}.{}", bucket::PACE, agent.name, agent.version.token());
        Self { bus, agent, subject, rate, clock: None }
    }

    /// A pacer of an agent's requests to the model with this digest.
    #[must_use]
    pub fn of_model(bus: Bus, agent: AgentVersion, model: Sha256, rate: Rate) -> Self {
        let subject = format!("$KV.{}.{MODEL}.{model}", bucket::PACE);
        Self { bus, agent, subject, rate, clock: None }
    }

    /// The rate that it keeps.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Reserves this many starts: the moments from which on each may be used, in order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer or others were always quicker, [`Error::Unreadable`] if what
    /// stands there is no time: nothing may start then.
    pub async fn reserve(&mut self, count: u32) -> Result<Vec<Instant>, Error> {
        // Without an end there is always a start.
        Ok(self.reserve_until(count, None).await?.unwrap_or_default())
    }

    /// Reserves one start, unless it would be later than this: then it is left to others, and the moment that it would have
    /// been is the answer.
    ///
    /// # Errors
    /// As [`Pacer::reserve`].
    pub async fn reserve_before(&mut self, end: Instant) -> Result<Result<Instant, Instant>, Error> {
        let starts = self.reserve_until(1, Some(end)).await?;
        Ok(starts.map(|starts| starts.first().copied().unwrap_or(end)))
    }

    async fn reserve_until(
        &mut self,
        count: u32,
        end: Option<Instant>,
    ) -> Result<Result<Vec<Instant>, Instant>, Error> {
        let subject = self.subject.clone();
        let interval = self.rate.interval();
        let mut delays = Delays::new(&Policy {
            initial: Duration::from_millis(2),
            max: Duration::from_millis(50),
            ..Policy::default()
        });
        for _ in 0..TRIES_MAX {
            let (here, there) = self.clock().await?;
            let last = self.bus.last(&format!("KV_{}", bucket::PACE), &subject).await?;
            let next = last.as_ref().map_or(Ok(Timestamp::default()), |last| parse(&last.payload))?;
            let first = next.max(there.plus(here.elapsed()));
            let start = here + first.since(there);
            if end.is_some_and(|end| start > end) {
                return Ok(Err(start));
            }
            let after = first.plus(interval.saturating_mul(count));
            if self.write(&subject, after, last.map_or(0, |last| last.seq)).await? {
                let at = |n: u32| here + first.plus(interval.saturating_mul(n)).since(there);
                return Ok(Ok((0..count).map(at).collect()));
            }
            tokio::time::sleep(delays.next()).await;
        }
        Err(Error::Unavailable("other workers were always quicker".into()))
    }

    /// Writes the time of the next start unless somebody has written since. False if somebody has.
    async fn write(&self, subject: &str, next: Timestamp, seq: u64) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", seq.to_string().as_str());
        let text = next.nanos().to_string();
        match self.bus.publisher().publish(subject.to_owned(), Some(headers), text.into()).await?.await {
            Ok(_) => Ok(true),
            Err(error) if error.refusal() == Some(Refusal::NotFirst) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A moment by both clocks. The broker's is the earlier one, if at all, so that nothing starts too early.
    async fn clock(&mut self) -> Result<(Instant, Timestamp), Error> {
        if let Some((here, there)) = self.clock.filter(|(here, _)| here.elapsed() < CALIBRATION) {
            return Ok((here, there));
        }
        let told = self.bus.queue_told(&self.agent).await?;
        let known = (Instant::now(), told.at);
        self.clock = Some(known);
        Ok(known)
    }
}

fn parse(payload: &[u8]) -> Result<Timestamp, Error> {
    let nanos = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
    nanos.map(Timestamp::from_nanos).ok_or_else(|| Error::Unreadable("the time of an agent's next start".into()))
}
