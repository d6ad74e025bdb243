//! Who is there: one record a living worker or coordinator, for people to see. Nothing is decided by it.
//!
//! ```text
//!   Announcer ──every 3 s and when it changes, Nats-TTL 15 s──▶ $KV.presence.<kind>.<id> ──list──▶ API, CLI, console
//! ```
//!
//! A record outlives its owner's last sign of life by the TTL, which is longer than a fail-over of the broker: presence that
//! blinks in an election would say nothing. Written by plain publishes, since the client library's own call drops the TTL
//! when the key has an expiry marker.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use kapelle_proto::bucket;
use kapelle_types::{AgentVersion, Partition, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::layout::PRESENCE_TTL;
use crate::{Bus, Error};

/// How often a record is renewed: five times a TTL, so that four may be lost.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long a farewell may take when the broker is gone too.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What a living part says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id: letters, digits, `-` and `_`; a worker's may have one dot.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// A worker's agent versions.
    #[serde(default)]
    pub agents: Vec<AgentVersion>,
    /// How many tasks a worker may execute at once.
    #[serde(default)]
    pub slots: u32,
    /// How many it executes now.
    #[serde(default)]
    pub slots_used: u32,
    /// A coordinator's partitions.
    #[serde(default)]
    pub partitions: Vec<Partition>,
    /// When it was started, by its own clock.
    pub started_at: Timestamp,
    /// The host's name.
    pub host: String,
    /// Whether it takes nothing new and will leave.
    #[serde(default)]
    pub draining: bool,
    /// Agents of which a worker takes no tasks for now.
    #[serde(default)]
    pub held: Vec<Held>,
    /// The version of Kapelle that it runs.
    pub version: String,
}

/// An agent of which a worker takes no tasks for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub agent: AgentVersion,
    /// Why, for people.
    pub why: String,
}

/// What announces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A process that executes agents.
    Worker,
    /// A process that drives runs.
    Coordinator,
}

impl Record {
    fn subject(&self) -> String {
        let kind = match self.kind {
            Kind::Worker => "worker",
            Kind::Coordinator => "coordinator",
        };
        format!("$KV.{}.{kind}.{}", bucket::PRESENCE, self.id)
    }
}

/// Keeps a record alive until it is stopped or dropped.
#[derive(Debug)]
pub struct Announcer {
    stop: oneshot::Sender<()>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Announcer {
    /// Announces at once and then in good time; `record` is asked each time.
    pub fn start(bus: Bus, record: impl Fn() -> Record + Send + 'static) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let changed = Arc::new(Notify::new());
        let news = Arc::clone(&changed);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(RENEWAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    () = news.notified() => {}
                    _ = tick.tick() => {}
                }
                // Bounded by the JetStream timeout; a lost one is made good by the next.
                if let Err(error) = bus.announce(&record()).await {
                    tracing::debug!(%error, "presence could not be renewed");
                }
            }
            let farewell = record();
            if !matches!(tokio::time::timeout(FAREWELL_MAX, bus.leave(&farewell)).await, Ok(Ok(()))) {
                tracing::debug!(id = farewell.id, "presence could not be removed; it expires by itself");
            }
        });
        Self { stop, changed, task }
    }

    /// What the record says has changed: announces it soon instead of in good time.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Removes the record and waits until that is done.
    pub async fn stop(self) {
        let _ = self.stop.send(()); // it fails only if the task has ended
        let _ = self.task.await;
    }
}

impl Bus {
    /// Writes a presence record that lives for the TTL.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not take it in time.
    pub async fn announce(&self, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec(record).map_err(|e| Error::Unreadable(e.to_string()))?;
        self.put_presence(record, HeaderMap::new(), bytes).await
    }

    /// Removes a presence record.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not take it in time.
    pub async fn leave(&self, record: &Record) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "PURGE");
        self.put_presence(record, headers, Vec::new()).await
    }

    /// Everybody who is there, in the order of their ids.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn present(&self) -> Result<Vec<Record>, Error> {
        let request = json!({ "multi_last": [format!("$KV.{}.>", bucket::PRESENCE)] });
        let answer = self.direct_get(&format!("KV_{}", bucket::PRESENCE), &request).await?;
        // Markers of expired and removed records have no content.
        let record = |message: &async_nats::Message| serde_json::from_slice(&message.payload).ok();
        let mut records: Vec<Record> = answer.messages.iter().filter_map(record).collect();
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    async fn put_presence(&self, record: &Record, mut headers: HeaderMap, bytes: Vec<u8>) -> Result<(), Error> {
        headers.insert("Nats-TTL", format!("{}s", PRESENCE_TTL.as_secs()).as_str());
        self.publisher().publish(record.subject(), Some(headers), bytes.into()).await?.await.map(drop)
    }
}
