//! What an agent with a `cost_per_day` may still spend today, fleet-wide.
//!
//! ```text
//!   executor ──cost of an attempt, before its report──▶ ledger at the broker ──read then, and every second──▶ budget ──▶ ask for tasks?
//! ```
//!
//! When the day's money is spent, or nobody can say whether it is, no worker asks for more: tasks wait in their queue and
//! burn no attempt. What was asked for before waits in the worker. What is running goes on, so the day can cost more by that.
//! The day is the worker's UTC day; clocks that differ count some seconds around midnight for the other day.

use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::spend::{Ledger, Payment};
use kapelle_engine::Usage;
use kapelle_retry::{Delays, Policy};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::BUDGET_REMAINING;
use kapelle_types::{AgentVersion, Usd};
use metrics::Gauge;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use crate::holds::Hold;
use crate::lease::Key;

/// How often the ledger is read: what the rest of the fleet spends is noticed this late.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// How long a ledger that does not answer holds up a report.
const PATIENCE: Duration = Duration::from_secs(10);

/// The day's budget of one agent version.
pub(crate) struct Budget {
    ledger: Ledger,
    open: watch::Receiver<bool>,
    paid: Arc<Notify>,
    _reader: AbortOnDropHandle<()>,
}

impl Budget {
    /// Starts to read the ledger. Nothing may be spent before it was read.
    pub(crate) fn start(ledger: Ledger, agent: &AgentVersion, limit: Usd, hold: Hold) -> Self {
        let (told, open) = watch::channel(false);
        let version = agent.version.to_string();
        let remaining = BUDGET_REMAINING.gauge(&[agent.name.as_str(), &version]);
        let paid = Arc::new(Notify::new());
        let reader = Reader { ledger: ledger.clone(), limit, hold, told, paid: Arc::clone(&paid), remaining };
        Self { ledger, open, paid, _reader: AbortOnDropHandle::new(tokio::spawn(reader.run())) }
    }

    /// Whether there is something left to spend, by the last look.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until [`Budget::is_open`] may say something else.
    pub(crate) async fn changed(&mut self) {
        if self.open.changed().await.is_err() {
            std::future::pending::<()>().await; // the reader lives as long as this
        }
    }

    /// What pays for attempts.
    pub(crate) fn purse(&self) -> Purse {
        Purse { ledger: self.ledger.clone(), open: self.open.clone(), paid: Arc::clone(&self.paid) }
    }
}

/// Pays what attempts cost.
#[derive(Debug, Clone)]
pub(crate) struct Purse {
    ledger: Ledger,
    open: watch::Receiver<bool>,
    paid: Arc<Notify>,
}

impl Purse {
    /// Whether there is something left to spend, by the last look.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until there is something left.
    pub(crate) async fn opened(&mut self) {
        if self.open.wait_for(|open| *open).await.is_err() {
            std::future::pending::<()>().await; // the budget lives as long as its tasks
        }
    }

    /// Adds what an attempt cost to the day. What the broker does not take within the patience is in the report alone: the
    /// result of an attempt that was paid for is worth more than its place in the sum.
    pub(crate) async fn pay(&self, key: &Key, usage: &Usage) {
        let cost = Usd::reported(usage.cost_usd).unwrap_or_default();
        if cost == Usd::ZERO {
            return;
        }
        let attempt = format!("{}/{}", key.0, key.1);
        let payment = match Payment::new(clock::now(), cost) {
            Ok(payment) => payment,
            Err(error) => {
                return tracing::error!(attempt, %cost, %error, "what an attempt cost is missing from the day's sum");
            }
        };
        let mut delays = Delays::new(&Policy::default());
        let patience = tokio::time::Instant::now() + PATIENCE;
        while let Err(error) = self.ledger.add(&payment).await {
            if !error.is_transient() || tokio::time::Instant::now() >= patience {
                tracing::error!(attempt, %cost, %error, "what an attempt cost is missing from the day's sum");
                break;
            }
            tracing::warn!(attempt, %error, "what an attempt cost is not counted yet; trying again");
            tokio::time::sleep(delays.next()).await;
        }
        self.paid.notify_one();
    }
}

struct Reader {
    ledger: Ledger,
    limit: Usd,
    hold: Hold,
    told: watch::Sender<bool>,
    /// Something was spent here.
    paid: Arc<Notify>,
    remaining: Gauge,
}

impl Reader {
    async fn run(self) {
        let mut tick = tokio::time::interval(READ_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.paid.notified() => {}
            }
            let open = self.read().await;
            self.told.send_if_modified(|told| std::mem::replace(told, open) != open);
        }
    }

    /// Reads the ledger and says whether something is left.
    async fn read(&self) -> bool {
        let limit = self.limit;
        match self.ledger.spent(clock::now()).await {
            Ok(spent) => {
                self.remaining.set(limit.minus(spent).as_f64());
                if spent < limit {
                    self.hold.release();
                    return true;
                }
                let why =
                    format!("its tasks have cost {spent} today, {limit} are allowed a day; it goes on at 00:00 UTC");
                self.hold.because(&why);
            }
            // Money that nobody can count is not spent.
            Err(error) => {
                let why = format!("what its tasks have cost today cannot be read, so nothing more is spent: {error}");
                self.hold.because(&why);
            }
        }
        false
    }
}
