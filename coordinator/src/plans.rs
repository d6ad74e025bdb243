//! Plans: workflow versions with what their steps are pinned to, compiled once and shared by all runs that use them.

mod act;
mod contracts;
mod going_on;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::keys::{self, Keys};
use kapelle_bus::registry::{Kind, Registry};
use kapelle_engine::{
    KeyId, Parent, Phase, Pin, Plan, PlanStep, Run, RunSubmitted, SigningKey, TaskToken, WorkflowPin,
};
use kapelle_expression::{Root, Template};
use kapelle_manifest::{Agent, Manifest, Step, Workflow};
use kapelle_types::limits::CLOSING_DEFAULT;
use kapelle_types::{RunId, Sha256, StepId, WorkflowVersion};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::partition::effect::Plans;
use act::{act, approval, flowing, handoff, join, max_failures, on_give_up, repeat, retry, timeout};
use contracts::{contract, given, taken};
use going_on::going_on;

/// Plans kept in memory; beyond it all are dropped and compiled again as they are needed.
const PLANS_MAX: usize = 4_096;

/// How often a coordinator looks whether there is a newer signing key.
const KEYS_LOOKED_AT: Duration = Duration::from_secs(5);

/// Why a plan cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The broker did not answer; ask again.
    #[error(transparent)]
    Bus(#[from] kapelle_bus::Error),
    /// A manifest is not registered, or not the one that was pinned.
    #[error("{what} is not registered as it was when the run was submitted")]
    Missing {
        /// Which.
        what: String,
    },
    /// A manifest is registered and cannot be compiled by this build.
    #[error("{what} cannot be compiled: {why}")]
    Broken {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
}

/// A compiled plan and the pins that it was compiled with: what makes two runs share it, beside their workflow.
struct Pinned {
    pins: Vec<Pin>,
    workflow_pins: Vec<WorkflowPin>,
    plan: Arc<Plan>,
}

/// What the steps of a workflow version are pinned to, each with its manifest, in the order of the steps.
#[derive(Clone, Copy)]
pub struct Parts<'p> {
    /// The agents' pins.
    pub pins: &'p [Pin],
    /// The agents.
    pub agents: &'p [Arc<Agent>],
    /// The pins of the workflows that steps run.
    pub workflow_pins: &'p [WorkflowPin],
    /// Those workflows.
    pub workflows: &'p [Arc<Workflow>],
}

/// The compiled plans.
pub struct PlanStore {
    registry: Registry,
    keys: Keys,
    known_keys: RwLock<HashMap<KeyId, SigningKey>>,
    /// The key that new runs are submitted under.
    newest_key: AtomicU32,
    /// By the digest of the workflow; few sets of pins each.
    plans: RwLock<HashMap<Sha256, Vec<Pinned>>>,
}

