//! Pulling tasks: one agent version's durable consumer on TASKS, by credit.
//!
//! ```text
//!   TaskPuller ──{batch, expires, idle_heartbeat}──▶ $JS.API.CONSUMER.MSG.NEXT.TASKS.<agent>-<version>
//!      ▲  │                                              │
//!      │  └──Delivery──▶ worker ──ack──▶ +ACK            ├── tasks, with the ack subject as their reply
//!      └──────────────── inbox.<request> ◀───────────────┴── 100 heartbeat, 408/409/503 end of a request
//! ```
//!
//! At most `slots` tasks are outstanding: asked for, or handed out and not yet acknowledged. The worker calls it; the
//! coordinator creates the consumer. It never decides about a task and never gives up: whatever becomes of the broker, the
//! puller asks again. Requests are made by hand because the client library's own stream stays silent for up to
//! `expires` + 5 s after a leader is lost, and because only the sum of what is asked for and held tells what may be asked.

mod ack;
mod credit;
mod requests;

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use kapelle_proto::stream;
use kapelle_telemetry::metrics::ENTRIES_REFUSED;
use kapelle_types::AgentVersion;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Bus, Error};
use ack::AckInfo;
use credit::Credit;
pub use credit::{Delivery, Lease};
use requests::Requests;

/// How long one request stands. Its end tells exactly what it did not deliver.
const EXPIRES: Duration = Duration::from_secs(10);
/// How often the broker says that a request still stands.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which requests count as lost: two heartbeats and the way.
const SILENCE_MAX: Duration = Duration::from_millis(2_200);
/// The first delay before asking again after a refusal.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest delay: a queue that is created now is served this soon.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often silence and expiry are looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Pulls the tasks of one agent version. Poll [`TaskPuller::next`] without long breaks.
#[derive(Debug)]
pub struct TaskPuller {
    agent: AgentVersion,
    client: Client,
    api: String,
    inbox: String,
    answers: Subscriber,
    requests: Requests,
    credit: Credit,
    epochs: watch::Receiver<u64>,
    heard_at: Instant,
    check_at: Instant,
    pause: Pause,
    /// How many tasks may come now beyond those that are held; `None` is as many as there are slots.
    room: Option<usize>,
    stopping: bool,
}

/// When to ask again after a refusal.
#[derive(Debug)]
struct Pause {
    until: Option<Instant>,
    next: Duration,
}

impl TaskPuller {
    /// Prepares to pull; nothing is asked for before the first [`TaskPuller::next`]. The queue need not be there yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is closed for good.
    pub async fn open(bus: &Bus, agent: AgentVersion, slots: usize) -> Result<Self, Error> {
        let client = bus.client().clone();
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(Error::unavailable)?;
        let api = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", stream::TASKS, crate::tasks::queue_name(&agent));
        let mut epochs = bus.connection().epochs();
        epochs.mark_unchanged();
        let now = Instant::now();
        Ok(Self {
            credit: Credit::new(client.clone(), epochs.clone()),
            requests: Requests::new(slots),
            pause: Pause { until: None, next: PAUSE_MIN },
            room: None,
            stopping: false,
            heard_at: now,
            check_at: now + CHECK_INTERVAL,
            agent,
            client,
            api,
            inbox,
            answers,
            epochs,
        })
    }

