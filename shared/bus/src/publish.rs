//! Publishing to a stream with thousands of acknowledgements outstanding.
//!
//! The client library gives every publish an inbox name of its own, a timer, a boxed future and an answer that is parsed
//! twice; on the hot path these were a fifth of all allocations of a coordinator. Here all acknowledgements of a connection
//! come to one inbox, are told apart by a number, and one sweep sees to those that never come.
//!
//! ```text
//!   publish ──number n, reply <inbox>.n──▶ broker ──{"stream":…,"seq":…} on <inbox>.n──▶ reader ──▶ Acknowledgement n
//! ```

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{Client, HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{Error, Refusal};

/// How long an acknowledgement may take. Short, so that a publish that met an election is repeated soon.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often overdue acknowledgements are looked for.
const SWEEP: Duration = Duration::from_millis(250);
/// Publishes whose acknowledgement is awaited, per connection; beyond it publishers wait.
const UNANSWERED_MAX: usize = 20_000;
/// The broker's code for "the subject's last sequence is not the expected one".
const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// The same while a write that decides it is still under way in a replicated stream: ask again.
const LAST_SEQUENCE_UNDECIDED: u64 = 10_164;

/// Publishes over one connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    client: Client,
    inbox: String,
    room: Arc<Semaphore>,
    unanswered: Arc<Mutex<Unanswered>>,
    reader: AbortHandle,
}

/// The broker's answer to one publish: resolves with the sequence under which it is stored.
#[derive(Debug)]
#[must_use = "what is not acknowledged may not be stored"]
pub struct Acknowledgement(oneshot::Receiver<Result<u64, Error>>);

impl Publisher {
    /// Opens the inbox.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is closed.
    pub(crate) async fn open(client: Client) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(Error::unavailable)?;
        let unanswered = Arc::new(Mutex::new(Unanswered::default()));
        let reader = tokio::spawn(read(answers, Arc::clone(&unanswered))).abort_handle();
        Ok(Self { client, inbox, room: Arc::new(Semaphore::new(UNANSWERED_MAX)), unanswered, reader })
    }

    /// Sends one message. Waits only while too many are unanswered or the connection's buffer is full.
    ///
    /// # Errors
    /// Refused with `TooLarge` before it is sent; [`Error::Unavailable`] if the connection is closed.
    pub(crate) async fn publish(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Acknowledgement, Error> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(Error::unavailable)?;
        let (answer, acknowledgement) = oneshot::channel();
        let number = lock(&self.unanswered).add(Waiting { answer, until: None, _room: room });
        let sending = Sending { unanswered: &self.unanswered, number };
        let reply = format!("{}.{number}", self.inbox);
        match headers {
            None => self.client.publish_with_reply(subject, reply, payload).await,
            Some(headers) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
        }
        .map_err(|error| not_sent(&error))?;
        sending.sent();
        Ok(Acknowledgement(acknowledgement))
    }
}

/// A publish that is not in the connection's buffer yet: its time does not run, and if it is given up it leaves no trace.
struct Sending<'p> {
    unanswered: &'p Mutex<Unanswered>,
    number: u64,
}

impl Sending<'_> {
    fn sent(self) {
        lock(self.unanswered).sent(self.number, Instant::now() + ACK_TIMEOUT);
        std::mem::forget(self);
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        lock(self.unanswered).take(self.number);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Future for Acknowledgement {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = || Err(Error::Unavailable("the connection is closed".into()));
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| closed()))
    }
}

/// Hands answers to those who wait for them, and gives up for them when none comes.
async fn read(mut answers: Subscriber, unanswered: Arc<Mutex<Unanswered>>) {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        tokio::select! {
            // First, so that an answer that has come is not given up for lost.
            biased;
            message = answers.next(), if open => {
                // A connection that is closed for good answers nothing any more; who waits is told by the sweep.
                let Some(message) = message else { open = false; continue };
                let number = message.subject.rsplit('.').next().and_then(|n| n.parse().ok());
                if let Some(waiting) = number.and_then(|n| lock(&unanswered).take(n)) {
                    let _ = waiting.answer.send(stored(&message));
                }
            }
            _ = sweep.tick() => lock(&unanswered).give_up(Instant::now()),
        }
    }
}

/// Who waits for which number. Numbers are given out in order and their answers come roughly in order.
#[derive(Debug, Default)]
struct Unanswered {
    /// The number of the front slot.
    first: u64,
    slots: VecDeque<Option<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<u64, Error>>,
    /// When it is given up; not before it is sent.
    until: Option<Instant>,
    _room: OwnedSemaphorePermit,
}

impl Unanswered {
    fn add(&mut self, waiting: Waiting) -> u64 {
        self.slots.push_back(Some(waiting));
        self.first + self.slots.len() as u64 - 1
    }

    /// From now on its time runs, unless the answer was quicker.
    fn sent(&mut self, number: u64, until: Instant) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(Some(waiting)) = at.and_then(|at| self.slots.get_mut(at)) {
            waiting.until = Some(until);
        }
    }

    /// `None` for a number that was answered or given up already, or never given out.
    fn take(&mut self, number: u64) -> Option<Waiting> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiting = self.slots.get_mut(at)?.take();
        self.close_up();
        waiting
    }

    fn close_up(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Tells those whose time is over: the broker may or may not have it.
    fn give_up(&mut self, now: Instant) {
        for slot in &mut self.slots {
            if let Some(waiting) = slot.take_if(|waiting| waiting.until.is_some_and(|until| until <= now)) {
                let late = Error::Unavailable(format!("no acknowledgement within {} s", ACK_TIMEOUT.as_secs()));
                let _ = waiting.answer.send(Err(late));
            }
        }
        self.close_up();
    }
}