impl PlanStore {
    /// Opens the registry and the keys behind the plans.
    ///
    /// # Errors
    /// The broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, kapelle_bus::Error> {
        let (registry, keys) = (Registry::open(bus).await?, Keys::open(bus).await?);
        // At hand before the first run asks for it.
        let newest = keys.newest(keys::FIRST).await?;
        let known_keys = keys.get(newest).await?.into_iter().map(|key| (newest, key)).collect();
        let (newest_key, known_keys) = (AtomicU32::new(newest), RwLock::new(known_keys));
        Ok(Self { registry, keys, known_keys, newest_key, plans: RwLock::default() })
    }

    /// The key that new runs are submitted under.
    pub(crate) fn newest_key(&self) -> KeyId {
        self.newest_key.load(Ordering::Relaxed)
    }

    /// Looks for newer keys, until `stop`. Coordinators that do not know one yet submit under the one before; whoever meets a
    /// run of a newer key reads that key.
    pub(crate) async fn follow_keys(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(KEYS_LOOKED_AT)).await.is_some() {
            let known = self.newest_key();
            match self.keys.newest(known).await {
                Ok(newest) if newest > known => {
                    tracing::info!(key = newest, "new runs are submitted under a new signing key");
                    self.newest_key.store(newest, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(error) if error.is_transient() => tracing::debug!(%error, "signing keys cannot be looked at"),
                Err(error) => tracing::error!(%error, "the signing keys are not what they were"),
            }
        }
    }

    /// The run that a submission begins, before its first entry: of the plan that it pins, with the key that it names.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub async fn begin(&self, id: RunId, submitted: &RunSubmitted) -> Result<Run, PlanError> {
        let plan = self.plan(submitted).await?;
        let key = match submitted.signing_key {
            None => None,
            Some(number) => Some(self.signing_key(number).await?.of_run(id)),
        };
        Ok(Run::new(id, plan).with_key(key))
    }

    /// The token of the attempt that a run was begun for; none if reports on it need none.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub(crate) async fn token_of(&self, parent: &Parent) -> Result<Option<TaskToken>, PlanError> {
        match parent.signing_key {
            None => Ok(None),
            Some(number) => Ok(Some(self.signing_key(number).await?.of_run(parent.run).token(&parent.task))),
        }
    }

    /// A signing key: from memory, or read. It is told only after it was found, so none is remembered as missing.
    async fn signing_key(&self, number: KeyId) -> Result<SigningKey, PlanError> {
        if let Some(key) = self.known_key(number) {
            return Ok(key);
        }
        let found = self.keys.get(number).await?.ok_or_else(|| missing(&format!("signing key {number}")))?;
        self.known_keys.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(number, found.clone());
        Ok(found)
    }

    fn known_key(&self, number: KeyId) -> Option<SigningKey> {
        self.known_keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&number).cloned()
    }

    /// The plan that a submission pins: from memory, or compiled from the registered manifests.
    pub(crate) async fn plan(&self, submitted: &RunSubmitted) -> Result<Arc<Plan>, PlanError> {
        if let Some(plan) = self.known_plan(submitted) {
            return Ok(plan);
        }
        let RunSubmitted { workflow, workflow_digest, pins, workflow_pins, .. } = submitted;
        let name = workflow.name.as_str();
        let found = self.registry.get(Kind::Workflow, name, &workflow.version).await?;
        let manifest = checked(found, workflow, *workflow_digest)?;
        let Manifest::Workflow(definition) = manifest else { return Err(missing(workflow)) };
        let mut agents = Vec::with_capacity(pins.len());
        for pin in pins {
            let name = pin.agent.name.as_str();
            let found = self.registry.get(Kind::Agent, name, &pin.agent.version).await?;
            let Manifest::Agent(agent) = checked(found, &pin.agent, pin.digest)? else {
                return Err(missing(&pin.agent));
            };
            agents.push(Arc::new(agent));
        }
        let mut workflows = Vec::with_capacity(workflow_pins.len());
        for pin in workflow_pins {
            let found = self.registry.get(Kind::Workflow, pin.workflow.name.as_str(), &pin.workflow.version).await?;
            let Manifest::Workflow(below) = checked(found, &pin.workflow, pin.digest)? else {
                return Err(missing(&pin.workflow));
            };
            workflows.push(Arc::new(below));
        }
        let parts = Parts { pins, agents: &agents, workflow_pins, workflows: &workflows };
        self.compile(workflow, *workflow_digest, &definition, parts)
    }

    /// Compiles a plan and keeps it.
    ///
    /// # Errors
    /// [`PlanError::Broken`].
    pub fn compile(
        &self,
        workflow: &WorkflowVersion,
        digest: Sha256,
        definition: &Workflow,
        parts: Parts<'_>,
    ) -> Result<Arc<Plan>, PlanError> {
        let plan = Arc::new(plan(workflow, definition, parts)?);
        let mut plans = self.plans.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if plans.values().map(Vec::len).sum::<usize>() >= PLANS_MAX {
            plans.clear();
        }
        let of_workflow = plans.entry(digest).or_default();
        if let Some(there) = find(of_workflow, workflow, parts.pins, parts.workflow_pins) {
            return Ok(there);
        }
        of_workflow.push(Pinned {
            pins: parts.pins.to_vec(),
            workflow_pins: parts.workflow_pins.to_vec(),
            plan: Arc::clone(&plan),
        });
        Ok(plan)
    }
}

impl Plans for PlanStore {
    fn at_hand(&self, id: RunId, submitted: &RunSubmitted) -> Option<Run> {
        let key = match submitted.signing_key {
            None => None,
            Some(number) => Some(self.known_key(number)?.of_run(id)),
        };
        Some(Run::new(id, self.known_plan(submitted)?).with_key(key))
    }
}

impl PlanStore {
    fn known_plan(&self, submitted: &RunSubmitted) -> Option<Arc<Plan>> {
        let plans = self.plans.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let compiled = plans.get(&submitted.workflow_digest)?;
        find(compiled, &submitted.workflow, &submitted.pins, &submitted.workflow_pins)
    }
}

fn find(
    compiled: &[Pinned],
    workflow: &WorkflowVersion,
    pins: &[Pin],
    workflow_pins: &[WorkflowPin],
) -> Option<Arc<Plan>> {
    let same = |c: &&Pinned| c.plan.workflow == *workflow && c.pins == pins && c.workflow_pins == workflow_pins;
    compiled.iter().find(same).map(|c| Arc::clone(&c.plan))
}

fn missing(what: &impl ToString) -> PlanError {
    PlanError::Missing { what: what.to_string() }
}

/// The manifest, if it is the very one that was pinned.
fn checked(
    found: Option<kapelle_bus::registry::Registered>,
    what: &impl ToString,
    digest: Sha256,
) -> Result<Manifest, PlanError> {
    let found = found.filter(|f| f.digest == digest).ok_or_else(|| missing(what))?;
    serde_json::from_value(found.manifest).map_err(|e| broken(what, &e))
}

fn broken(what: &impl ToString, why: &impl ToString) -> PlanError {
    PlanError::Broken { what: what.to_string(), why: why.to_string() }
}

