//! Checks of what steps are given against what their agents take: what can never fit is an error, what need not fit is a
//! warning, with an example.

use kapelle_contract::{Contract, Difference, Pointer, Verdict, compatible, disjoint};
use kapelle_expression::Template;
use kapelle_types::{AgentVersion, Code, StepId};
use serde_json::{Value, json};

use super::given::{Given, Sources};
use super::outputs::{Outputs, Taker};
use super::steps;
use crate::catalog::Catalog;
use crate::issue::{Issue, choice, suggestion};
use crate::{Step, Workflow};

/// Warnings of one step; whoever mends these sees the next.
const WARNINGS_MAX: usize = 5;
/// Characters of an example in a message.
const EXAMPLE_CHARS_MAX: usize = 120;

/// What to do about a value that may be missing.
const STAND_IN: &str =
    "require it in that schema, or say what stands in for it: `${has(input.name) ? input.name : ''}`";

/// Everything that can never fit.
pub(super) fn check(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    each(workflow, catalog, |sources, gift| match fields(gift) {
        issues if issues.is_empty() => impossible(&gift.contract(sources, false), gift),
        issues => issues,
    })
}

/// Everything that need not fit: some of what can be given would be refused, or may not be there at all.
pub(super) fn warnings(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    each(workflow, catalog, |sources, gift| {
        let given = gift.contract(sources, true);
        let absent = given.absent.iter().map(|(at, why)| {
            let issue = Issue::new(Code::CONTRACT_MISFIT, &gift.at.below(at), format!("{why}; then the run stalls"));
            issue.label("may be missing").hint(STAND_IN)
        });
        let differences = differences(&given, gift.taker);
        let refused = differences.iter().map(|it| doubtful(it, gift));
        absent.chain(refused).take(WARNINGS_MAX).collect()
    })
}

/// A part of what a step is given that its agent would refuse.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// The step.
    pub step: StepId,
    /// Who does it.
    pub agent: AgentVersion,
    /// What would be refused, with an example.
    pub difference: Difference,
}

/// What the steps of a workflow may be given and their agents would refuse, whether for certain or possibly.
#[must_use]
pub fn misfits(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Misfit> {
    each(workflow, catalog, |sources, gift| {
        let Taker::Agent(agent) = gift.taker else { return vec![] };
        let misfit = |difference| Misfit { step: gift.step.id.clone(), agent: agent.version(), difference };
        differences(&gift.contract(sources, true), gift.taker).into_iter().map(misfit).collect()
    })
}

/// What of a step's `with` its agent would refuse, as far as it is known what is given.
fn differences(given: &Given, taker: Taker<'_>) -> Vec<Difference> {
    match compatible(&given.contract, taker.input()) {
        Verdict::Breaking(all) => all.into_iter().filter(|it| is_known(it, &given.unknown)).collect(),
        Verdict::Compatible | Verdict::Undecided(_) => vec![],
    }
}

/// Somebody is given something by a step.
struct Gift<'w> {
    step: &'w Step,
    with: Option<&'w Template>,
    /// Where that stands.
    at: Pointer,
    taker: Taker<'w>,
}

impl<'w> Gift<'w> {
    fn contract(&self, sources: &Sources<'w>, declared: bool) -> Given {
        sources.given(self.step, self.with, declared)
    }
}

/// Looks at everything that is given to somebody who is known.
fn each<T>(workflow: &Workflow, catalog: &dyn Catalog, look: impl Fn(&Sources<'_>, &Gift<'_>) -> Vec<T>) -> Vec<T> {
    let outputs = Outputs::of(workflow, catalog);
    let sources = Sources::new(workflow, &outputs);
    let mut found = Vec::new();
    for (index, (pointer, step)) in steps::every(workflow).enumerate() {
        let (own, at) = (step.with.as_ref(), pointer.field("with"));
        if let Some(taker) = outputs.taker(index) {
            found.extend(look(&sources, &Gift { step, with: own, at: at.clone(), taker }));
        }
        let handed = step.handoff.as_ref().and_then(|it| it.with.as_ref());
        let at = if handed.is_some() { pointer.field("handoff").field("with") } else { at };
        for agent in outputs.others.get(index).into_iter().flatten().flatten() {
            let (with, taker) = (handed.or(own), Taker::Agent(agent));
            found.extend(look(&sources, &Gift { step, with, at: at.clone(), taker }));
        }
    }
    found
}