fn lock(unanswered: &Mutex<Unanswered>) -> MutexGuard<'_, Unanswered> {
    // Nothing in here panics half-way, so a poisoned table is whole.
    unanswered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the broker writes into an acknowledgement; the rest of it is of no interest.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads an acknowledgement: the sequence, or why nothing was stored.
fn stored(message: &Message) -> Result<u64, Error> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Error::Unavailable("no stream takes this subject, or it has no leader".into()));
    }
    let answer: Answer = serde_json::from_slice(&message.payload).map_err(|e| Error::Unreadable(e.to_string()))?;
    match answer.error {
        None => Ok(answer.seq),
        Some(Refused { err_code: LAST_SEQUENCE_UNDECIDED, description }) => Err(Error::Unavailable(description)),
        Some(Refused { err_code, description }) => {
            Err(Error::Refused { refusal: refusal(err_code, &description), message: description })
        }
    }
}

fn refusal(code: u64, description: &str) -> Refusal {
    // One server code, 10077, covers both "this subject has its message" and "the stream is full": the text tells.
    match description {
        _ if code == WRONG_LAST_SEQUENCE => Refusal::NotFirst,
        text if text.contains("maximum messages per subject") => Refusal::AlreadyThere,
        text if text.contains("maximum") || text.contains("resource") => Refusal::Full,
        _ => Refusal::Other,
    }
}

fn not_sent(error: &PublishError) -> Error {
    match error.kind() {
        PublishErrorKind::Send => Error::Unavailable(error.to_string()),
        PublishErrorKind::MaxPayloadExceeded => {
            Error::Refused { refusal: Refusal::TooLarge, message: error.to_string() }
        }
        PublishErrorKind::InvalidSubject => Error::Refused { refusal: Refusal::Other, message: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> (Waiting, oneshot::Receiver<Result<u64, Error>>) {
        let (answer, receiver) = oneshot::channel();
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Waiting { answer, until: None, _room: room }, receiver)
    }

    #[tokio::test(start_paused = true)]
    async fn answers_find_their_publish_in_any_order_and_silence_is_told() {
        let unanswered = Mutex::new(Unanswered::default());
        let (now, later) = (Instant::now(), Instant::now() + SWEEP);
        let mut receivers = Vec::new();
        for (n, until) in (0..).zip([Some(now), Some(now), Some(later), Some(now), None]) {
            let (waiting, receiver) = waiting();
            assert_eq!(lock(&unanswered).add(waiting), n);
            until.into_iter().for_each(|until| lock(&unanswered).sent(n, until));
            receivers.push(receiver);
        }
        let mut table = lock(&unanswered);
        assert!(table.take(1).is_some() && table.take(1).is_none() && table.take(9).is_none());
        table.sent(1, now);
        table.give_up(now);
        assert!(matches!(receivers[0].try_recv(), Ok(Err(Error::Unavailable(_)))));
        assert!(matches!(receivers[3].try_recv(), Ok(Err(Error::Unavailable(_)))));
        assert_eq!((table.first, table.slots.len()), (2, 3), "number 2 has time");
        table.give_up(later);
        assert_eq!((table.first, table.slots.len()), (4, 1), "number 4 is not sent yet");
        drop(table);
        drop(Sending { unanswered: &unanswered, number: 4 });
        let table = lock(&unanswered);
        assert_eq!((table.first, table.slots.len()), (5, 0), "given up while it was sent");
    }

    #[test]
    fn acknowledgements_are_read_as_the_broker_writes_them() {
        let read = |text: &'static str, status| {
            stored(&Message {
                subject: "x".into(),
                reply: None,
                payload: Bytes::from_static(text.as_bytes()),
                headers: None,
                status,
                description: None,
                length: 0,
            })
        };
        let refused = |text| read(text, None).unwrap_err().refusal();
        assert!(matches!(read(r#"{"stream":"RUNS_0","domain":"hub","seq":17,"duplicate":true}"#, None), Ok(17)));
        assert!(matches!(read("", Some(StatusCode::NO_RESPONDERS)), Err(Error::Unavailable(_))));
        assert!(matches!(read("{", None), Err(Error::Unreadable(_))));
        let error = |code: u64, text: &str| -> &'static str {
            format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"S","seq":0}}"#)
                .leak()
        };
        assert_eq!(refused(error(10_071, "wrong last sequence: 3")), Some(Refusal::NotFirst));
        assert!(matches!(read(error(10_164, "wrong last sequence"), None), Err(Error::Unavailable(_))));
        assert_eq!(refused(error(10_077, "maximum messages per subject exceeded")), Some(Refusal::AlreadyThere));
        assert_eq!(refused(error(10_077, "maximum bytes exceeded")), Some(Refusal::Full));
        assert_eq!(refused(error(10_023, "insufficient resources")), Some(Refusal::Full));
        assert_eq!(refused(error(10_999, "something new")), Some(Refusal::Other));
    }
}
