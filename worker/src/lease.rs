//! The tasks of one agent that this worker holds, and which of their leases are due.
//!
//! The table owns the deliveries. A lease is renewed from the consumer's loop, never by the attempt itself: an attempt
//! that hangs, or one that blocks the whole process, must not keep its task for ever.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kapelle_bus::pull::{Delivery, Lease};
use kapelle_engine::TaskToken;
use kapelle_proto::Task;
use kapelle_types::{RunId, TaskId, limits};
use tokio::time::Instant;

/// How often a lease is renewed: twice may fail.
pub(crate) const RENEWAL: Duration = Duration::from_millis(limits::LEASE.as_millis() as u64 / 3);
/// How long after its timeout an attempt may take to be given up and reported.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Names a task inside one agent's table.
pub(crate) type Key = (RunId, TaskId);

/// What is held, by attempt.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<Key, Held>>);

#[derive(Debug)]
struct Held {
    delivery: Delivery,
    renew_at: Instant,
    /// Not renewed after this; `None` while the task waits for a slot or its report for the broker.
    until: Option<Instant>,
}

impl Leases {
    /// Takes a delivery into the table. False if the very attempt is held already: a lease ran out while the broker was away,
    /// the attempt goes on, and from now on the new delivery stands for it.
    pub(crate) fn hold(&self, delivery: Delivery, now: Instant) -> bool {
        let key = (delivery.subject.run_id, delivery.subject.task.clone());
        let mut table = self.table();
        let until = table.get(&key).map(|held| held.until);
        table.insert(key, Held { delivery, renew_at: now + RENEWAL, until: until.flatten() });
        until.is_none()
    }

    /// The attempt has started: its lease ends with its time.
    pub(crate) fn limit(&self, key: &Key, until: Option<Instant>) {
        if let Some(held) = self.table().get_mut(key) {
            held.until = until;
        }
    }

    /// Gives a delivery out of the table, to be acknowledged.
    pub(crate) fn release(&self, key: &Key) -> Option<Delivery> {
        self.table().remove(key).map(|held| held.delivery)
    }

    /// The leases that are due, which count as renewed from here on.
    pub(crate) fn due(&self, now: Instant) -> Vec<Lease> {
        let mut table = self.table();
        let due = table.values_mut().filter(|h| h.renew_at <= now && h.until.is_none_or(|until| now < until));
        due.map(|held| {
            held.renew_at = now + RENEWAL;
            held.delivery.lease()
        })
        .collect()
    }

    /// The attempts that are being executed, not those that wait for a slot or for their report, with their tokens.
    pub(crate) fn running(&self) -> Vec<(Key, Option<TaskToken>)> {
        let table = self.table();
        let running = table.iter().filter(|(_, held)| held.until.is_some());
        running.map(|(key, held)| (key.clone(), Task::token_in(&held.delivery.payload))).collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        // Nothing in here panics half-way, so a poisoned table is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