fn plan(version: &WorkflowVersion, workflow: &Workflow, parts: Parts<'_>) -> Result<Plan, PlanError> {
    let order = workflow.order().map_err(|e| broken(version, &e))?;
    let definitions = &workflow.spec.steps;
    let place: HashMap<&StepId, usize> = order.iter().enumerate().map(|(at, i)| (&definitions[*i].id, at)).collect();
    let mut pinned: HashMap<&StepId, Vec<(&Pin, &Agent)>> = HashMap::new();
    for (pin, agent) in parts.pins.iter().zip(parts.agents) {
        pinned.entry(&pin.step).or_default().push((pin, agent));
    }
    let called: HashMap<&StepId, (&WorkflowPin, &Workflow)> =
        parts.workflow_pins.iter().zip(parts.workflows).map(|(pin, it)| (&pin.step, (pin, &**it))).collect();
    let next = workflow.spec.next.as_ref().map(|it| going_on(version, workflow, it)).transpose()?;
    let of_work = order.iter().map(|index| (Phase::Work, &definitions[*index]));
    let undone =
        order.iter().enumerate().filter_map(|(at, index)| Some((at, definitions[*index].compensate.as_deref()?)));
    let undo = undone.map(|(at, undo)| (Phase::Compensation(at), undo));
    let on_failure = workflow.spec.on_failure.iter().map(|step| (Phase::OnFailure, step));
    let finally = workflow.spec.finally.iter().map(|step| (Phase::Finally, step));
    let mut steps = Vec::with_capacity(order.len());
    for (phase, step) in of_work.chain(undo).chain(on_failure).chain(finally) {
        let (pinned, called) = (pinned.get(&step.id).map_or(&[][..], Vec::as_slice), called.get(&step.id).copied());
        let (pinned, others) = pinned.split_first().map_or((None, &[][..]), |(first, others)| (Some(*first), others));
        let needs = if phase == Phase::Work { needs(step) } else { Vec::new() };
        let mut needs: Vec<usize> = needs.iter().filter_map(|id| place.get(id).copied()).collect();
        needs.sort_unstable();
        needs.dedup();
        steps.push(PlanStep {
            id: step.id.clone(),
            phase,
            act: act(step, pinned, called)?,
            needs,
            join: step.join.as_ref().map(|it| join(it, &place)),
            case: step.case.as_ref().and_then(|it| Some((*place.get(&it.switch)?, it.case.clone()))),
            when: step.when.clone(),
            foreach: step.foreach.clone(),
            max_parallel: step.max_parallel.unwrap_or(u32::MAX),
            batch: step.batch,
            max_failures: step.max_failures.map(max_failures),
            with: step.template().map_or_else(|| nothing(version), |(_, template)| Ok(template.clone()))?,
            input: taken(pinned, called)?,
            output: given(step, pinned, called)?,
            repeat: step.repeat.as_ref().map(repeat),
            handoff: handoff(step, others)?,
            retry: retry(step, pinned),
            timeout: timeout(step, pinned),
            on_give_up: on_give_up(step),
            approve: step.approve.as_ref().map(|it| Box::new(approval(it))),
            priority: step.priority.clone(),
        });
    }
    // Behind the work, so that what undoes the work has it in sight and is not undone itself.
    steps.extend(next);
    let (mut signals, mut answers) = (BTreeMap::new(), BTreeMap::new());
    for (name, declared) in &workflow.spec.signals {
        signals.insert(name.clone(), contract(&declared.contract).map_err(|e| broken(version, &e))?);
        answers.extend(declared.answer.clone().map(|answer| (name.clone(), answer)));
    }
    let output = workflow.spec.output.clone();
    let result = contract(&workflow.spec.result).map_err(|e| broken(version, &e))?;
    Ok(Plan {
        workflow: version.clone(),
        steps,
        signals,
        queries: workflow.spec.queries.clone(),
        answers,
        output,
        result,
        deadline: workflow.spec.deadline,
        close_within: workflow.spec.close_within.unwrap_or(CLOSING_DEFAULT),
        flow: flowing(workflow),
    })
}

/// What a step works on that works on nothing.
fn nothing(version: &WorkflowVersion) -> Result<Template, PlanError> {
    Template::compile(&Value::Null).map_err(|_| broken(version, &"an empty template"))
}

/// What a step waits for: what it names and what its expressions refer to.
pub(crate) fn needs(step: &Step) -> Vec<StepId> {
    let referred = step.references().into_iter().filter_map(|reference| match reference.root {
        Root::Output(id) | Root::Outputs(id) | Root::Status(id) => Some(id),
        Root::Input
        | Root::Item
        | Root::Index
        | Root::Given
        | Root::Last
        | Root::Round
        | Root::RunId
        | Root::RunStartedAt
        | Root::RunErrorCode
        | Root::RunErrorMessage => None,
    });
    step.needs.iter().cloned().chain(referred).collect()
}

/// The pin of a step.
pub(crate) fn pin(step: &StepId, agent: &Agent, digest: Sha256) -> Pin {
    Pin { step: step.clone(), agent: agent.version(), digest }
}
