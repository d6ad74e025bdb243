//! The observed graph: which agent versions did which steps of which workflow versions, as the run logs say.
//!
//! ```text
//!   RUNS_<p> ──what was written since──▶ RunSubmitted: what each step is pinned to     one row a step and agent version
//!                                        reports: attempts that succeeded or failed    one edge where an output flows
//!                                        RunFinished: a step without a report was skipped
//! ```
//!
//! Nothing of it is kept: it is read when somebody asks, by whichever coordinator is asked, and within bounds
//! ([`ENTRIES_MAX`], [`BYTES_MAX`], [`PATIENCE`]) however many runs there are. A run counts if its submission was read. What
//! reports say is counted as it stands in the log, also if the engine ignored it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kapelle_bus::runlog::RawRecord;
use kapelle_bus::{Bus, Error};
use kapelle_engine::{Body, RunStatus, RunSubmitted, Work};
use kapelle_proto::{decode_record, v1};
use kapelle_types::{AgentVersion, RunId, Sha256, StepId, Timestamp, WorkflowName, WorkflowVersion};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::catalog::Snapshot;
use crate::plans::needs;

/// Records that one answer reads, over all partitions: some 100,000 runs of a step or two, read in seconds.
const ENTRIES_MAX: u64 = 300_000;
/// Bytes that one answer reads: records bring their payloads along, up to 64 KiB each.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long one answer reads.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers that a coordinator makes at once: the broker reads for running work too.
static READING: Semaphore = Semaphore::const_new(1);

/// What an agent of a step did in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Nothing,
    Failed,
    /// It gave what another agent of the same step went on with.
    HandedOn,
    Succeeded,
}

/// What all runs of one plan have in common.
struct Plan {
    workflow: WorkflowVersion,
    steps: Vec<(StepId, AgentVersion)>,
    /// Who gives to whom, by their places in `steps`.
    edges: Vec<(usize, usize)>,
}

/// A run whose submission was read.
struct Run {
    plan: usize,
    done: Vec<Done>,
}

/// One step of one plan, over all its runs.
#[derive(Debug, Clone, Default)]
struct Row {
    runs: u64,
    succeeded: u64,
    failed: u64,
    skipped: u64,
    last: Timestamp,
}

/// What was observed.
#[derive(Default)]
struct Observed {
    plans: Vec<Plan>,
    by_pins: HashMap<(WorkflowVersion, Vec<AgentVersion>), usize>,
    rows: BTreeMap<(usize, usize), (Row, Timestamp)>,
    flowed: BTreeMap<(usize, usize, usize), u64>,
    open: HashMap<RunId, Run>,
    runs: u64,
    entries: u64,
    bytes: usize,
}

/// Reads what happened since a moment, of one workflow or of all.
///
/// # Errors
/// The broker stopped answering.
pub(crate) async fn observe(
    bus: &Bus,
    snapshot: &Snapshot,
    workflow: Option<&WorkflowName>,
    since: Timestamp,
) -> Result<v1::LineageResponse, Error> {
    let _turn = READING.acquire().await.map_err(|e| Error::Unavailable(e.to_string()))?;
    let until = Instant::now() + PATIENCE;
    let mut observed = Observed::default();
    let share = ENTRIES_MAX / u64::from(bus.partitions().count()).max(1);
    let (mut from, mut complete) = (since, true);
    for partition in bus.partitions().all() {
        let take = |record| {
            observed.take(record, workflow, snapshot);
            observed.bytes < BYTES_MAX && Instant::now() < until
        };
        let window = bus.read_window(partition, since, share, take).await?;
        complete &= !window.stopped && !window.cut;
        if window.cut {
            from = from.max(window.from.unwrap_or(since));
        }
    }
    Ok(observed.answer(snapshot, from, complete))
}

impl Observed {
    fn take(&mut self, raw: RawRecord, workflow: Option<&WorkflowName>, snapshot: &Snapshot) {
        self.entries += 1;
        self.bytes += raw.payload.len();
        // What cannot be read was passed over, and counted, by whoever drives the run.
        let Ok(record) = decode_record(raw.channel, raw.stamp, &raw.payload) else { return };
        for entry in record.entries {
            match entry.body {
                Body::RunSubmitted(it) => {
                    if workflow.is_none_or(|name| *name == it.workflow.name) {
                        self.submitted(raw.run, &it, raw.stamp.at, snapshot);
                    }
                }
                Body::StepSucceeded(it) => self.reported(raw.run, &it.task.step.step, &it.work, true, raw.stamp.at),
                Body::StepFailed(it) => self.reported(raw.run, &it.task.step.step, &it.work, false, raw.stamp.at),
                Body::RunFinished(it) => self.finished(raw.run, it.status),
                Body::TimerFired { .. }
                | Body::SignalReceived(_)
                | Body::ApprovalDecided(_)
                | Body::ApprovalChecked(_)
                | Body::CancelRequested { .. }
                | Body::TerminateRequested { .. }
                | Body::PauseRequested { .. }
                | Body::ResumeRequested
                | Body::RetryRequested { .. }
                | Body::FailRequested { .. } => {}
            }
        }
    }

