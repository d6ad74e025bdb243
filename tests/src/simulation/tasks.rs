//! The stream `TASKS`: a work queue with one message a subject, leases and counted deliveries.

use std::collections::{BTreeMap, HashMap};

use kapelle_engine::DispatchTask;
use kapelle_types::{RunId, TaskId};

/// Names a task's subject.
pub(crate) type Key = (RunId, TaskId);

/// The queue.
pub(crate) struct Tasks {
    /// When the stream was created: another value is another stream, whose sequences begin anew.
    pub(crate) created: i64,
    next_seq: u64,
    messages: BTreeMap<u64, Message>,
    by_subject: HashMap<Key, u64>,
}

/// A task that is queued or running.
pub(crate) struct Message {
    pub(crate) key: Key,
    pub(crate) task: DispatchTask,
    /// When it was queued, in ms.
    pub(crate) queued_at: u64,
    pub(crate) delivered: u32,
    /// The worker that has it.
    pub(crate) holder: Option<usize>,
    /// It may be given to a worker.
    ready: bool,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self { created: 1, next_seq: 1, messages: BTreeMap::new(), by_subject: HashMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Queues a task; `None` if its subject holds one already.
    pub(crate) fn queue(&mut self, run: RunId, task: DispatchTask, now: u64) -> Option<u64> {
        let key = (run, task.task.clone());
        if self.by_subject.contains_key(&key) {
            return None;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.by_subject.insert(key.clone(), seq);
        self.messages.insert(seq, Message { key, task, queued_at: now, delivered: 0, holder: None, ready: false });
        Some(seq)
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.by_subject.contains_key(key)
    }

    /// A message of the stream of that creation.
    pub(crate) fn get(&mut self, created: i64, seq: u64) -> Option<&mut Message> {
        if self.created == created { self.messages.get_mut(&seq) } else { None }
    }

    /// Makes a task that nobody has ready to be given out. Says which is first in the line, if it is one of them.
    pub(crate) fn first_in_line(&mut self, created: i64, seq: u64) -> Option<u64> {
        self.get(created, seq).filter(|m| m.holder.is_none())?.ready = true;
        self.messages.iter().find(|(_, m)| m.ready && m.holder.is_none()).map(|(seq, _)| *seq)
    }

    /// An acknowledgement names a sequence only. After a re-creation it may hit another task, if that one is delivered.
    pub(crate) fn ack(&mut self, seq: u64) {
        if self.messages.get(&seq).is_some_and(|m| m.holder.is_some()) {
            self.remove(seq);
        }
    }

    /// Takes a subject's message out, delivered or not.
    pub(crate) fn withdraw(&mut self, key: &Key) {
        if let Some(seq) = self.by_subject.get(key).copied() {
            self.remove(seq);
        }
    }

    fn remove(&mut self, seq: u64) {
        if let Some(message) = self.messages.remove(&seq) {
            self.by_subject.remove(&message.key);
        }
    }

    /// Everything is gone; the stream stays.
    pub(crate) fn purge(&mut self) {
        self.messages.clear();
        self.by_subject.clear();
    }

    /// The stream is another one.
    pub(crate) fn recreate(&mut self) {
        self.purge();
        self.created += 1;
        self.next_seq = 1;
    }

    /// When the oldest task was queued, in ms.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.messages.values().next().map(|m| m.queued_at)
    }
}
