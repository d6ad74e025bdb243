//! From a job to the first entry of a run: check, pin, record.
//!
//! The same way serves gRPC and jobs that were published straight to the broker. The broker's acknowledgement of the first
//! entry is the client's; nothing is kept anywhere else.

mod again;
mod submitted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kapelle_bus::layout::PRESENCE_TTL;
use kapelle_bus::{Bus, Refusal, payloads};
use kapelle_engine::{Body, Entry, Parent, Record, RunSubmitted, behaviour};
use kapelle_proto::{decode_record, encode_record, stream};
use kapelle_retry::{Policy, Verdict};
use kapelle_telemetry::metrics::SUBMISSIONS_REFUSED;
use kapelle_types::{
    Code, Diagnosis, Fairness, InvalidName, Namespace, Payload, Principal, Priority, RunId, json_depth, limits, printed,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::admission::Admission;
use crate::catalog::{Catalog, Outgoing, Resolved, Ticket};
use crate::ownership::Peers;

pub(crate) use again::{Again, Fork};
pub use submitted::Submitted;

/// How long recording is tried before the client is told that it is not known to be recorded.
const RECORD_PATIENCE: Duration = Duration::from_secs(15);
/// How old what a job was prepared with may be when it is recorded: presence outlives a silent coordinator that long, and
/// nothing is retired meanwhile.
const PREPARED_MAX: Duration = PRESENCE_TTL;
/// How the keys of scheduled runs begin. Nobody else's do: whoever took such a key first would have its time not run.
pub(crate) const SCHEDULED: &str = "schedule/";
/// The label of a run that another one began, with the id of that one.
pub(crate) const PARENT: &str = "parent";
/// The label of a run below others, with the id of the one at the top.
pub(crate) const ROOT: &str = "root";
/// Labels of one run.
const LABELS_MAX: usize = 32;
/// Characters of a label's name or value.
const LABEL_CHARS_MAX: usize = 256;

/// What somebody wants done.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The workflow's name.
    pub workflow: String,
    /// A SemVer requirement; empty is the highest version.
    pub version: String,
    /// JSON text; empty is `{}`.
    pub input: Bytes,
    /// One key, one run.
    pub key: Option<String>,
    /// Whether a schedule asks: those keys are kept for it.
    pub scheduled: bool,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Who asks.
    pub principal: Principal,
    /// The person who asks, as far as known: they may not agree to what their own run does.
    pub person: Option<String>,
    /// The namespace that the asker belongs to: with the key, it fixes the run.
    pub namespace: Namespace,
    /// The trace that this is part of.
    pub traceparent: Option<String>,
    /// Whether others than who sent it hear why it is refused: then nothing of the input is told.
    pub heard_by_others: bool,
    /// The run that wants it, if one does.
    pub below: Option<Below>,
    /// The priority that is asked for, 1 to 5; 0 leaves it to the workflow.
    pub priority: u32,
    /// Whose share it takes, if the run above says so.
    pub fairness: Option<Fairness>,
}

/// What makes a job another run's.
#[derive(Debug, Clone)]
pub struct Below {
    /// The id of the run, which derives from the attempt.
    pub run: RunId,
    /// Which attempt; none if it goes on in the place of a run that nobody waits for.
    pub parent: Option<Parent>,
    /// The run that it goes on in the place of.
    pub continued_from: Option<RunId>,
    /// What is recorded together with the submission: the end of a run that nobody wants any more.
    pub ended_by: Option<Entry>,
}

/// A job that was checked and is ready to be recorded.
pub struct Prepared {
    /// The run that it will be.
    pub run: RunId,
    keyed: bool,
    record: Bytes,
    input: Payload,
    forked_from: Option<RunId>,
    /// What of it is to be used no more.
    outgoing: Vec<Outgoing>,
    /// Its agents were pinned by the catalog as it was then.
    ticket: Ticket,
    prepared_at: Instant,
}

/// Checks and records jobs.
pub struct Submitter {
    bus: Bus,
    catalog: Arc<Catalog>,
    admission: Arc<Admission>,
    peers: watch::Receiver<Arc<Peers>>,
    /// The newest behaviour that runs are submitted under.
    behaviour: u32,
}

