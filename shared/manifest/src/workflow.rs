//! `kind: Workflow`: steps and what they depend on.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use kapelle_expression::{Expression, Reference, Template};
use kapelle_types::limits::QUERIES_MAX;
use kapelle_types::{QueryName, SignalName, StepId, WorkflowName, WorkflowVersion};
use serde::Serialize;
use serde_json::Value;

use crate::flow::{self, Fairness};
use crate::issue::Issue;
use crate::metadata::Metadata;
use crate::order::{self, Cycle};
use crate::read::{Fields, Issues, Part, optional};
use crate::signal::Signal;
use crate::step::Step;
use crate::{Contract, contracts, last, write};

/// A workflow as people declare it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workflow {
    /// Name, version, owner.
    pub metadata: Metadata<WorkflowName>,
    /// What it does.
    pub spec: WorkflowSpec,
}

/// What a workflow does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowSpec {
    /// What a run takes.
    pub input: Contract,
    /// The signals that its runs take.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub signals: BTreeMap<SignalName, Signal>,
    /// What may be asked of its runs at any time, over what they have so far.
    #[serde(serialize_with = "write::templates", skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<QueryName, Template>,
    /// The steps, in the order of the file.
    pub steps: Vec<Step>,
    /// What is done after the compensations when a run ends otherwise than COMPLETED, one after another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Step>,
    /// What is done last however a run ends, one after another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finally: Vec<Step>,
    /// How long compensations, `on_failure` and `finally` may take together.
    #[serde(serialize_with = "write::optional_duration", skip_serializing_if = "Option::is_none")]
    pub close_within: Option<Duration>,
    /// What a run gives, over the input and the outputs of the steps.
    #[serde(serialize_with = "write::template")]
    pub output: Template,
    /// What that has to be like.
    #[serde(skip_serializing_if = "Contract::is_any")]
    pub result: Contract,
    /// When another run goes on in the place of one that has done its steps.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub next: Option<Continuation>,
    /// How long a run may take.
    #[serde(serialize_with = "write::optional_duration", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How soon its tasks are served, over the run's input: 1 first, 5 last, 3 if nothing is said.
    #[serde(serialize_with = "write::optional_template", skip_serializing_if = "Option::is_none")]
    pub priority: Option<Template>,
    /// Whose share of an agent version its tasks take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
}

/// Work without an end, as runs that each do a part of it: `continue`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Continuation {
    /// Whether another run goes on, over the input and the outputs of the steps.
    #[serde(serialize_with = "write::expression")]
    pub when: Expression,
    /// What that one takes.
    #[serde(serialize_with = "write::template")]
    pub with: Template,
}

impl Continuation {
    /// What the step is called that begins the other run.
    #[must_use]
    pub fn step_id() -> Option<StepId> {
        "continue".parse().ok()
    }

    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let when = fields.required("when", issues).and_then(|it| it.expression(issues));
        let with = fields.required("with", issues).and_then(|it| it.template(issues));
        fields.close(&[], issues);
        Some(Self { when: when?, with: with? })
    }
}

impl Workflow {
    /// Name and version together.
    #[must_use]
    pub fn version(&self) -> WorkflowVersion {
        WorkflowVersion { name: self.metadata.name.clone(), version: self.metadata.version.clone() }
    }

    /// The step with this id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.spec.steps.iter().find(|step| step.id == *id)
    }

    /// Every step: of the work, then what undoes them, then `on_failure`, then `finally`.
    pub fn every_step(&self) -> impl Iterator<Item = &Step> {
        let spec = &self.spec;
        let undo = spec.steps.iter().filter_map(|step| step.compensate.as_deref());
        spec.steps.iter().chain(undo).chain(&spec.on_failure).chain(&spec.finally)
    }

    /// The steps, each after those that it needs; steps that do not depend on each other keep the order of the file.
    ///
    /// # Errors
    /// Some of them need each other.
    pub fn order(&self) -> Result<Vec<usize>, Cycle> {
        order::order(&self.spec.steps)
    }

    /// The steps that no other step needs.
    pub fn last_steps(&self) -> impl Iterator<Item = &Step> {
        last(&self.spec.steps).into_iter()
    }

    pub(crate) fn read(mut document: Fields<'_>, issues: &mut Issues) -> Option<Self> {
        let metadata = document.required("metadata", issues).and_then(|it| Metadata::read(&it, issues));
        let spec = document.required("spec", issues).and_then(|it| WorkflowSpec::read(&it, issues));
        document.close(&[], issues);
        Some(Self { metadata: metadata?, spec: spec? })
    }
}

