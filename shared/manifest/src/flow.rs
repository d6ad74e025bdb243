//! How tasks stand among others that wait for the same agent version: `priority`, `fairness` and, of an agent, `limits.by_key`.

use std::collections::BTreeMap;

use kapelle_expression::Template;
use kapelle_types::limits::{FAIRNESS_WEIGHT_MAX, FAIRNESS_WEIGHTS_MAX, FLOW_KEY_BYTES_MAX};
use kapelle_types::{Priority, Rate};
use serde::Serialize;
use serde_json::Value;

use crate::issue::Issue;
use crate::limits::{CONCURRENCY_MAX, rate};
use crate::read::{Issues, Part, optional};
use crate::write;

/// Whose share of an agent version a workflow's tasks take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fairness {
    /// The key, over the run's input: tasks with the same one share, whichever workflows they are of.
    #[serde(serialize_with = "write::template")]
    pub key: Template,
    /// How large the share of the key is; 1 if nothing says more.
    #[serde(serialize_with = "write::optional_template", skip_serializing_if = "Option::is_none")]
    pub weight: Option<Template>,
    /// The same for some keys by name; it comes before `weight`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u32>,
}

/// A limit that an agent's tasks with the same key have together, in the whole fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByKey {
    /// The key, over the agent's input.
    #[serde(serialize_with = "write::template")]
    pub key: Template,
    /// How many may be queued or run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How often one may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// A priority: a number from 1 to 5, or an expression that gives one.
pub(crate) fn priority(part: &Part<'_>, issues: &mut Issues) -> Option<Template> {
    number(part, u32::from(Priority::LAST.get()), issues)
}

/// A number from 1 on, or an expression that gives one.
fn number(part: &Part<'_>, most: u32, issues: &mut Issues) -> Option<Template> {
    match part.value {
        // Text around an expression would make a text of it.
        Value::String(text) if text.trim().starts_with("${") => {
            part.expression(issues).and_then(|_| part.template(issues))
        }
        Value::Number(_) => part.count(1, most, issues).and_then(|_| part.template(issues)),
        _ => {
            let hint = "write a number, or `${…}` that gives one: `${input.urgent ? 1 : 3}`";
            part.expected(&format!("a whole number from 1 to {most}"), hint, issues)
        }
    }
}

/// A text with at least one expression: a key that is always the same shares and limits nothing.
fn expression(part: &Part<'_>, issues: &mut Issues) -> Option<Template> {
    let Value::String(text) = part.value else {
        return part.expected("an expression", "write `${…}`, for example `${input.tenant}`", issues);
    };
    let template = part.template(issues)?;
    if template.references().is_empty() {
        let issue = Issue::rule(&part.pointer, format!("`{text}` is the same whatever the input"));
        issues.push(issue.label("no expression").hint("write `${…}`, for example `${input.tenant}`"));
        return None;
    }
    Some(template)
}

impl Fairness {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let key = fields.required("key", issues).and_then(|it| expression(&it, issues));
        let weight = optional(fields.optional("weight"), |it| number(it, FAIRNESS_WEIGHT_MAX, issues));
        let weights = fields.optional("weights").map_or(Some(BTreeMap::new()), |it| weights(&it, issues));
        fields.close(&[], issues);
        Some(Self { key: key?, weight: weight?, weights: weights? })
    }

    /// Its templates, with the fields that they stand in.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        [("key", Some(&self.key)), ("weight", self.weight.as_ref())].into_iter().filter_map(|(at, it)| Some((at, it?)))
    }
}

fn weights(part: &Part<'_>, issues: &mut Issues) -> Option<BTreeMap<String, u32>> {
    let fields = part.fields(issues)?;
    let mut all = BTreeMap::new();
    let mut good = true;
    for (key, part) in fields.all() {
        if key.is_empty() || key.len() > FLOW_KEY_BYTES_MAX {
            let message = format!("a key has 1 to {FLOW_KEY_BYTES_MAX} bytes, this one has {}", key.len());
            issues.push(Issue::rule(&part.pointer, message).on_key());
            good = false;
        }
        match part.count(1, FAIRNESS_WEIGHT_MAX, issues) {
            Some(weight) => drop(all.insert(key.clone(), weight)),
            None => good = false,
        }
    }
    if all.len() > FAIRNESS_WEIGHTS_MAX {
        let message = format!("at most {FAIRNESS_WEIGHTS_MAX} keys have weights of their own");
        issues
            .push(Issue::rule(&part.pointer, message).on_key().hint("let the input bring the weight: `weight: ${…}`"));
        return None;
    }
    good.then_some(all)
}

impl ByKey {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let key = fields.required("key", issues).and_then(|it| expression(&it, issues));
        let concurrency = optional(fields.optional("concurrency"), |it| it.count(1, CONCURRENCY_MAX, issues));
        let rate = optional(fields.optional("rate"), |it| rate(it, issues));
        fields.close(&[], issues);
        let by_key = Self { key: key?, concurrency: concurrency?, rate: rate? };
        if by_key.concurrency.is_none() && by_key.rate.is_none() {
            let issue = Issue::rule(&part.pointer, "`by_key` limits nothing").on_key();
            issues.push(issue.hint("say how many at a time, `concurrency: 2`, or how often, `rate: 10/s`"));
            return None;
        }
        Some(by_key)
    }
}
