//! Schedules: one record a schedule in the bucket `schedules`, under its name, with its manifest and what it has done.
//!
//! A record is only written over the one that its writer has seen, so that of two who decide at once one hears of it. What
//! schedules mean is decided elsewhere.

use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, PurgeErrorKind, Store, UpdateErrorKind};
use futures::StreamExt;
use kapelle_proto::bucket;
use kapelle_schedule::Ledger;
use kapelle_types::{Caller, ScheduleName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{Bus, Error, Refusal};

/// Records that may wait for a reader.
const WATCH_WAITING_MAX: usize = 1_024;

/// A schedule and what it has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The manifest as JSON.
    pub manifest: Value,
    /// Who applied it: its runs are theirs.
    pub applied_by: Caller,
    /// When.
    pub applied_at: Timestamp,
    /// When a schedule of this name was made; it tells the runs of one that was deleted apart.
    pub created_at: Timestamp,
    /// What it has done.
    pub ledger: Ledger,
}

/// A record with the revision that the next one has to follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The record.
    pub record: Record,
    /// Its revision.
    pub revision: u64,
}

/// What followers are told.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A schedule as it is now; `None` if it was deleted.
    Schedule(ScheduleName, Option<Box<Seen>>),
    /// Everything that was there has been told.
    CaughtUp,
}

/// The bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schedules {
    store: Store,
    bus: Bus,
}

impl Schedules {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::SCHEDULES).await.map_err(Error::unavailable)?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is none.
    pub async fn get(&self, name: &ScheduleName) -> Result<Option<Seen>, Error> {
        let entry = self.store.entry(name.as_str()).await.map_err(Error::unavailable)?;
        let entry = entry.filter(|entry| entry.operation == Operation::Put);
        entry.map(|entry| read(&entry)).transpose()
    }

    /// Makes a schedule, and gives its revision.
    ///
    /// # Errors
    /// Refused with `NotFirst` if there is one; [`Error::Unavailable`] while the broker is not ready.
    pub async fn create(&self, name: &ScheduleName, record: &Record) -> Result<u64, Error> {
        self.store.create(name.as_str(), bytes(record)?).await.map_err(|e| match e.kind() {
            CreateErrorKind::AlreadyExists => overtaken(name),
            _ => Error::unavailable(e),
        })
    }

    /// Writes a record over the one that was seen, and gives its revision.
    ///
    /// # Errors
    /// Refused with `NotFirst` if there is another one by now; [`Error::Unavailable`] while the broker is not ready.
    pub async fn update(&self, name: &ScheduleName, record: &Record, seen: u64) -> Result<u64, Error> {
        self.store.update(name.as_str(), bytes(record)?, seen).await.map_err(|e| match e.kind() {
            UpdateErrorKind::WrongLastRevision => overtaken(name),
            _ => Error::unavailable(e),
        })
    }

    /// Deletes the schedule that was seen.
    ///
    /// # Errors
    /// As [`Schedules::update`].
    pub async fn delete(&self, name: &ScheduleName, seen: u64) -> Result<(), Error> {
        self.store.purge_expect_revision(name.as_str(), Some(seen)).await.map_err(|e| match e.kind() {
            PurgeErrorKind::WrongLastRevision => overtaken(name),
            _ => Error::unavailable(e),
        })
    }

    /// All schedules, then every change. The channel closes when the watch breaks off (a lost connection): watch again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn watch(&self) -> Result<mpsc::Receiver<News>, Error> {
        let there = self.bus.stream_state(&format!("KV_{}", bucket::SCHEDULES)).await?;
        let mut watch = self.store.watch_with_history(">").await.map_err(Error::unavailable)?;
        let (sender, receiver) = mpsc::channel(WATCH_WAITING_MAX);
        tokio::spawn(async move {
            let mut caught_up = there.messages == 0;
            if caught_up && sender.send(News::CaughtUp).await.is_err() {
                return;
            }
            loop {
                let entry = tokio::select! {
                    () = sender.closed() => return,
                    entry = watch.next() => entry,
                };
                let Some(Ok(entry)) = entry else { return };
                if let Some(news) = news(&entry)
                    && sender.send(news).await.is_err()
                {
                    return;
                }
                if entry.delta == 0
                    && !std::mem::replace(&mut caught_up, true)
                    && sender.send(News::CaughtUp).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

fn news(entry: &Entry) -> Option<News> {
    let name = entry.key.parse().ok()?;
    if entry.operation != Operation::Put {
        return Some(News::Schedule(name, None));
    }
    match read(entry) {
        Ok(seen) => Some(News::Schedule(name, Some(Box::new(seen)))),
        Err(error) => {
            tracing::warn!(schedule = %name, %error, "a schedule cannot be read and stands still");
            None
        }
    }
}

fn read(entry: &Entry) -> Result<Seen, Error> {
    let record = serde_json::from_slice(&entry.value).map_err(|e| Error::Unreadable(format!("{}: {e}", entry.key)))?;
    Ok(Seen { record, revision: entry.revision })
}

fn bytes(record: &Record) -> Result<bytes::Bytes, Error> {
    serde_json::to_vec(record).map(Into::into).map_err(|e| Error::Unreadable(e.to_string()))
}

fn overtaken(name: &ScheduleName) -> Error {
    Error::Refused { refusal: Refusal::NotFirst, message: format!("schedule {name} was changed meanwhile") }
}
