//! Writes the audit trail.
//!
//! ```text
//!   an act that is allowed ──▶ Trail::act ───────────── stored before it is done, or it is not done (K0515)
//!   a denial, a refusal ─────▶ Trail::denied ──▶ Tally ──first at once──▶ queue ──▶ writer ──▶ AUDIT
//!                                                  └──the others, once a minute──▶
//! ```
//!
//! Acts wait for their record and fail without it. Denials wait for nothing: they are counted together, bounded, and given
//! up when the trail is nearly full or the broker away, which a metric says; the room that is left is for acts.

mod tally;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kapelle_bus::{Bus, Refusal};
use kapelle_retry::{Policy, Verdict};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::{AUDIT_FAILED, AUDIT_FILL, AUDIT_RECORDS};
use kapelle_types::{AuditDecision, AuditRecord, AuditWhat, AuditWho, Code, Diagnosis, limits};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use tally::Tally;

/// How often what was counted together is written.
const INTERVAL: Duration = Duration::from_secs(60);
/// Denials that may wait for the writer: more than one interval's.
const WAITING_MAX: usize = 512;
/// How long a denial is tried to be written; longer than a broker's fail-over takes (10 s).
const DENIAL_PATIENCE: Duration = Duration::from_secs(20);
/// How long an act waits for its record: as long as its caller may be expected to.
const ACT_PATIENCE: Duration = Duration::from_secs(5);
/// How often the trail is asked how full it is.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The share of the trail that denials may fill, in percent; the rest is for acts.
const DENIALS_PERCENT_MAX: u64 = 80;

/// The trail, for those who act and those who deny.
#[derive(Debug)]
pub(crate) struct Trail {
    coordinator: String,
    bus: Option<Bus>,
    tally: Mutex<Tally>,
    waiting: mpsc::Sender<AuditRecord>,
    nearly_full: AtomicBool,
}

/// What a record says beside who writes it and when.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) component: &'static str,
    pub(crate) verb: &'static str,
    pub(crate) who: AuditWho,
    pub(crate) what: AuditWhat,
    pub(crate) policy: String,
    pub(crate) code: Option<Code>,
    pub(crate) reason: String,
}

impl Trail {
    /// Starts the writer. It ends when `stop` has ended and everything that was said before is written, or given up.
    pub(crate) fn start(bus: &Bus, coordinator: &str, stop: CancellationToken) -> (Arc<Self>, JoinHandle<()>) {
        let (waiting, records) = mpsc::channel(WAITING_MAX);
        let trail = Arc::new(Self {
            coordinator: coordinator.to_owned(),
            bus: Some(bus.clone()),
            tally: Mutex::default(),
            waiting,
            nearly_full: AtomicBool::new(false),
        });
        let writer = tokio::spawn(Arc::clone(&trail).write_on(bus.clone(), records, stop));
        (trail, writer)
    }