    fn submitted(&mut self, run: RunId, submitted: &RunSubmitted, at: Timestamp, snapshot: &Snapshot) {
        let pins: Vec<AgentVersion> = submitted.pins.iter().map(|pin| pin.agent.clone()).collect();
        let key = (submitted.workflow.clone(), pins);
        let plan = match self.by_pins.get(&key) {
            Some(plan) => *plan,
            None => {
                self.plans.push(Plan::of(submitted, snapshot));
                self.by_pins.insert(key, self.plans.len() - 1);
                self.plans.len() - 1
            }
        };
        let steps = self.plans[plan].steps.len();
        self.runs += 1;
        for step in 0..steps {
            let (row, _) = self.rows.entry((plan, step)).or_insert_with(|| (Row::default(), at));
            row.runs += 1;
            row.last = row.last.max(at);
        }
        self.open.insert(run, Run { plan, done: vec![Done::Nothing; steps] });
    }

    fn reported(&mut self, run: RunId, step: &StepId, work: &Work, succeeded: bool, at: Timestamp) {
        let Some(run) = self.open.get_mut(&run) else { return };
        let steps = &self.plans[run.plan].steps;
        let by = |agent: &AgentVersion| work.agent.as_ref().is_none_or(|it| it == agent);
        let Some(place) = steps.iter().position(|(id, agent)| id == step && by(agent)) else { return };
        if let Some((row, _)) = self.rows.get_mut(&(run.plan, place)) {
            row.succeeded += u64::from(succeeded);
            row.failed += u64::from(!succeeded);
            row.last = row.last.max(at);
        }
        if succeeded {
            // Whoever succeeded before another agent of the step did gave the step's output only to that one.
            for (other, (id, _)) in steps.iter().enumerate() {
                if id == step && run.done[other] == Done::Succeeded {
                    run.done[other] = Done::HandedOn;
                }
            }
            run.done[place] = Done::Succeeded;
        } else if run.done[place] == Done::Nothing {
            run.done[place] = Done::Failed;
        }
    }

    fn finished(&mut self, run: RunId, status: RunStatus) {
        let Some(run) = self.open.remove(&run) else { return };
        if status == RunStatus::Completed {
            for place in run.done.iter().enumerate().filter(|(_, done)| **done == Done::Nothing).map(|(place, _)| place)
            {
                if let Some((row, _)) = self.rows.get_mut(&(run.plan, place)) {
                    row.skipped += 1;
                }
            }
        }
        self.flow(&run);
    }

    /// Along which edges of the run something has flowed: the one gave it, the other took it.
    fn flow(&mut self, run: &Run) {
        for (giver, taker) in &self.plans[run.plan].edges {
            if run.done[*giver] == Done::Succeeded && run.done[*taker] != Done::Nothing {
                *self.flowed.entry((run.plan, *giver, *taker)).or_default() += 1;
            }
        }
    }

    fn answer(mut self, snapshot: &Snapshot, from: Timestamp, complete: bool) -> v1::LineageResponse {
        for run in std::mem::take(&mut self.open).into_values() {
            self.flow(&run);
        }
        let steps = self.rows.iter().map(|((plan, place), (row, first))| {
            let plan = &self.plans[*plan];
            let (step, agent) = &plan.steps[*place];
            v1::LineageStep {
                workflow: plan.workflow.to_string(),
                step: step.to_string(),
                agent: agent.to_string(),
                runs: row.runs,
                attempts_succeeded: row.succeeded,
                attempts_failed: row.failed,
                runs_skipped: row.skipped,
                first_unix_nanos: first.nanos(),
                last_unix_nanos: row.last.nanos(),
            }
        });
        let edges = self.flowed.iter().map(|((plan, giver, taker), runs)| {
            let plan = &self.plans[*plan];
            let ((from, agent), (to, _)) = (&plan.steps[*giver], &plan.steps[*taker]);
            v1::LineageEdge {
                workflow: plan.workflow.to_string(),
                from: from.to_string(),
                to: to.to_string(),
                agent: agent.to_string(),
                schema_digest: snapshot.output_digest(agent).map_or(String::new(), |it: Sha256| it.to_string()),
                runs: *runs,
            }
        });
        v1::LineageResponse {
            steps: steps.collect(),
            edges: edges.collect(),
            from_unix_nanos: from.nanos(),
            complete,
            runs: self.runs,
            entries: self.entries,
        }
    }
}

impl Plan {
    fn of(submitted: &RunSubmitted, snapshot: &Snapshot) -> Self {
        let steps: Vec<(StepId, AgentVersion)> =
            submitted.pins.iter().map(|pin| (pin.step.clone(), pin.agent.clone())).collect();
        let places = |id: &StepId| {
            let of_step = steps.iter().enumerate().filter(|(_, (step, _))| step == id).map(|(place, _)| place);
            of_step.collect::<Vec<_>>()
        };
        let manifest = snapshot.workflow(&submitted.workflow);
        let mut edges = Vec::new();
        for step in manifest.iter().flat_map(|it| it.every_step()) {
            let givers: Vec<usize> = needs(step).iter().flat_map(places).collect();
            for taker in places(&step.id) {
                edges.extend(givers.iter().map(|giver| (*giver, taker)));
            }
        }
        edges.sort_unstable();
        edges.dedup();
        Self { workflow: submitted.workflow.clone(), steps, edges }
    }
}
