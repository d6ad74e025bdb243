//! The task queue: publish an attempt, take it out, say how much waits.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use kapelle_engine::TaskToken;
use kapelle_proto::stream;
use kapelle_proto::subject::TaskSubject;
use kapelle_types::{AgentVersion, Rate, Timestamp, Usd, printed};
use serde::Deserialize;

use crate::direct::header;
use crate::leader;
use crate::publish::Acknowledgement;
use crate::{Bus, Error};

/// The header with which a withdrawal shows the token of the attempt that it is about.
const TOKEN_HEADER: &str = "Kapelle-Task-Token";

/// How long a queue may take to tell about itself.
const TOLD_WAIT_MAX: Duration = Duration::from_secs(3);

/// The name of the durable consumer that is the queue of an agent version.
#[must_use]
pub fn queue_name(agent: &AgentVersion) -> String {
    format!("{}-{}", agent.name, agent.version.token())
}

/// How much waits in the queue of one agent version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Whose queue.
    pub agent: AgentVersion,
    /// Tasks that no worker has.
    pub pending: u64,
    /// Tasks that workers have.
    pub in_flight: u64,
    /// Of these, the ones that were delivered more than once.
    pub redelivered: u64,
    /// Tasks that the fleet may have at once.
    pub max_in_flight: u64,
    /// Whether the broker gives none of them out.
    pub stopped: bool,
}

/// What the fleet as a whole keeps about the tasks of one agent version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Tasks that workers may have at a time.
    pub concurrency: u32,
    /// How often a task may start.
    pub rate: Option<Rate>,
    /// What its tasks may cost together in a UTC day.
    pub cost_per_day: Option<Usd>,
    /// Whether none of its tasks is given out.
    pub stopped: bool,
}

/// The names under which a queue tells its limits.
const RATE: &str = "kapelle.rate";
const COST_PER_DAY: &str = "kapelle.cost_per_day_micro_usd";

impl QueueLimits {
    /// Nothing but a number of tasks at a time.
    #[must_use]
    pub const fn of(concurrency: u32) -> Self {
        Self { concurrency, rate: None, cost_per_day: None, stopped: false }
    }

    pub(crate) fn metadata(&self) -> HashMap<String, String> {
        let rate = self.rate.map(|it| (RATE.to_owned(), it.to_string()));
        let day = self.cost_per_day.map(|it| (COST_PER_DAY.to_owned(), it.micros().to_string()));
        rate.into_iter().chain(day).collect()
    }
}

/// What a queue tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// What the workers have to keep.
    pub rate: Option<Rate>,
    /// The same.
    pub cost_per_day: Option<Usd>,
    /// Whether none of its tasks is to be worked at.
    pub stopped: bool,
    /// When the broker answered, by its own clock.
    pub at: Timestamp,
}

/// The parts of the broker's answer about a consumer that matter here.
#[derive(Deserialize)]
struct Answer {
    config: Option<Declared>,
    ts: Option<String>,
    #[serde(default)]
    paused: bool,
}

#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    metadata: HashMap<String, String>,
}

impl Told {
    fn read(answer: &[u8]) -> Result<Self, Error> {
        let unreadable = |what: &str| Error::Unreadable(format!("a queue's {what}"));
        let answer: Answer = serde_json::from_slice(answer).map_err(|_| unreadable("description"))?;
        let declared = answer.config.as_ref().ok_or_else(|| Error::NotFound("the queue".into()))?.metadata.clone();
        let rate = declared.get(RATE).map(|text| text.parse()).transpose().map_err(|_| unreadable("rate"))?;
        let day = declared.get(COST_PER_DAY).map(|text| text.parse()).transpose();
        let day = day.map_err(|_| unreadable("cost per day"))?;
        let at = answer.ts.as_deref().and_then(Timestamp::parse).ok_or_else(|| unreadable("time"))?;
        Ok(Self { rate, cost_per_day: day.map(Usd::from_micros), stopped: answer.paused, at })
    }
}

/// An attempt that is withdrawn. Workers of other agents can say so too: the broker sends its answers wherever whoever asks
/// wants them. So nothing is to be done about it unless it shows the attempt's own token.
#[derive(Debug)]
pub struct Withdrawal {
    /// The attempt.
    pub task: TaskSubject,
    /// What it shows.
    pub token: Option<TaskToken>,
}

/// What workers of an agent version hear beside their tasks.
#[derive(Debug)]
pub enum QueueNews {
    /// An attempt that nobody waits for any more.
    Withdrawn(Withdrawal),
    /// Their queue is to be looked at: something about it is different. Whoever says so, only the queue's own word counts.
    Look,
}

/// The news that a queue is different.
const LOOK: &[u8] = b"look";

impl QueueNews {
    fn read(message: &async_nats::Message) -> Option<Self> {
        if &*message.payload == LOOK { Some(Self::Look) } else { Withdrawal::read(message).map(Self::Withdrawn) }
    }
}

impl Withdrawal {
    fn read(message: &async_nats::Message) -> Option<Self> {
        let task = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
        let token = header(message, TOKEN_HEADER).and_then(|token| URL_SAFE_NO_PAD.decode(token).ok());
        Some(Self { task, token: token.and_then(|token| TaskToken::from_bytes(&token)) })
    }
}