    /// A trail that leads nowhere: what is denied is counted, and nothing can be done.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Arc<Self> {
        let (waiting, _) = mpsc::channel(1);
        let (tally, nearly_full) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { coordinator: "test".into(), bus: None, tally, waiting, nearly_full })
    }

    /// Records an act that is allowed. Whoever calls does it only when this returns well.
    ///
    /// # Errors
    /// `AUDIT_UNAVAILABLE`: nothing may be done that is not on record.
    pub(crate) async fn act(&self, fact: Fact) -> Result<(), Diagnosis> {
        self.act_as(uuid::Uuid::now_v7().to_string(), fact).await
    }

    /// As [`Trail::act`], under an id that the same act has whenever it is repeated.
    ///
    /// # Errors
    /// As [`Trail::act`].
    pub(crate) async fn act_as(&self, id: String, fact: Fact) -> Result<(), Diagnosis> {
        let record = self.record(id, AuditDecision::Allow, fact);
        let unavailable = |why: String| {
            let message = format!("it cannot be recorded in the audit trail, so it is not done: {why}");
            Diagnosis::new(Code::AUDIT_UNAVAILABLE, message)
                .hint("try again; if the trail is full, docs/guides/audit.md says what to do")
        };
        let Some(bus) = &self.bus else { return Err(unavailable("there is no broker".into())) };
        write(bus, &record, ACT_PATIENCE).await.map_err(|error| unavailable(error.to_string()))
    }

    /// Says once that something came to pass by itself, under an id that all coordinators give it.
    ///
    /// # Errors
    /// The broker's.
    pub(crate) async fn once(&self, id: String, fact: Fact) -> Result<(), kapelle_bus::Error> {
        let record = self.record(id, AuditDecision::Deny, fact);
        match &self.bus {
            Some(bus) => write(bus, &record, ACT_PATIENCE).await,
            None => Ok(()),
        }
    }

    /// Says that something was denied or refused. Never waits.
    pub(crate) fn denied(&self, fact: Fact) {
        self.denied_as(uuid::Uuid::now_v7().to_string(), fact);
    }

    /// As [`Trail::denied`], under an id that the same refusal has whoever comes across it.
    pub(crate) fn denied_as(&self, id: String, fact: Fact) {
        let record = self.record(id, AuditDecision::Deny, fact);
        let first = self.tally.lock().unwrap_or_else(PoisonError::into_inner).take(record);
        self.queue(first);
    }

    fn record(&self, id: String, decision: AuditDecision, fact: Fact) -> AuditRecord {
        let now = clock::now();
        let AuditWhat { action, kind, name, run, step } = fact.what;
        AuditRecord {
            id,
            at: now,
            component: fact.component.to_owned(),
            verb: fact.verb.to_owned(),
            who: fact.who,
            what: AuditWhat { action: cut(action), name: cut(name), run: cut(run), step: cut(step), kind },
            decision,
            policy: fact.policy,
            code: fact.code.map(|code| code.to_string()).unwrap_or_default(),
            reason: cut(fact.reason),
            count: 1,
            first_at: now,
            by: self.coordinator.clone(),
        }
    }

    fn queue(&self, records: impl IntoIterator<Item = AuditRecord>) {
        for record in records {
            if self.nearly_full.load(Ordering::Relaxed) {
                AUDIT_FAILED.counter(&["nearly_full"]).increment(record.count);
            } else if let Err(refused) = self.waiting.try_send(record) {
                AUDIT_FAILED.counter(&["too_many"]).increment(refused.into_inner().count);
            }
        }
    }

    async fn write_on(self: Arc<Self>, bus: Bus, mut records: mpsc::Receiver<AuditRecord>, stop: CancellationToken) {
        let (mut minutes, mut looks) = (interval(INTERVAL), interval(LOOK_EVERY));
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(record) = records.recv() => write_or_count(&bus, &record).await,
                _ = minutes.tick() => self.close(),
                _ = looks.tick() => self.look(&bus).await,
            }
        }
        self.close();
        while let Ok(record) = records.try_recv() {
            write_or_count(&bus, &record).await;
        }
    }

    fn close(&self) {
        let counted = self.tally.lock().unwrap_or_else(PoisonError::into_inner).close();
        self.queue(counted);
    }

    #[allow(clippy::cast_precision_loss)] // a ratio for people
    async fn look(&self, bus: &Bus) {
        let Ok(fill) = bus.audit_fill().await else { return };
        AUDIT_FILL.gauge(&[]).set(fill.bytes as f64 / fill.bytes_max as f64);
        let nearly = fill.bytes.saturating_mul(100) / fill.bytes_max.max(1) >= DENIALS_PERCENT_MAX;
        if self.nearly_full.swap(nearly, Ordering::Relaxed) != nearly {
            tracing::warn!(
                bytes = fill.bytes,
                bytes_max = fill.bytes_max,
                nearly,
                "the audit trail crossed the limit for denials"
            );
        }
    }
}

/// Writes a record, again and again within `patience`: its id makes a repeat harmless.
async fn write(bus: &Bus, record: &AuditRecord, patience: Duration) -> Result<(), kapelle_bus::Error> {
    let policy = Policy { total: Some(patience), ..Policy::default() };
    // A full trail is not emptied by waiting.
    let again = |e: &kapelle_bus::Error| {
        if matches!(e, kapelle_bus::Error::Unavailable(_)) { Verdict::Retry } else { Verdict::Stop }
    };
    match kapelle_retry::retry(&policy, again, |_| bus.write_audit(record)).await {
        Ok(_) => {
            AUDIT_RECORDS.counter(&[&record.component, &record.verb]).increment(1);
            Ok(())
        }
        Err(gave_up) => {
            let full = gave_up.error.refusal() == Some(Refusal::Full);
            AUDIT_FAILED.counter(&[if full { "full" } else { "unavailable" }]).increment(record.count);
            Err(gave_up.error)
        }
    }
}

async fn write_or_count(bus: &Bus, record: &AuditRecord) {
    if let Err(error) = write(bus, record, DENIAL_PATIENCE).await {
        tracing::warn!(component = record.component, verb = record.verb, %error, "a denial is not in the audit trail");
    }
}

/// No longer than a reason may be: much of this comes from outside.
fn cut(text: String) -> String {
    match text.char_indices().nth(limits::REASON_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(reason: &str) -> Fact {
        Fact {
            component: "api",
            verb: "denied",
            who: AuditWho::default(),
            what: AuditWhat::default(),
            policy: String::new(),
            code: Some(Code::DENIED),
            reason: reason.to_owned(),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_refused() {
        let refused = Trail::nowhere().act(fact("")).await.unwrap_err();
        assert_eq!(refused.code, Code::AUDIT_UNAVAILABLE);
    }

    #[test]
    fn words_from_outside_are_cut() {
        let long = "ä".repeat(limits::REASON_CHARS_MAX + 1);
        let record = Trail::nowhere().record("id".into(), AuditDecision::Deny, fact(&long));
        assert_eq!(record.reason.chars().count(), limits::REASON_CHARS_MAX + 1, "and the dots");
        assert_eq!(cut("short".into()), "short");
    }
}
