//! What is known of turns by all coordinators: which agent versions' tasks take turns, and who holds the places that limits by
//! key give.
//!
//! ```text
//!   turns bucket:  by.<agent>.<version>               there: its tasks take turns
//!                  held.<agent>.<version>.<digest>    who holds the places of one key, and when the next may start
//! ```
//!
//! Places are written over what was seen, so that of two who give out the same one hears of it: a limit holds whoever thinks that
//! it gives out the turns.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::kv::{Operation, Store};
use futures::StreamExt;
use kapelle_proto::bucket;
use kapelle_types::{AgentVersion, Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::leader::{self, Last};
use crate::{Bus, Error};

/// Agent versions that may wait for a reader.
const WATCH_WAITING_MAX: usize = 1_024;
/// What the marks of agent versions begin with.
const MARK: &str = "by.";

/// Who holds the places of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The key.
    #[serde(default)]
    pub key: String,
    /// The attempts that hold one, by the subjects at which they are queued, each with when it was given out.
    pub held: Vec<(String, Timestamp)>,
    /// When the next may start, if a rate limits the key.
    #[serde(default)]
    pub next: Timestamp,
}

impl Places {
    /// The places of a key, all free.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }
}

/// Places as they were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who holds them.
    pub places: Places,
    /// What the next writing has to follow; 0 if there never was one.
    pub revision: u64,
}

/// The bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns {
    store: Store,
    bus: Bus,
}

impl Turns {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::TURNS).await.map_err(Error::unavailable)?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// Says that the tasks of an agent version take turns from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn take_turns(&self, agent: &AgentVersion) -> Result<(), Error> {
        self.bus.count_waiting(agent).await?;
        self.store.put(mark(agent), "{}".into()).await.map(drop).map_err(Error::unavailable)
    }

    /// All agent versions whose tasks take turns, then those that come. The channel closes when the watch breaks off.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn watch(&self) -> Result<mpsc::Receiver<AgentVersion>, Error> {
        let mut watch = self.store.watch_with_history(format!("{MARK}>")).await.map_err(Error::unavailable)?;
        let (sender, receiver) = mpsc::channel(WATCH_WAITING_MAX);
        tokio::spawn(async move {
            loop {
                let entry = tokio::select! {
                    () = sender.closed() => return,
                    entry = watch.next() => entry,
                };
                let Some(Ok(entry)) = entry else { return };
                let agent = if entry.operation == Operation::Put { marked(&entry.key) } else { None };
                if let Some(agent) = agent
                    && sender.send(agent).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    /// The places of all keys of an agent version, from whichever replica answers: whoever writes over an old state hears of it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub async fn all_places(&self, agent: &AgentVersion) -> Result<Vec<Seen>, Error> {
        let filter = format!("$KV.{}.held.{}.{}.*", bucket::TURNS, agent.name, agent.version.token());
        let seen = |message: async_nats::jetstream::Message| {
            let places: Places = serde_json::from_slice(&message.payload).ok()?;
            Some(Seen { places, revision: message.info().ok()?.stream_sequence })
        };
        self.bus.latest(&format!("KV_{}", bucket::TURNS), filter, false, seen).await
    }

    /// The places of a key, by the word of the leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the leader did not answer, [`Error::Unreadable`] if what stands there says nothing of places.
    pub async fn places(&self, agent: &AgentVersion, key: &str) -> Result<Seen, Error> {
        let stream = format!("KV_{}", bucket::TURNS);
        match leader::last(self.bus.jetstream(), &stream, &subject(agent, key)).await? {
            None => Ok(Seen { places: Places::of(key), revision: 0 }),
            Some(Last::Removed(message)) => Ok(Seen { places: Places::of(key), revision: message.sequence }),
            Some(Last::There(message)) => {
                let places = serde_json::from_slice(&message.payload);
                let places = places.map_err(|e| Error::Unreadable(format!("the places of a key of {agent}: {e}")))?;
                Ok(Seen { places, revision: message.sequence })
            }
        }
    }

    /// Writes the places of a key over what was seen, and gives the new revision; `None` if somebody has written since.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready: it may or may not be written.
    pub async fn write(&self, agent: &AgentVersion, key: &str, seen: &Seen) -> Result<Option<u64>, Error> {
        let bytes = serde_json::to_vec(&seen.places).map_err(|e| Error::Unreadable(e.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, seen.revision.to_string().as_str());
        match self.bus.publisher().publish(subject(agent, key), Some(headers), bytes.into()).await?.await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.refusal() == Some(crate::Refusal::NotFirst) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets the places of a key that nobody holds, as they were seen.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, or if somebody has written since.
    pub async fn forget(&self, agent: &AgentVersion, key: &str, revision: u64) -> Result<(), Error> {
        self.store.purge_expect_revision(places_key(agent, key), Some(revision)).await.map_err(Error::unavailable)
    }
}

fn mark(agent: &AgentVersion) -> String {
    format!("{MARK}{}.{}", agent.name, agent.version.token())
}

fn marked(key: &str) -> Option<AgentVersion> {
    let (name, version) = key.strip_prefix(MARK)?.split_once('.')?;
    Some(AgentVersion { name: name.parse().ok()?, version: kapelle_types::Version::from_token(version).ok()? })
}

/// The digest, since a key may be any text.
fn places_key(agent: &AgentVersion, key: &str) -> String {
    format!("held.{}.{}.{}", agent.name, agent.version.token(), Sha256::of(key.as_bytes()))
}

fn subject(agent: &AgentVersion, key: &str) -> String {
    format!("$KV.{}.{}", bucket::TURNS, places_key(agent, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_name_their_agent_version() {
        let agent: AgentVersion = "licence-review@2.0.0-rc.1".parse().unwrap();
        assert_eq!(marked(&mark(&agent)), Some(agent.clone()));
        assert_eq!(marked(&places_key(&agent, "by.x.1_0_0")), None);
    }
}
