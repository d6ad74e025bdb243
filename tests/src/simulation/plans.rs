//! Random workflows and runs of them. What a run shall do is known here; what it did is in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_coordinator::partition::effect::Plans;
use kapelle_engine::testing::{Shape, plan, random_input, random_spec, workflow};
use kapelle_engine::{Act, Body, Kept, KeptOutcome, Phase, Plan, Run, RunSubmitted, behaviour};
use kapelle_types::{RunId, Sha256, StepRef};
use serde_json::{Value, json};

use super::agents::{Agents, key};
use super::dice::Dice;

/// One job that a client wants done.
pub(crate) struct Job {
    pub(crate) id: RunId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) input: Value,
    /// With an idempotency key its first entry is written only if there is none.
    pub(crate) keyed: bool,
    /// What it keeps of another run, if it is a fork of one.
    pub(crate) kept: Vec<Kept>,
}

/// All jobs of a simulation.
pub(crate) struct Jobs {
    pub(crate) all: Vec<Job>,
    by_id: BTreeMap<RunId, usize>,
}

/// Plans as the partition loop sees them: at hand, or to be loaded first.
pub(crate) struct AtHand<'a> {
    pub(crate) jobs: &'a Jobs,
    pub(crate) at_hand: bool,
}

impl Jobs {
    pub(crate) fn of(seed: u64, dice: &mut Dice) -> Self {
        let kinds = dice.between(1, 2);
        let plans: Vec<_> = (0..kinds).map(|kind| Arc::new(random_plan(seed.wrapping_add(kind << 32), dice))).collect();
        let most = *dice.pick(&[3, 5, 5, 12]);
        let count = dice.between(1, most);
        let job = |index: u64, dice: &mut Dice| {
            let (id, plan) = (run_id(seed, index), Arc::clone(dice.pick(&plans)));
            let input = random_input(seed.wrapping_mul(31).wrapping_add(index));
            Job { id, input, keyed: dice.hit(500), kept: random_kept(seed, id, &plan), plan }
        };
        let all: Vec<_> = (0..count).map(|index| job(index, dice)).collect();
        let by_id = all.iter().enumerate().map(|(at, job)| (job.id, at)).collect();
        Self { all, by_id }
    }

    pub(crate) fn get(&self, run: RunId) -> Option<&Job> {
        self.by_id.get(&run).map(|at| &self.all[*at])
    }
}

impl Plans for AtHand<'_> {
    fn at_hand(&self, id: RunId, submitted: &RunSubmitted) -> Option<Run> {
        let job = self.jobs.all.iter().find(|job| submitted.key.as_deref() == Some(&*job.id.to_string()))?;
        self.at_hand.then(|| job.run(id))
    }
}

impl Job {
    /// The run before its first entry.
    pub(crate) fn run(&self, id: RunId) -> Run {
        Run::new(id, Arc::clone(&self.plan)).with_key(Some(key(id)))
    }

    /// Its submission, as the API would write it.
    pub(crate) fn submission(&self) -> Body {
        Body::RunSubmitted(Box::new(RunSubmitted {
            workflow: workflow(),
            workflow_digest: Sha256::of(b"simulation"),
            pins: Vec::new(),
            input: self.input.clone().into(),
            key: Some(self.id.to_string()),
            behaviour: behaviour::CURRENT,
            labels: BTreeMap::new(),
            owner: None,
            forked_from: (!self.kept.is_empty()).then(|| run_id(0, u64::MAX)),
            kept: self.kept.clone(),
            person: None,
            signing_key: Some(1),
            workflow_pins: vec![],
            parent: None,
            continued_from: None,
            priority: None,
            fairness: None,
        }))
    }
}

/// A run id that the seed fixes. Ids that no job has belong to no run.
pub(crate) fn run_id(seed: u64, index: u64) -> RunId {
    RunId::keyed("simulation", &workflow().name, &format!("{seed}/{index}"))
}

/// What a fork keeps: now and then a run is one. Its steps came to what their agents return, so that nobody sees in the output
/// which run did them. Its dice are its own: what others say does not depend on it.
fn random_kept(seed: u64, id: RunId, plan: &Plan) -> Vec<Kept> {
    let mut dice = Dice::new(seed ^ id.seed());
    let agents = Agents { seed, trouble: 0, poison: 0 };
    let mut kept: Vec<Kept> = Vec::new();
    if !dice.hit(250) {
        return kept;
    }
    for step in &plan.steps {
        let whole = step.needs.iter().all(|need| kept.iter().any(|there| there.step == plan.steps[*need].id));
        // What other steps come to is decided in the run itself.
        if !whole || dice.hit(400) || step.phase != Phase::Work || !matches!(step.act, Act::Agent(_)) {
            continue;
        }
        let outcome = if step.when.is_some() && dice.hit(300) {
            KeptOutcome::Skipped
        } else if step.foreach.is_some() {
            let total = u32::try_from(dice.below(4)).unwrap_or_default();
            let member = |item| agents.output(id, &StepRef::member(step.id.clone(), item));
            KeptOutcome::Members { outputs: Value::Array((0..total).map(member).collect()).into(), total }
        } else {
            KeptOutcome::Output(agents.output(id, &StepRef::whole(step.id.clone())).into())
        };
        kept.push(Kept { step: step.id.clone(), outcome });
    }
    kept
}

fn random_plan(seed: u64, dice: &mut Dice) -> Plan {
    let shape = Shape {
        steps_max: 6,
        total: true,
        deadline: true,
        cost: true,
        kinds: 20,
        repeat: 20,
        closing: 25,
        ..Shape::default()
    };
    let mut spec = random_spec(seed, &shape);
    for step in spec["steps"].as_array_mut().into_iter().flatten() {
        step["timeout_ms"] = json!(dice.between(200, 3_000));
        // What runs below give is null here, and no condition of random rounds is about that.
        if step.get("workflow").is_some()
            && let Some(step) = step.as_object_mut()
        {
            step.remove("repeat");
        }
    }
    plan(&spec)
}