/// Where workers of an agent version hear what is withdrawn: a core subject, since it is news and no fact.
fn withdrawn(agent: &AgentVersion) -> String {
    format!("kapelle.withdrawn.{}.{}", agent.name, agent.version.token())
}

impl Bus {
    /// Sends an attempt to its queue; the future is the acknowledgement. `AlreadyThere` means that it is queued or running.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn queue_task(&self, task: &TaskSubject, message: Bytes) -> Result<Acknowledgement, Error> {
        self.publisher().publish(printed(task), None, message).await
    }

    /// Takes an attempt out of its queue, delivered or not, and tells the worker that may have it, with the attempt's own token.
    /// Harmless if it is not there. The message to the worker may be lost: then the attempt runs to its end and its report is
    /// ignored.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn withdraw_task(&self, task: &TaskSubject, token: Option<&TaskToken>) -> Result<(), Error> {
        let subject = task.to_string();
        // Not by a purge of its subject: nats-server (2.15.1) then forgets deliveries before it that are not acknowledged, and
        // gives those tasks to nobody any more.
        let there = leader::last(self.jetstream(), stream::TASKS, &subject).await?;
        if let Some(leader::Last::There(message) | leader::Last::Removed(message)) = there {
            self.delete(stream::TASKS, message.sequence).await?;
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(TOKEN_HEADER, URL_SAFE_NO_PAD.encode(token.as_bytes()));
        }
        let sent = self.client().publish_with_headers(withdrawn(&task.agent), headers, subject.into()).await;
        sent.map_err(Error::unavailable)
    }

    /// Tells the workers of an agent version that their queue is to be looked at. It may be lost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn tell_to_look(&self, agent: &AgentVersion) -> Result<(), Error> {
        let sent = self.client().publish(withdrawn(agent), Bytes::from_static(LOOK)).await;
        sent.map_err(Error::unavailable)
    }

    /// What is said of the queue of an agent version from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn queue_news(&self, agent: &AgentVersion) -> Result<impl Stream<Item = QueueNews> + use<>, Error> {
        let messages = self.client().subscribe(withdrawn(agent)).await.map_err(Error::unavailable)?;
        Ok(messages.filter_map(|message| std::future::ready(QueueNews::read(&message))))
    }

    /// What the queue of an agent version tells the workers that serve it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::NotFound`] if there is no such queue,
    /// [`Error::Unreadable`] if it says what this release does not understand.
    pub async fn queue_told(&self, agent: &AgentVersion) -> Result<Told, Error> {
        let subject = format!("$JS.API.CONSUMER.INFO.{}.{}", stream::TASKS, queue_name(agent));
        let asked = tokio::time::timeout(TOLD_WAIT_MAX, self.client().request(subject, Bytes::new()));
        let answer = asked.await.map_err(|_| Error::Unavailable("the queue does not answer".into()))?;
        Told::read(&answer.map_err(Error::unavailable)?.payload)
    }

    /// How much waits in the queue of an agent version.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready or the queue is not there.
    pub async fn queue_state(&self, agent: &AgentVersion) -> Result<QueueState, Error> {
        let name = crate::tasks::queue_name(agent);
        let stream = self.jetstream().get_stream_no_info(stream::TASKS).await.map_err(Error::unavailable)?;
        let info = stream.consumer_info(&name).await.map_err(Error::unavailable)?;
        Ok(QueueState {
            agent: agent.clone(),
            pending: info.num_pending,
            in_flight: info.num_ack_pending as u64,
            redelivered: info.num_redelivered as u64,
            max_in_flight: u64::try_from(info.config.max_ack_pending).unwrap_or(0),
            stopped: info.paused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_tells_what_it_was_declared_with_and_nothing_is_taken_for_no_limit() {
        let limits = QueueLimits {
            rate: "20/s".parse().ok(),
            cost_per_day: Some(Usd::from_micros(1_500_000)),
            ..QueueLimits::of(4)
        };
        let answer = |metadata: &HashMap<String, String>| {
            let ts = "2026-11-22T08:00:00.5Z";
            serde_json::json!({ "config": { "metadata": metadata }, "ts": ts }).to_string()
        };
        let told = Told::read(answer(&limits.metadata()).as_bytes()).unwrap();
        assert_eq!((told.rate, told.cost_per_day), (limits.rate, limits.cost_per_day));
        let none = Told::read(answer(&QueueLimits::of(4).metadata()).as_bytes()).unwrap();
        assert_eq!((none.rate, none.cost_per_day), (None, None));
        for (key, value) in [(RATE, "fast"), (COST_PER_DAY, "-1")] {
            let told = Told::read(answer(&[(key.to_owned(), value.to_owned())].into()).as_bytes());
            assert!(matches!(told, Err(Error::Unreadable(_))), "{told:?}");
        }
        assert!(matches!(Told::read(br#"{"error":{"code":404}}"#), Err(Error::NotFound(_))));
        let paused = br#"{"config":{},"ts":"2026-11-22T08:00:00.5Z","paused":true}"#;
        assert!(Told::read(paused).unwrap().stopped && !none.stopped);
    }
}