    /// The next task; `None` after [`TaskPuller::stop`], when all that was on its way has been handed out. Cancel-safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            self.ask().await;
            // The quick way: at full rate an answer is here already and no timer needs to be set.
            if let Some(answer) = self.answers.next().now_or_never() {
                match self.take(answer?).await {
                    Some(delivery) => return Some(delivery),
                    None => continue,
                }
            }
            let wake_at = self.pause.until.map_or(self.check_at, |until| until.min(self.check_at));
            tokio::select! {
                biased;
                answer = self.answers.next() => {
                    if let Some(delivery) = self.take(answer?).await {
                        return Some(delivery);
                    }
                }
                () = self.credit.freed() => {}
                Ok(()) = self.epochs.changed() => self.void("the connection was made anew"),
                () = tokio::time::sleep_until(wake_at) => self.check(),
            }
        }
    }

    /// Renews a lease. Sent and not awaited: three of them fit into one lease.
    pub async fn renew(&self, lease: Lease) {
        if let Err(error) = self.client.publish(lease.0, Bytes::from_static(b"+WPI")).await {
            tracing::debug!(%error, "a lease could not be renewed: the connection is closed");
        }
    }

    /// How many tasks may come from here on; `None` is as many as there are slots. What was asked for before may still come.
    pub const fn allow(&mut self, room: Option<usize>) {
        self.room = room;
    }

    /// Asks for nothing more. What the broker has sent already still comes out of [`TaskPuller::next`].
    pub async fn stop(&mut self) {
        self.stopping = true;
        if let Err(error) = self.answers.drain().await {
            tracing::debug!(%error, "the connection is closed already");
        }
    }

    /// Tasks that were handed out and not acknowledged.
    #[must_use]
    pub fn held(&self) -> usize {
        self.credit.held()
    }

    /// Tasks that could be held beyond those that are.
    #[must_use]
    pub fn free(&self) -> usize {
        self.requests.slots().saturating_sub(self.credit.held())
    }

    /// Tasks that were asked for and did not come yet.
    #[must_use]
    pub const fn requested(&self) -> usize {
        self.requests.requested()
    }

    /// Asks for as many tasks as there is credit for, if it is time.
    async fn ask(&mut self) {
        if self.epochs.has_changed().unwrap_or(false) {
            self.epochs.mark_unchanged();
            self.void("the connection was made anew");
        }
        // While disconnected, requests would pile up in the client and all be valid afterwards.
        let connected = self.client.connection_state() == State::Connected;
        if self.stopping || self.pause.until.is_some() || !connected {
            return;
        }
        loop {
            let due = self.requests.due(self.credit.held());
            let room = self.room.map(|room| room.saturating_sub(self.requests.requested()));
            if room == Some(0) {
                return;
            }
            let Some(count) = due.map(|due| room.map_or(due, |room| due.min(room))) else {
                // Between reading `held` and setting the threshold some may have been freed: look again then.
                if self.credit.wake_at(self.requests.held_to_ask()) {
                    return;
                }
                continue;
            };
            let (expires, heartbeat) = (EXPIRES.as_nanos(), HEARTBEAT.as_nanos());
            let body = format!(r#"{{"batch":{count},"expires":{expires},"idle_heartbeat":{heartbeat}}}"#);
            let reply = format!("{}.{}", self.inbox, self.requests.next_id());
            let sent = self.client.publish_with_reply(self.api.clone(), reply, Bytes::from(body)).await;
            if let Err(error) = sent {
                self.refused(&format!("cannot send: {error}"));
                return;
            }
            let now = Instant::now();
            if self.requests.requested() == 0 {
                self.heard_at = now;
            }
            self.requests.sent(count, now + EXPIRES + SILENCE_MAX);
        }
    }

    /// Sorts one message of the inbox: a task, or the status of a request.
    async fn take(&mut self, message: Message) -> Option<Delivery> {
        self.heard_at = Instant::now();
        if let Some(status) = message.status.map(|s| s.as_u16()).filter(|s| *s != 200) {
            self.status(status, &message);
            return None;
        }
        self.pause.next = PAUSE_MIN;
        self.requests.delivered();
        let Some((reply, ack)) = message.reply.and_then(|r| AckInfo::parse(&r).map(|ack| (r, ack))) else {
            tracing::warn!(subject = %message.subject, "a message that no stream delivered came to a task inbox");
            return None;
        };
        match message.subject.as_str().parse() {
            Ok(subject) => Some(self.credit.hand_out(subject, message.payload, ack, reply)),
            Err(error) => {
                ENTRIES_REFUSED.counter(&["task_subject"]).increment(1);
                tracing::warn!(subject = %message.subject, %error, "not a task: taken out of the queue");
                // If this is lost the message comes again and is refused again.
                let _ = self.client.publish(reply, Bytes::from_static(b"+TERM the subject is not a task's")).await;
                None
            }
        }
    }

    /// What the broker says about a request.
    fn status(&mut self, status: u16, message: &Message) {
        if status == 100 {
            return;
        }
        let header =
            |name: &str| message.headers.as_ref().and_then(|h| h.get(name)).and_then(|v| v.as_str().parse().ok());
        let pending = header("Nats-Pending-Messages");
        let id = message.subject.as_str().rsplit('.').next().and_then(|id| id.parse().ok());
        let Some(id) = id.filter(|id| self.requests.is_current(*id)) else { return };
        let why = message.description.as_deref().unwrap_or("no description");
        match (status, pending) {
            // 404 and 408: nothing came in time; 409 with a count: completed by its limits.
            (404 | 408 | 409, Some(pending)) => self.requests.ended(id, Some(pending)),
            // Nobody serves this queue: it is not there yet, or has no leader. Nothing of the request was taken.
            (503, _) => {
                self.requests.ended(id, None);
                self.refused("the queue is not there or has no leader");
            }
            // The consumer changed its leader, was deleted or is shut down: every request on it is gone.
            (409, None) => {
                self.void(why);
                self.refused(why);
            }
            _ => {
                self.requests.ended(id, None);
                self.refused(why);
            }
        }
    }

    /// Looks for silence and for requests whose end was never told.
    fn check(&mut self) {
        let now = Instant::now();
        if self.pause.until.is_some_and(|until| until <= now) {
            self.pause.until = None;
        }
        if self.check_at <= now {
            self.check_at = now + CHECK_INTERVAL;
            self.requests.expire(now);
            if self.requests.requested() > 0 && now.duration_since(self.heard_at) > SILENCE_MAX {
                self.void("the broker is silent");
            }
        }
    }

    /// Forgets every request: the broker has, or soon will have. A task that comes late is taken all the same.
    fn void(&mut self, why: &str) {
        tracing::debug!(agent = %self.agent, why, "asking for tasks anew");
        self.requests.void();
        self.heard_at = Instant::now();
    }

    fn refused(&mut self, why: &str) {
        if self.pause.next == PAUSE_MIN {
            tracing::warn!(agent = %self.agent, why, "no tasks for now; asking again");
        }
        self.pause.until = Some(Instant::now() + self.pause.next);
        self.pause.next = (self.pause.next * 2).min(PAUSE_MAX);
    }
}
