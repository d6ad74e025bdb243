//! Tasks that were handed out, and the count of them that wakes the puller.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_nats::connection::State;
use async_nats::{Client, Subject};
use bytes::Bytes;
use kapelle_proto::subject::TaskSubject;
use kapelle_types::Timestamp;
use tokio::sync::{Notify, watch};

use super::ack::AckInfo;

/// The count of held tasks, shared between the puller and what it handed out.
#[derive(Debug)]
pub(super) struct Credit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    /// Counts connections: see [`Delivery::ack`].
    epochs: watch::Receiver<u64>,
    held: AtomicUsize,
    /// The puller wants to be woken when `held` falls to this; -1 if never.
    wake_at: AtomicI64,
    freed: Notify,
}

impl Credit {
    pub(super) fn new(client: Client, epochs: watch::Receiver<u64>) -> Self {
        let (held, wake_at) = (AtomicUsize::new(0), AtomicI64::new(-1));
        Self(Arc::new(Shared { client, epochs, held, wake_at, freed: Notify::new() }))
    }

    pub(super) fn held(&self) -> usize {
        self.0.held.load(Ordering::SeqCst)
    }

    /// Wakes the puller when no more than this many are held. False if that is so already.
    pub(super) fn wake_at(&self, held: Option<usize>) -> bool {
        let threshold = held.and_then(|h| i64::try_from(h).ok()).unwrap_or(-1);
        self.0.wake_at.store(threshold, Ordering::SeqCst);
        held.is_none_or(|h| self.held() > h)
    }

    pub(super) async fn freed(&self) {
        self.0.freed.notified().await;
    }

    pub(super) fn hand_out(&self, subject: TaskSubject, payload: Bytes, ack: AckInfo, reply: Subject) -> Delivery {
        self.0.held.fetch_add(1, Ordering::SeqCst);
        Delivery {
            subject,
            payload,
            delivered: ack.delivered,
            stream_seq: ack.stream_seq,
            stored_at: ack.stored_at,
            pending: ack.pending,
            reply,
            epoch: *self.0.epochs.borrow(),
            credit: Arc::clone(&self.0),
        }
    }
}

/// A task that this worker holds. Dropping it gives its credit back; without an acknowledgement the broker delivers it
/// again when the lease is over.
#[derive(Debug)]
pub struct Delivery {
    /// Which attempt, by the subject that it was queued on.
    pub subject: TaskSubject,
    /// The task as the coordinator wrote it; not decoded yet.
    pub payload: Bytes,
    /// How often it was delivered, this time included. More than 1: a worker was lost with it.
    pub delivered: u64,
    /// Its sequence in TASKS.
    pub stream_seq: u64,
    /// When it was queued, by the broker's clock.
    pub stored_at: Timestamp,
    /// How many tasks waited in the queue behind it.
    pub pending: u64,
    reply: Subject,
    epoch: u64,
    credit: Arc<Shared>,
}

impl Delivery {
    /// Takes the task out of the queue. Sent and not awaited: if it is lost the task comes again, is reported as lost, and
    /// that report is about an attempt that is decided.
    ///
    /// Not sent at all if the connection is another than the task came by. An acknowledgement names a sequence, and a
    /// broker that lost the end of TASKS in a crash gives the same sequences to other tasks: it would take one of those out.
    pub async fn ack(self) {
        let client = &self.credit.client;
        if *self.credit.epochs.borrow() != self.epoch || client.connection_state() != State::Connected {
            tracing::debug!(subject = %self.subject, "not acknowledged: the connection is another one");
            return;
        }
        let sent = client.publish(self.reply.clone(), Bytes::from_static(b"+ACK")).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "an acknowledgement could not be sent: the connection is closed");
        }
    }

    /// The lease on this task, for [`super::TaskPuller::renew`].
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease(self.reply.clone())
    }
}

/// The right to a task for a while. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease(pub(super) Subject);

impl Drop for Delivery {
    fn drop(&mut self) {
        let left = self.credit.held.fetch_sub(1, Ordering::SeqCst) - 1;
        let threshold = self.credit.wake_at.load(Ordering::SeqCst);
        if i64::try_from(left).is_ok_and(|left| left <= threshold) {
            self.credit.freed.notify_one();
        }
    }
}
