//! Random workflows and runs of them. What a run shall do is known here; what it did is in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_coordinator::partition::effect::Plans;
use kapelle_engine::testing::{random_input, workflow};
use kapelle_engine::{Act, Body, Kept, KeptOutcome, Parent, Phase, Plan, Run, RunSubmitted, StartRun, behaviour};
use kapelle_types::{RunId, Sha256, StepRef, WorkflowVersion};
use serde_json::Value;

use super::agents::{Agents, key};
use super::dice::Dice;
use super::workflows::random_plans;

/// One job that a client wants done.
pub(crate) struct Job {
    pub(crate) id: RunId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) input: Value,
    /// With an idempotency key its first entry is written only if there is none.
    pub(crate) keyed: bool,
    /// What it keeps of another run, if it is a fork of one.
    pub(crate) kept: Vec<Kept>,
    /// The person who wants it, if one does.
    person: Option<String>,
    /// The attempt that waits for it, or began it, if it is the run of a step.
    pub(crate) parent: Option<Parent>,
    /// The run that it goes on in the place of.
    continued_from: Option<RunId>,
}

/// All jobs of a simulation, those of runs that others began among them.
pub(crate) struct Jobs {
    pub(crate) all: Vec<Job>,
    by_id: BTreeMap<RunId, usize>,
    /// What steps run.
    below: BTreeMap<WorkflowVersion, Arc<Plan>>,
}

/// Plans as the partition loop sees them: at hand, or to be loaded first.
pub(crate) struct AtHand<'a> {
    pub(crate) jobs: &'a Jobs,
    pub(crate) at_hand: bool,
}

impl Jobs {
    pub(crate) fn of(seed: u64, dice: &mut Dice) -> Self {
        let kinds = dice.between(1, 2);
        let (plans, below) = random_plans(seed, kinds, dice);
        let most = *dice.pick(&[3, 5, 5, 12]);
        let count = dice.between(1, most);
        let job = |index: u64, dice: &mut Dice| {
            let (id, plan) = (run_id(seed, index), Arc::clone(dice.pick(&plans)));
            let input = random_input(seed.wrapping_mul(31).wrapping_add(index));
            let person = dice.hit(500).then(|| "ada".to_owned());
            let (keyed, kept) = (dice.hit(500), random_kept(seed, id, &plan));
            Job { id, input, keyed, kept, plan, person, parent: None, continued_from: None }
        };
        let all: Vec<_> = (0..count).map(|index| job(index, dice)).collect();
        let by_id = all.iter().enumerate().map(|(at, job)| (job.id, at)).collect();
        Self { all, by_id, below }
    }

    /// Notes a run that another one wants.
    pub(crate) fn want(&mut self, start: &StartRun) {
        if self.by_id.contains_key(&start.run) {
            return;
        }
        let above = self.get(start.parent.run).map(|job| &job.plan);
        let plan = if start.continues.is_some() { above } else { self.below.get(&start.workflow) };
        let Some(plan) = plan.cloned() else { return };
        let (parent, continued_from) = match &start.continues {
            Some(continues) => (continues.above.clone(), Some(start.parent.run)),
            None => (Some(start.parent.clone()), None),
        };
        let input = start.input.value.as_deref().cloned().unwrap_or_default();
        let (id, person) = (start.run, start.person.clone());
        self.by_id.insert(id, self.all.len());
        self.all.push(Job { id, plan, input, keyed: true, kept: Vec::new(), person, parent, continued_from });
    }

    pub(crate) fn get(&self, run: RunId) -> Option<&Job> {
        self.by_id.get(&run).map(|at| &self.all[*at])
    }
}

impl Plans for AtHand<'_> {
    fn at_hand(&self, id: RunId, _submitted: &RunSubmitted) -> Option<Run> {
        let job = self.jobs.get(id)?;
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
            workflow: self.plan.workflow.clone(),
            workflow_digest: Sha256::of(b"simulation"),
            pins: Vec::new(),
            input: self.input.clone().into(),
            key: self.keyed.then(|| self.id.to_string()),
            behaviour: behaviour::CURRENT,
            labels: BTreeMap::new(),
            owner: None,
            forked_from: (!self.kept.is_empty()).then(|| run_id(0, u64::MAX)),
            kept: self.kept.clone(),
            person: self.person.clone(),
            signing_key: Some(1),
            workflow_pins: vec![],
            parent: self.parent.clone(),
            continued_from: self.continued_from,
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
