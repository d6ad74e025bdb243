//! What is kept of approvals beside the run logs, in the bucket `approvals`.
//!
//! ```text
//!   asked.<run>.<step>         a question that people have to be told of, and what they were told
//!   used.<workflow>.<step>     where the arguments stand that were agreed to last
//!   given.<to>.<from>          who may decide in whose place, by the digests of their names
//! ```
//!
//! No payload is here: what was agreed to stands in the run's log, and who may see that decides who sees it. What people
//! decided is in the logs too; a question that is lost here is asked all the same, and found again by whoever owns its run.

use std::time::Duration;

use async_nats::jetstream::kv::{Entry, Operation, Store};
use futures::StreamExt;
use kapelle_proto::bucket;
use kapelle_types::{Caller, RunId, Sha256, StepId, StepRef, Timestamp, WorkflowName, WorkflowVersion};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{Bus, Error};

/// Changes of questions that may wait for a reader.
const WATCH_WAITING_MAX: usize = 1_024;

/// How long the mark of what was let go stays: longer than a watch takes to hear of it.
const MARK_LIFE: Duration = Duration::from_secs(60);

/// A question to people, as far as they are told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The run.
    pub run: RunId,
    /// The step or member that is held.
    pub step: StepRef,
    /// The run's workflow.
    pub workflow: WorkflowVersion,
    /// What is asked, in one line.
    pub title: String,
    /// Who is asked; every approver if it is empty.
    pub groups: Vec<String>,
    /// What is agreed to, in hexadecimal: it is another one after an edit.
    pub digest: String,
    /// Since when; it tells a question from one that was asked later at the same step.
    pub asked_at: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// When they are told once more.
    pub remind: Vec<Timestamp>,
    /// When more groups may decide, and which.
    pub escalate: Vec<(Timestamp, Vec<String>)>,
    /// How many of its notices were told.
    pub told: usize,
}

/// What was agreed to last at a step, by where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// The run.
    pub run: RunId,
    /// The step or member.
    pub step: StepRef,
    /// The sequence of the entry with which enough had agreed.
    pub agreed: u64,
    /// When it was found that they still may.
    pub at: Timestamp,
}

/// Somebody decides in somebody's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delegation {
    /// Whose word it is.
    pub from: String,
    /// Who says it.
    pub to: String,
    /// For which of the groups that `from` was in when it was given.
    pub groups: Vec<String>,
    /// It is over then.
    pub until: Timestamp,
    /// When it was given.
    pub given_at: Timestamp,
    /// Who gave it, as they were then: whether they might still decide is asked of the policies when it is used.
    pub by: Caller,
}

/// What followers of questions are told.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A question as it is now.
    Asked(Box<Question>),
    /// Nobody has to be told of it any more.
    Settled(RunId, StepRef),
}

/// The bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Approvals {
    store: Store,
    bus: Bus,
}

impl Approvals {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::APPROVALS).await.map_err(Error::unavailable)?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// The question at a step of a run.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn question(&self, run: RunId, step: &StepRef) -> Result<Option<Question>, Error> {
        self.get(asked(run, step)).await
    }

    /// Writes a question down, in the place of an earlier one at its step.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn ask(&self, question: &Question) -> Result<(), Error> {
        self.put(asked(question.run, &question.step), question).await
    }

    /// Lets a question go.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn settle(&self, run: RunId, step: &StepRef) -> Result<(), Error> {
        // A mark that stayed for each question that ever was would fill the bucket.
        self.store.purge_with_ttl(asked(run, step), MARK_LIFE).await.map_err(Error::unavailable)
    }

    /// All questions, then every change. The channel closes when the watch breaks off (a lost connection): watch again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn watch(&self) -> Result<mpsc::Receiver<News>, Error> {
        let mut watch = self.store.watch_with_history("asked.>").await.map_err(Error::unavailable)?;
        let (sender, receiver) = mpsc::channel(WATCH_WAITING_MAX);
        tokio::spawn(async move {
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
            }
        });
        Ok(receiver)
    }

    /// Where it stands what was agreed to last at a step of a workflow.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn used(&self, workflow: &WorkflowName, step: &StepId) -> Result<Option<Used>, Error> {
        self.get(format!("used.{workflow}.{step}")).await
    }

    /// Writes down where it stands.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn keep_used(&self, workflow: &WorkflowName, used: &Used) -> Result<(), Error> {
        self.put(format!("used.{workflow}.{}", used.step.step), used).await
    }

    /// Writes a delegation down, in the place of an earlier one between the same two.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn delegate(&self, delegation: &Delegation) -> Result<(), Error> {
        self.put(given(&delegation.from, &delegation.to), delegation).await
    }

    /// What somebody gave to somebody, whether it is over or not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn delegation(&self, from: &str, to: &str) -> Result<Option<Delegation>, Error> {
        self.get(given(from, to)).await
    }

    /// Takes a delegation back.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn end_delegation(&self, from: &str, to: &str) -> Result<(), Error> {
        self.store.purge_with_ttl(given(from, to), MARK_LIFE).await.map_err(Error::unavailable)
    }

    /// All delegations, also those that are over.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn delegations(&self) -> Result<Vec<Delegation>, Error> {
        let stream = format!("KV_{}", bucket::APPROVALS);
        let filter = format!("$KV.{}.given.>", bucket::APPROVALS);
        self.bus.latest(&stream, filter, false, |message| serde_json::from_slice(&message.payload).ok()).await
    }

    async fn get<T: DeserializeOwned>(&self, key: String) -> Result<Option<T>, Error> {
        let bytes = self.store.get(key).await.map_err(Error::unavailable)?;
        // What a newer release wrote differently is as if it were not there: nothing is decided by it here.
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn put(&self, key: String, value: &impl Serialize) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|e| Error::Unreadable(e.to_string()))?;
        self.store.put(key, bytes.into()).await.map(drop).map_err(Error::unavailable)
    }
}

/// A member's colon may not stand in a key.
fn asked(run: RunId, step: &StepRef) -> String {
    format!("asked.{run}.{}", step.to_string().replace(':', "/"))
}

/// Names of persons have signs that keys may not have.
fn given(from: &str, to: &str) -> String {
    format!("given.{}.{}", Sha256::of(to.as_bytes()), Sha256::of(from.as_bytes()))
}

fn news(entry: &Entry) -> Option<News> {
    if entry.operation == Operation::Put {
        return serde_json::from_slice(&entry.value).ok().map(|question| News::Asked(Box::new(question)));
    }
    let (run, step) = entry.key.strip_prefix("asked.")?.split_once('.')?;
    Some(News::Settled(run.parse().ok()?, step.replace('/', ":").parse().ok()?))
}