impl Submitter {
    /// A submitter over what is registered.
    #[must_use]
    pub fn new(
        bus: Bus,
        catalog: Arc<Catalog>,
        admission: Arc<Admission>,
        peers: watch::Receiver<Arc<Peers>>,
        behaviour: u32,
    ) -> Self {
        Self { bus, catalog, admission, peers, behaviour }
    }

    /// What every living coordinator can decide. One that came just now may not have heard an older one yet; that one lets
    /// the partition go then.
    fn behaviour(&self) -> u32 {
        self.peers.borrow().values().map(|peer| peer.behaviour).fold(self.behaviour, u32::min)
    }

    /// Checks a job without recording anything but a large input.
    ///
    /// # Errors
    /// `ADMISSION`, `UNKNOWN_WORKFLOW`, `KEY_INVALID`, `REQUEST_INVALID`, `PAYLOAD_TOO_LARGE`, `INPUT_SYNTAX`,
    /// `INPUT_INVALID`, `UNKNOWN_AGENT`, `BROKER_UNAVAILABLE`.
    pub async fn prepare(&self, job: Job) -> Result<Prepared, Diagnosis> {
        match job.below {
            None => self.admission.check()?,
            Some(_) => self.admission.check_storage()?,
        }
        match &job.key {
            Some(key) if job.scheduled && key.starts_with(SCHEDULED) => {}
            key => check_key(key.as_deref())?,
        }
        check_labels(&job.labels)?;
        let priority = check_priority(job.priority)?;
        let (ticket, prepared_at) = (self.catalog.ticket(), Instant::now());
        let run = match (&job.below, &job.key) {
            (Some(below), _) => below.run,
            (None, key) => run_id(&job.namespace, &job.workflow, key.as_deref())?,
        };
        let resolved = self.catalog.resolve(&job.workflow, &job.version, Some(run)).await?;
        let input = self.input(&job.input, &resolved, job.heard_by_others).await?;
        let behaviour = self.behaviour();
        if job.below.is_some() && behaviour < self.behaviour {
            let message = "a coordinator of an older release is still there, which would not know whose run this is";
            return Err(Diagnosis::new(Code::OLDER_COORDINATOR, message));
        }
        let (parent, continued_from) =
            job.below.as_ref().map_or((None, None), |it| (it.parent.clone(), it.continued_from));
        let keyed = job.below.is_some() || job.key.is_some();
        let ended_by = job.below.and_then(|it| it.ended_by);
        let submitted = RunSubmitted {
            workflow: resolved.workflow.clone(),
            workflow_digest: resolved.digest,
            pins: resolved.pins.clone(),
            input,
            key: job.key,
            behaviour,
            labels: job.labels,
            person: job.person,
            signing_key: (behaviour >= behaviour::TOKENS).then(|| self.catalog.newest_key()),
            owner: None,
            forked_from: None,
            kept: Vec::new(),
            workflow_pins: resolved.workflow_pins.clone(),
            parent,
            continued_from,
            priority,
            fairness: job.fairness,
        };
        let asked = Asked { principal: job.principal, traceparent: job.traceparent };
        Ok(asked.into_record((run, keyed), submitted, ended_by, resolved.outgoing.clone(), (ticket, prepared_at)))
    }

    async fn input(&self, text: &Bytes, resolved: &Resolved, heard_by_others: bool) -> Result<Payload, Diagnosis> {
        if text.len() > limits::PAYLOAD_BYTES_MAX {
            let message = format!("the input has {} bytes, the limit is {}", text.len(), limits::PAYLOAD_BYTES_MAX);
            return Err(Diagnosis::new(Code::PAYLOAD_TOO_LARGE, message).hint("pass large data by reference"));
        }
        let text: &[u8] = if text.is_empty() { b"{}" } else { text };
        let value: Value = serde_json::from_slice(text)
            .map_err(|e| Diagnosis::new(Code::INPUT_SYNTAX, format!("the input is not JSON: {e}")))?;
        if json_depth(&value) > limits::PAYLOAD_DEPTH_MAX {
            let message = format!("the input is nested deeper than {} levels", limits::PAYLOAD_DEPTH_MAX);
            return Err(Diagnosis::new(Code::INPUT_SYNTAX, message));
        }
        resolved.check_input(&value, heard_by_others)?;
        if text.len() <= limits::PAYLOAD_INLINE_BYTES_MAX {
            return Ok(Payload::inline(value));
        }
        self.bus.payloads().keep(Arc::new(value)).await.map_err(|error| {
            let code = match error {
                payloads::Error::TooLarge(_) => Code::PAYLOAD_TOO_LARGE,
                _ => Code::BROKER_UNAVAILABLE,
            };
            Diagnosis::new(code, format!("the input cannot be stored: {error}"))
        })
    }