impl WorkflowSpec {
    /// What DESIGN knows and this version does not.
    const LATER: &[&str] = &["access", "budget", "cost", "risk", "schedule"];

    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let input = fields.optional("input").map_or(Some(Contract::any()), |it| contracts::read(&it, issues));
        let signals = fields.optional("signals").map_or(Some(BTreeMap::new()), |it| read_signals(&it, issues));
        let queries = fields.optional("queries").map_or(Some(BTreeMap::new()), |it| read_queries(&it, issues));
        let steps = fields.required("steps", issues).and_then(|it| read_steps(&it, issues));
        let list =
            |part: Option<Part<'_>>, issues: &mut Issues| part.map_or(Some(vec![]), |it| last::read_list(&it, issues));
        let on_failure = list(fields.optional("on_failure"), issues);
        let finally = list(fields.optional("finally"), issues);
        let close_within = fields.optional("close_within").map(|it| it.duration(issues));
        let output_part = fields.optional("output");
        let output = output_part.as_ref().map(|it| it.template(issues));
        let result = fields.optional("result").map_or(Some(Contract::any()), |it| contracts::read(&it, issues));
        let next = optional(fields.optional("continue"), |it| Continuation::read(it, issues));
        let deadline = fields.optional("deadline").map(|it| it.duration(issues));
        let priority = optional(fields.optional("priority"), |it| flow::priority(it, issues));
        let fairness = optional(fields.optional("fairness"), |it| Fairness::read(it, issues));
        fields.close(Self::LATER, issues);
        let steps = steps?;
        let output = match output {
            Some(output) => output?,
            None => default_output(&steps, part, issues)?,
        };
        let given = |duration: Option<Option<Duration>>| match duration {
            Some(duration) => duration.map(Some),
            None => Some(None),
        };
        Some(Self {
            input: input?,
            signals: signals?,
            queries: queries?,
            steps,
            on_failure: on_failure?,
            finally: finally?,
            close_within: given(close_within)?,
            output,
            result: result?,
            next: next?,
            deadline: given(deadline)?,
            priority: priority?,
            fairness: fairness?,
        })
    }

    /// What the output refers to.
    #[must_use]
    pub fn output_references(&self) -> Vec<Reference> {
        self.output.references()
    }
}

fn read_signals(part: &Part<'_>, issues: &mut Issues) -> Option<BTreeMap<SignalName, Signal>> {
    let fields = part.fields(issues)?;
    let signals: Vec<_> = fields
        .all()
        .map(|(name, part)| {
            let key = Part { value: &Value::String(name.clone()), pointer: part.pointer.clone() }.name(issues);
            let signal = Signal::read(&part, issues);
            Some((key?, signal?))
        })
        .collect();
    signals.into_iter().collect()
}

/// `total: ${…}`: a name and the value that it stands for.
fn read_queries(part: &Part<'_>, issues: &mut Issues) -> Option<BTreeMap<QueryName, Template>> {
    let fields = part.fields(issues)?;
    let queries: Vec<_> = fields
        .all()
        .map(|(name, part)| {
            let key = Part { value: &Value::String(name.clone()), pointer: part.pointer.clone() }.name(issues);
            let template = part.template(issues);
            Some((key?, template?))
        })
        .collect();
    if queries.len() > QUERIES_MAX {
        let message = format!("a workflow has {QUERIES_MAX} queries at most, this one has {}", queries.len());
        let hint = "let one query give an object with several fields";
        issues.push(Issue::rule(&part.pointer, message).on_key().label("too many").hint(hint));
        return None;
    }
    queries.into_iter().collect()
}

fn read_steps(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Step>> {
    let items = part.items(issues)?;
    if items.is_empty() {
        issues.push(Issue::rule(&part.pointer, "a workflow has at least one step").on_key());
        return None;
    }
    let steps: Vec<Option<Step>> = items.iter().map(|it| Step::read(it, issues)).collect();
    let mut steps: Vec<Step> = steps.into_iter().collect::<Option<_>>()?;
    for step in &mut steps {
        step.add_implied_needs();
    }
    Some(steps)
}

/// The output of a run whose workflow names none: that of its one last step.
fn default_output(steps: &[Step], part: &Part<'_>, issues: &mut Issues) -> Option<Template> {
    match last(steps).as_slice() {
        [only] => {
            let field = if only.foreach.is_some() { "outputs" } else { "output" };
            let source = Value::String(format!("${{steps.{}.{field}}}", only.id));
            Template::compile(&source).ok()
        }
        // A circle; that is reported as such.
        [] => Template::compile(&Value::Null).ok(),
        many => {
            let names: Vec<String> = many.iter().map(|step| format!("`{}`", step.id)).collect();
            let issue = Issue::rule(&part.pointer, format!("`output` is missing: {} steps are last", many.len()));
            issues.push(issue.on_key().label("`output` is needed here").hint(format!(
                "no step needs {}; say what the run gives, for example `output: ${{steps.{}.output}}`",
                names.join(" or "),
                many[0].id
            )));
            None
        }
    }
}

fn last(steps: &[Step]) -> Vec<&Step> {
    let needed: HashSet<&StepId> = steps.iter().flat_map(|step| &step.needs).collect();
    steps.iter().filter(|step| !needed.contains(&step.id)).collect()
}
