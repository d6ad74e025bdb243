//! `handoff`: what a step's agent gives names the agent that goes on with the step.
//!
//! ```yaml
//!   - id: support
//!     agent: triage@^1
//!     with: { ticket: "${input.ticket}" }
//!     handoff:
//!       to: [billing@^1, technical@^1, triage@^1]
//!       next: "${output.next}"
//!       with: { ticket: "${input.ticket}", notes: "${output.notes}" }
//!       max: 5
//! ```

use kapelle_expression::{Expression, Reference, Template};
use kapelle_types::limits::{HANDOFF_AGENTS_MAX, HANDOFFS_MAX};
use serde::Serialize;

use crate::issue::Issue;
use crate::performer::{AgentRequirement, read_agent};
use crate::read::{Fields, Issues, Part, optional};
use crate::write;

/// How often a step is handed on where it does not say: who is passed on more often is rarely helped.
const HANDOFFS_DEFAULT: u32 = 10;

/// Whom a step may be handed to, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Handoff {
    /// The agents that may go on with it, each with a name of its own; the step's own agent may be among them.
    pub to: Vec<AgentRequirement>,
    /// Who is next, over `output`, `last` and `round`: a name, or null if the output is the step's.
    #[serde(serialize_with = "write::expression")]
    pub next: Expression,
    /// What whoever is next works on, over what `next` sees; the step's `with` once more if it is left out.
    #[serde(serialize_with = "write::optional_template", skip_serializing_if = "Option::is_none")]
    pub with: Option<Template>,
    /// How often it is handed on at most.
    pub max: u32,
}

impl Handoff {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let to = fields.required("to", issues).and_then(|it| read_to(&it, issues));
        let next = fields.required("next", issues).and_then(|it| it.expression(issues));
        let with = optional(fields.optional("with"), |it| it.template(issues));
        let max = fields.optional("max").map_or(Some(HANDOFFS_DEFAULT), |it| it.count(1, HANDOFFS_MAX, issues));
        fields.close(&[], issues);
        Some(Self { to: to?, next: next?, with: with?, max: max? })
    }

    /// What its expressions refer to.
    pub(crate) fn references(&self) -> impl Iterator<Item = Reference> {
        let of_with: Vec<Reference> = self.with.iter().flat_map(Template::references).collect();
        self.next.references().iter().cloned().chain(of_with)
    }
}

/// What cannot stand beside a handoff in the same step.
pub(crate) fn alone(fields: &mut Fields<'_>, issues: &mut Issues) {
    let Some(handoff) = fields.optional("handoff") else { return };
    let apart = [
        (
            "foreach",
            "a step that works on a list cannot be handed on",
            "run a workflow for each item, with this step in it",
        ),
        (
            "repeat",
            "a step is repeated or handed on, not both",
            "let it be handed to its own agent: name that under `to`",
        ),
        (
            "compensate",
            "a step that is handed on cannot be compensated",
            "what each agent did would have to be undone one by one; let the last one say what is to be done, and a step \
             behind it do what can be undone",
        ),
    ];
    for (field, message, hint) in apart {
        if fields.optional(field).is_some() {
            issues
                .push(Issue::rule(&handoff.pointer, message).on_key().label(format!("not with `{field}`")).hint(hint));
        }
    }
}

fn read_to(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<AgentRequirement>> {
    let items = part.items(issues)?;
    if items.is_empty() || items.len() > HANDOFF_AGENTS_MAX {
        let message = format!("a step may be handed to 1 to {HANDOFF_AGENTS_MAX} agents, here are {}", items.len());
        issues.push(Issue::rule(&part.pointer, message).on_key());
        return None;
    }
    let to: Vec<Option<AgentRequirement>> = items.iter().map(|it| read_agent(it, issues)).collect();
    let to: Vec<AgentRequirement> = to.into_iter().collect::<Option<_>>()?;
    for (index, one) in to.iter().enumerate() {
        if to[..index].iter().any(|earlier| earlier.name == one.name) {
            let issue = Issue::rule(&part.pointer.item(index), format!("`{}` is named twice", one.name));
            issues.push(
                issue.label("named before").hint("a name means one agent; let one requirement take both versions"),
            );
        }
    }
    Some(to)
}