    /// Records a prepared job as the first entry of its run. With a key, the run that is there already is found; without one,
    /// what is there already is our own entry, whose acknowledgement was lost.
    ///
    /// # Errors
    /// `NOT_RECORDED`: it is not known whether it is there; the same key may be used again. `KEY_INVALID`: the key names
    /// a run with another input. `ADMISSION`: the broker is full.
    pub async fn record(&self, mut prepared: Prepared) -> Result<Submitted, Diagnosis> {
        let policy = Policy {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(1),
            total: Some(RECORD_PATIENCE),
            ..Policy::default()
        };
        let classify = |e: &kapelle_bus::Error| {
            let again = matches!(e, kapelle_bus::Error::Unavailable(_));
            if again { Verdict::Retry } else { Verdict::Stop }
        };
        let run = prepared.run;
        prepared.ticket.sending(&self.bus, stream::runs(self.bus.partitions().of(&run)));
        let result = Box::pin(kapelle_retry::retry(&policy, classify, |_| self.append(&prepared))).await;
        if result.as_ref().map_or_else(|gave_up| gave_up.error.refusal() == Some(Refusal::NotFirst), |()| true) {
            prepared.ticket.answered();
        }
        match result.map_err(|gave_up| gave_up.error) {
            Ok(()) => Ok(Submitted::new(&prepared)),
            Err(e) if e.refusal() == Some(Refusal::NotFirst) => Box::pin(self.existing(&prepared)).await,
            Err(e) if e.refusal() == Some(Refusal::Full) => Err(Diagnosis::new(Code::ADMISSION, e.to_string())),
            Err(e) => Err(Diagnosis::new(Code::NOT_RECORDED, format!("run {run} is not known to be recorded: {e}"))
                .hint("submit again with the same idempotency key")),
        }
    }

    async fn append(&self, prepared: &Prepared) -> Result<(), kapelle_bus::Error> {
        // A process that was held up is presumed gone, and what it pinned may be retired by now.
        if prepared.prepared_at.elapsed() > PREPARED_MAX {
            let message = "it took too long since its versions were pinned".to_owned();
            return Err(kapelle_bus::Error::Refused { refusal: Refusal::Other, message });
        }
        let (run, record) = (prepared.run, prepared.record.clone());
        // Also without a key: a repeat after a lost acknowledgement must not stand in the log as a second submission.
        self.bus.append_first(run, record).await?.await?;
        Ok(())
    }

    /// The key was used before: the run is there if its first entry is a submission, and must be of the same input.
    async fn existing(&self, prepared: &Prepared) -> Result<Submitted, Diagnosis> {
        let run = prepared.run;
        let unknown = |why: String| {
            Diagnosis::new(Code::NOT_RECORDED, format!("run {run} cannot be read: {why}")).hint("submit again")
        };
        let raw = self.bus.first_record(run).await.map_err(|e| unknown(e.to_string()))?;
        let record: Option<Record> = raw.and_then(|r| decode_record(r.channel, r.stamp, &r.payload).ok());
        match record.as_ref().and_then(|r| r.entries.first()).map(|e| &e.body) {
            Some(Body::RunSubmitted(first))
                if same(&first.input, &prepared.input) && first.forked_from == prepared.forked_from =>
            {
                Ok(Submitted { run, existed: prepared.keyed, outgoing: Vec::new() })
            }
            Some(Body::RunSubmitted(_)) => {
                let message = format!("the idempotency key names run {run}, which was submitted with another input");
                Err(Diagnosis::new(Code::KEY_INVALID, message).hint("use another key for another job"))
            }
            _ => Err(unknown("its first entry is no submission".to_owned())),
        }
    }