/// The fields that `with` sends against those that the agent takes, where both are written down.
fn fields(gift: &Gift<'_>) -> Vec<Issue> {
    let (taker, with) = (gift.taker, &gift.at);
    let Some(Value::Object(sent)) = gift.with.map(Template::source) else { return vec![] };
    let schema = taker.input().schema();
    let combining = ["$ref", "allOf", "anyOf", "oneOf", "if", "not", "$dynamicRef"];
    if combining.iter().any(|keyword| schema.get(*keyword).is_some()) {
        return vec![];
    }
    let mut issues = Vec::new();
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !sent.contains_key(name) {
            let issue = misfit(with, format!("{taker} needs `{name}`")).on_key();
            issues.push(issue.label(format!("`{name}` is missing")).hint(format!("add it: `with: {{ {name}: … }}`")));
        }
    }
    let (Some(Value::Object(properties)), Some(Value::Bool(false))) =
        (schema.get("properties"), schema.get("additionalProperties"))
    else {
        return issues;
    };
    if schema.get("patternProperties").is_some() {
        return issues;
    }
    for name in sent.keys().filter(|name| !properties.contains_key(*name)) {
        let known = properties.keys().map(String::as_str);
        let hint = match suggestion(name, known.clone()) {
            near if near.starts_with("did") => near,
            _ => format!("of what it takes {}", choice(known)),
        };
        let issue = misfit(&with.field(name), format!("{taker} does not take `{name}`")).on_key();
        issues.push(issue.label("not taken").hint(hint));
    }
    issues
}

/// The smallest parts of what is given of which nothing is taken.
fn impossible(given: &Given, gift: &Gift<'_>) -> Vec<Issue> {
    let (taker, with) = (gift.taker, &gift.at);
    let input = taker.input();
    let names = gift.with.iter().filter_map(|with| with.source().as_object()).flat_map(|sent| sent.keys());
    let alone = |name: &String| {
        let schema = given.contract.schema();
        let field = schema.pointer(&Pointer::root().field("properties").field(name).to_string());
        Contract::new(json!({
            "$defs": schema.get("$defs"), "type": "object", "required": [name], "properties": { name.as_str(): field },
        }))
    };
    let wrong: Vec<Issue> = names
        .filter(|name| disjoint(&alone(name), input))
        .map(|name| never(&alone(name), &format!("/{name}"), taker, &with.field(name)))
        .collect();
    if wrong.is_empty() && disjoint(&given.contract, input) {
        return vec![never(&given.contract, "", taker, with)];
    }
    wrong
}

/// Nothing of what is given at `below` is taken.
fn never(given: &Contract, below: &str, taker: Taker<'_>, with: &Pointer) -> Issue {
    let why = match compatible(given, taker.input()) {
        Verdict::Breaking(differences) => differences.into_iter().find(|it| it.pointer.starts_with(below)),
        Verdict::Compatible | Verdict::Undecided(_) => None,
    };
    let why = why.map_or(String::new(), |it| format!(": {} (rule {})", it.message, it.rule));
    misfit(with, format!("{taker} takes nothing of what can be given here{why}"))
        .label("never fits")
        .hint(format!("give something else, or widen the input of `{}`", taker.name()))
}

/// Some of what is given is not taken.
fn doubtful(difference: &Difference, gift: &Gift<'_>) -> Issue {
    let taker = gift.taker;
    let example = difference.witness.as_ref().map_or(String::new(), |witness| {
        let text = witness.to_string();
        let short: String = text.chars().take(EXAMPLE_CHARS_MAX).collect();
        format!("by their schemas this could be given: `{short}{}`; ", if short == text { "" } else { "…" })
    });
    let Difference { message, rule, .. } = difference;
    misfit(&gift.at.below(&difference.pointer), format!("{taker} may refuse this: {message} (rule {rule})"))
        .label("need not fit")
        .hint(format!("{example}declare what is given more narrowly, or widen the input of `{}`", taker.name()))
}

/// Whether a difference lies where it is known what is given. An unknown part may be the cause of what combining rules
/// around it say.
fn is_known(difference: &Difference, unknown: &[String]) -> bool {
    let inside = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let own = ["required", "additionalProperties", "type", "minItems", "maxItems"]
        .contains(&difference.rule.keyword.as_str());
    let at = difference.pointer.as_str();
    !unknown.iter().any(|it| inside(at, it) || (inside(it, at) && !own))
}

fn misfit(pointer: &Pointer, message: String) -> Issue {
    Issue::new(Code::CONTRACT_MISFIT, pointer, message)
}
