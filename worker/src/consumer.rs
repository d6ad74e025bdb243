//! One agent version's loop: pulls, admits, starts attempts, keeps leases alive, and ends with the drain.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kapelle_bus::Bus;
use kapelle_bus::pull::{Delivery, TaskPuller};
use kapelle_bus::tasks::{QueueNews, Withdrawal};
use kapelle_engine::TaskToken;
use kapelle_proto::Task;
use kapelle_telemetry::clock;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::executor::Executor;
use crate::gate::Gate;
use crate::halt::Halt;
use crate::holds::Holds;
use crate::lease::{Key, RENEWAL};
use crate::{admission, failure};

/// How often leases are looked at; a lease is renewed within this after it is due.
const LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a drain waits for what the broker had on its way. Without a connection nothing is.
const LAST_DELIVERIES_WAIT_MAX: Duration = Duration::from_secs(2);

/// Handles of ended attempts that are not worth looking for.
const ABORTS_MIN: usize = 64;

/// Withdrawn attempts that are remembered in case their task is still on its way.
const UNWANTED_MAX: usize = 256;

/// The loop of one agent version.
pub(crate) struct Consumer {
    puller: TaskPuller,
    executor: Arc<Executor>,
    drain_grace: Duration,
    bus: Bus,
    holds: Holds,
    gate: Gate,
    halt: Halt,
    attempts: JoinSet<()>,
    /// How to stop each attempt; those that ended leave when the table has grown to twice what runs.
    aborts: HashMap<Key, (AbortHandle, Option<TaskToken>)>,
    /// What was withdrawn before it came: the news may be quicker than the task.
    unwanted: VecDeque<(Key, Option<TaskToken>)>,
    /// What is said of the queue: what nobody waits for any more, that it is to be looked at.
    news: Pin<Box<dyn Stream<Item = QueueNews> + Send + Sync>>,
}

impl Consumer {
    /// # Errors
    /// The connection is gone.
    pub(crate) async fn open(
        bus: &Bus,
        puller: TaskPuller,
        executor: Executor,
        drain_grace: Duration,
        holds: Holds,
    ) -> Result<Self, kapelle_bus::Error> {
        let news = Box::pin(bus.queue_news(&executor.agent).await?);
        let halt = Halt::new(bus, &executor.agent, &holds);
        let executor = Arc::new(executor);
        let (attempts, aborts) = (JoinSet::new(), HashMap::new());
        let unwanted = VecDeque::new();
        let (bus, gate) = (bus.clone(), Gate::default());
        Ok(Self { puller, executor, drain_grace, bus, holds, gate, halt, attempts, aborts, unwanted, news })
    }

    /// Runs until the worker drains. Says how many attempts had to be abandoned.
    pub(crate) async fn run(mut self) -> usize {
        match Gate::open(&self.bus, &self.executor.agent, &self.holds, &self.executor.draining).await {
            Some(gate) => self.gate = gate,
            None => return self.finish().await,
        }
        let draining = self.executor.draining.clone().cancelled_owned();
        tokio::pin!(draining);
        let mut check = interval(LEASE_CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (room, again_at) = self.gate.room();
            self.puller.allow(if self.halt.is_stopped() { Some(0) } else { room });
            tokio::select! {
                biased;
                () = &mut draining => break,
                _ = check.tick() => self.renew().await,
                Some(news) = self.news.next() => match news {
                    QueueNews::Withdrawn(withdrawal) => self.withdraw(&withdrawal),
                    QueueNews::Look => self.halt.look(),
                },
                stopped = self.halt.changed() => if stopped { self.stop_all().await },
                () = self.gate.changed(again_at) => {}
                delivery = self.puller.next() => match delivery {
                    Some(delivery) => self.accept(delivery).await,
                    None => {
                        tracing::error!(agent = %self.executor.agent, "the connection is closed for good; no more tasks");
                        break;
                    }
                },
            }
        }
        self.finish().await
    }