    /// Checks and records a job.
    ///
    /// # Errors
    /// As [`Submitter::prepare`] and [`Submitter::record`].
    pub async fn submit(&self, job: Job) -> Result<Submitted, Diagnosis> {
        let prepared = self.prepare(job).await.inspect_err(count_refusal)?;
        self.record(prepared).await.inspect_err(count_refusal)
    }
}

/// The id of the run that is submitted: a key fixes it.
///
/// # Errors
/// `REQUEST_INVALID`: that is no workflow's name.
fn run_id(namespace: &Namespace, workflow: &str, key: Option<&str>) -> Result<RunId, Diagnosis> {
    let Some(key) = key else { return Ok(RunId::from_uuid(Uuid::now_v7())) };
    let invalid = |e: InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
    Ok(RunId::keyed(namespace.as_str(), &workflow.parse().map_err(invalid)?, key))
}

/// Who asks for a run, and as part of what.
struct Asked {
    principal: Principal,
    traceparent: Option<String>,
}

impl Asked {
    /// A checked submission, ready to be recorded.
    fn into_record(
        self,
        (run, keyed): (RunId, bool),
        submitted: RunSubmitted,
        ended_by: Option<Entry>,
        outgoing: Vec<Outgoing>,
        (ticket, prepared_at): (Ticket, Instant),
    ) -> Prepared {
        let (input, forked_from) = (submitted.input.clone(), submitted.forked_from);
        let first = Entry {
            id: printed(&run),
            principal: self.principal,
            traceparent: self.traceparent,
            body: Body::RunSubmitted(Box::new(submitted)),
        };
        let entries: Vec<Entry> = [first].into_iter().chain(ended_by).collect();
        let record = encode_record(&entries);
        Prepared { run, keyed, record, input, forked_from, outgoing, ticket, prepared_at }
    }
}

/// Counts a refused submission by its code.
pub(crate) fn count_refusal(diagnosis: &Diagnosis) {
    SUBMISSIONS_REFUSED.counter(&[diagnosis.code.as_str()]).increment(1);
}

fn same(one: &Payload, other: &Payload) -> bool {
    match (&one.stored, &other.stored) {
        (Some(a), Some(b)) => a == b,
        (None, None) => one.value == other.value,
        _ => false,
    }
}

fn check_key(key: Option<&str>) -> Result<(), Diagnosis> {
    let Some(key) = key else { return Ok(()) };
    if key.is_empty() || key.chars().count() > limits::KEY_CHARS_MAX {
        let message = format!("an idempotency key has 1 to {} characters", limits::KEY_CHARS_MAX);
        return Err(Diagnosis::new(Code::KEY_INVALID, message));
    }
    if key.starts_with(SCHEDULED) {
        let message = format!("keys that begin with `{SCHEDULED}` are those of scheduled runs");
        return Err(Diagnosis::new(Code::KEY_INVALID, message).hint("let the key begin otherwise"));
    }
    Ok(())
}

fn check_priority(number: u32) -> Result<Option<Priority>, Diagnosis> {
    let invalid = || {
        Diagnosis::new(Code::PRIORITY_INVALID, format!("{number} is no priority: the first is 1, the last 5"))
            .hint("leave it out for what the workflow says, or 3")
    };
    let number = u8::try_from(number).map_err(|_| invalid())?;
    if number == 0 { Ok(None) } else { Priority::new(number).map(Some).ok_or_else(invalid) }
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Diagnosis> {
    let long = |s: &String| s.chars().count() > LABEL_CHARS_MAX;
    if labels.len() > LABELS_MAX || labels.iter().any(|(k, v)| k.is_empty() || long(k) || long(v)) {
        let message = format!("a run has {LABELS_MAX} labels at most, each 1 to {LABEL_CHARS_MAX} characters");
        return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
    }
    Ok(())
}
