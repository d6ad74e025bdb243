//! How often the tasks of an agent version start in the whole fleet: one key, the time at which the next may start. The same
//! for requests to a model, whose key is shared by all agents that ask it.
//!
//! ```text
//!   worker ──read──▶ KV pace <agent>.<version>, _model.<digest>: next start at T
//!      └────write T + n intervals, if nobody was quicker──▶ n starts are this worker's: T, T + 1 interval, …
//! ```
//!
//! Starts are an interval apart and none is given twice, whoever asks for them. Times are the broker's: each worker learns how
//! far its own clock is away, from an answer that carries the broker's time. Starts are reserved shortly before they are due, and
//! those that are not used go back if nobody has reserved behind them. So a worker that dies costs the fleet one reservation.

mod row;

use std::collections::BTreeSet;
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

/// One start that is reserved; in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// When it is due by the broker's clock.
    at: Timestamp,
    /// The same by this machine's.
    pub due: Instant,
}

/// What came of asking for starts.
#[derive(Debug)]
pub enum Reserved {
    /// These may be used, each from when it is due.
    Starts(Vec<Start>),
    /// The next one is too far ahead to be reserved before this moment.
    NotBefore(Instant),
}

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

    /// Reserves this many starts, if the first of them is due soon, and gives back starts of this pacer that were not used.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer or others were always quicker, [`Error::Unreadable`] if what
    /// stands there is no time: nothing may start then.
    pub async fn reserve(&mut self, count: u32, unused: &BTreeSet<Start>) -> Result<Reserved, Error> {
        let interval = self.rate.interval();
        let mut delays = delays();
        for _ in 0..TRIES_MAX {
            let (here, there) = self.clock().await?;
            let (next, seq) = self.next().await?;
            let now = there.plus(here.elapsed());
            let local = |at: Timestamp| here + at.since(there);
            match row::take(self.returned(next, unused), now, self.rate, count) {
                Err(at) => return Ok(Reserved::NotBefore(local(at))),
                Ok((first, after)) if self.write(after, seq).await? => {
                    let ats = (0..count).map(|n| first.plus(interval.saturating_mul(n)));
                    return Ok(Reserved::Starts(ats.map(|at| Start { at, due: local(at) }).collect()));
                }
                Ok(_) => tokio::time::sleep(delays.next()).await,
            }
        }
        Err(Error::Unavailable("other workers were always quicker".into()))
    }

    /// Reserves one start when it is due soon, unless it would be later than this: then it is left to others, and the answer
    /// is a moment before which there is none.
    ///
    /// # Errors
    /// As [`Pacer::reserve`].
    pub async fn reserve_before(&mut self, end: Instant) -> Result<Result<Instant, Instant>, Error> {
        loop {
            match self.reserve(1, &BTreeSet::new()).await? {
                Reserved::Starts(starts) => {
                    let due = starts.first().map_or(end, |start| start.due);
                    if due <= end {
                        return Ok(Ok(due));
                    }
                    self.give_back(&starts.into_iter().collect()).await?;
                    return Ok(Err(due));
                }
                Reserved::NotBefore(at) if at > end => return Ok(Err(at)),
                Reserved::NotBefore(at) => tokio::time::sleep_until(at).await,
            }
        }
    }

    /// Gives back starts of this pacer that were not used, as far as nobody has reserved behind them.
    ///
    /// # Errors
    /// As [`Pacer::reserve`]; they are lost then.
    pub async fn give_back(&self, unused: &BTreeSet<Start>) -> Result<(), Error> {
        let mut delays = delays();
        for _ in 0..TRIES_MAX {
            let (next, seq) = self.next().await?;
            let earlier = self.returned(next, unused);
            if earlier == next || self.write(earlier, seq).await? {
                return Ok(());
            }
            tokio::time::sleep(delays.next()).await;
        }
        Err(Error::Unavailable("other workers were always quicker".into()))
    }

    fn returned(&self, next: Timestamp, unused: &BTreeSet<Start>) -> Timestamp {
        let unused: Vec<_> = unused.iter().map(|start| start.at).collect();
        row::returned(next, self.rate, &unused)
    }

    /// The time of the next free start, and the message that says it.
    async fn next(&self) -> Result<(Timestamp, u64), Error> {
        let last = self.bus.last(&format!("KV_{}", bucket::PACE), &self.subject).await?;
        let Some(last) = last else { return Ok((Timestamp::default(), 0)) };
        Ok((parse(&last.payload)?, last.seq))
    }

    /// Writes the time of the next start unless somebody has written since. False if somebody has.
    async fn write(&self, next: Timestamp, seq: u64) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", seq.to_string().as_str());
        let text = next.nanos().to_string();
        match self.bus.publisher().publish(self.subject.clone(), Some(headers), text.into()).await?.await {
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

/// The waits of those that somebody was quicker than.
fn delays() -> Delays {
    Delays::new(&Policy { initial: Duration::from_millis(2), max: Duration::from_millis(50), ..Policy::default() })
}

fn parse(payload: &[u8]) -> Result<Timestamp, Error> {
    let nanos = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
    nanos.map(Timestamp::from_nanos).ok_or_else(|| Error::Unreadable("the time of an agent's next start".into()))
}