    /// Takes one delivery in: starts it, or reports why not.
    async fn accept(&mut self, delivery: Delivery) {
        while self.attempts.try_join_next().is_some() {}
        let executor = &self.executor;
        let key = (delivery.subject.run_id, delivery.subject.task.clone());
        if self.unwanted.iter().any(|(task, token)| *task == key && *token == Task::token_in(&delivery.payload)) {
            return delivery.ack().await;
        }
        let (admitted, queued_at) = (admission::admit(&delivery, clock::now()), delivery.stored_at);
        let behind = delivery.pending;
        let token = admitted.as_ref().map_or_else(|_| Task::token_in(&delivery.payload), |task| task.token);
        if delivery.delivered > 1 {
            executor.meters.redelivered();
        }
        if !executor.leases.hold(delivery, Instant::now()) {
            tracing::info!(run = %key.0, task = %key.1, "delivered again while it is held here; it goes on");
            return;
        }
        match admitted {
            // It was on its way when the queue was stopped.
            Ok(_) if self.halt.is_stopped() => executor.refuse(key, token, failure::stopped()).await,
            Ok(task) => {
                let executor = Arc::clone(executor);
                let terms = self.gate.terms(behind, self.puller.free());
                let abort = self.attempts.spawn(async move { executor.execute(task, queued_at, terms).await });
                self.aborts.insert(key, (abort, token));
                if self.aborts.len() > 2 * self.attempts.len() + ABORTS_MIN {
                    self.aborts.retain(|_, (abort, _)| !abort.is_finished());
                }
            }
            Err(failure) => executor.refuse(key, token, failure).await,
        }
    }

    /// Stops an attempt that nobody waits for any more: its run was cancelled, or another attempt was quicker. Its message is
    /// out of the queue already, so it is neither reported nor acknowledged; one that is being reported goes on.
    fn withdraw(&mut self, withdrawal: &Withdrawal) {
        let Withdrawal { task, token } = withdrawal;
        let key = (task.run_id, task.task.clone());
        let Some((abort, own)) = self.aborts.get(&key) else {
            if self.unwanted.len() == UNWANTED_MAX {
                self.unwanted.pop_front();
            }
            return self.unwanted.push_back((key, *token));
        };
        if own != token {
            return tracing::warn!(run = %key.0, task = %key.1, "a withdrawal without the task's token is not heeded");
        }
        if abort.is_finished() || self.executor.leases.release(&key).is_none() {
            return;
        }
        abort.abort();
        tracing::info!(run = %key.0, task = %key.1, agent = %self.executor.agent, "withdrawn; the attempt is stopped");
    }

    /// Stops all attempts and gives their tasks back: the agent version is stopped. One that is being reported goes on.
    async fn stop_all(&mut self) {
        let going: Vec<_> = self.aborts.drain().filter(|(_, (abort, _))| !abort.is_finished()).collect();
        tracing::warn!(agent = %self.executor.agent, attempts = going.len(), "the agent is stopped, and with it what it had begun");
        for (key, (abort, token)) in going {
            abort.abort();
            self.executor.refuse(key, token, failure::stopped()).await;
        }
    }

    /// Renews the leases that are due.
    async fn renew(&self) {
        for lease in self.executor.leases.due(Instant::now()) {
            self.puller.renew(lease).await;
        }
    }

    /// Asks for nothing more, gives back what has not started, waits for what runs and abandons what does not end.
    async fn finish(mut self) -> usize {
        let grace_ends_at = Instant::now() + self.drain_grace;
        self.puller.stop().await;
        let last_until = Instant::now() + LAST_DELIVERIES_WAIT_MAX;
        while let Ok(Some(delivery)) = tokio::time::timeout_at(last_until, self.puller.next()).await {
            self.accept(delivery).await;
        }
        let mut check = interval(RENEWAL / 2);
        let abandoned = loop {
            tokio::select! {
                ended = self.attempts.join_next() => if ended.is_none() { break 0 },
                _ = check.tick() => self.renew().await,
                () = tokio::time::sleep_until(grace_ends_at) => break self.abandon().await,
            }
        };
        self.gate.close().await;
        abandoned
    }

    /// Stops what still runs and says so, so that nobody has to wait for the leases.
    async fn abandon(&mut self) -> usize {
        self.attempts.shutdown().await;
        let running = self.executor.leases.running();
        let count = running.len();
        for (key, token) in running {
            let message = format!("worker {} stopped while the agent was running", self.executor.worker);
            self.executor.refuse(key, token, failure::lost(message)).await;
        }
        count
    }
}
