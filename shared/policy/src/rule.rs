//! One policy: its Cedar text with the name, the mode and the reason that its annotations give.

use std::collections::BTreeMap;
use std::ops::Range;

use cedar_policy::{Policy, PolicyId, PolicySet};
use kapelle_types::limits::NAME_CHARS_MAX;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::problem::{Problem, Source};

/// Whether a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// It decides.
    Enforce,
    /// It decides nothing; a decision that it would have turned names it.
    LogOnly,
}

/// What a policy says of what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It may be done, unless something forbids it.
    Permit,
    /// It may not be done, whatever permits it.
    Forbid,
}

/// What is known of a policy beside its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name.
    pub id: String,
    /// What it says of what it matches.
    pub effect: Effect,
    /// Whether it counts.
    pub mode: Mode,
    /// The sentence for whoever it decides about.
    pub why: String,
    /// The file that it stands in.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// Reads the policies of one file, each under its own name, with what is wrong with any of them.
pub(crate) fn read(source: &Source, text: &str, problems: &mut Vec<Problem>) -> Vec<(Policy, Rule)> {
    if let Some((at, message)) = bounds::exceeded(text) {
        problems.push(source.problem(at, message, "split it into several policies"));
        return Vec::new();
    }
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            let errors: cedar_policy::ParseErrors = errors;
            problems.extend(errors.iter().map(|error| source.cedar(error)));
            return Vec::new();
        }
    };
    if let Some(template) = set.templates().next() {
        let message = "a policy with `?principal` or `?resource` is a template, and nothing links templates";
        problems.push(source.problem(
            place(text, &template.to_string()),
            message,
            "write the principal or resource out",
        ));
    }
    // In the order of the file: Cedar names them `policy0`, `policy1` …
    let order = |policy: &Policy| policy.id().to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX);
    let mut policies: Vec<_> = set.policies().collect();
    policies.sort_by_key(|policy| order(policy));
    let read = |policy: &Policy| match rule(source.file(), policy) {
        Ok(rule) => Some((policy.new_id(PolicyId::new(&rule.id)), rule)),
        Err((message, hint)) => {
            problems.push(source.problem(place(text, &policy.to_string()), message, hint));
            None
        }
    };
    policies.into_iter().filter_map(read).collect()
}

/// What the annotations say, or what is wrong with them and what to do.
fn rule(file: &str, policy: &Policy) -> Result<Rule, (String, &'static str)> {
    let mut said: BTreeMap<&str, &str> = policy.annotations().collect();
    let mut take = |name: &str, hint| {
        let value = said.remove(name).filter(|value| !value.trim().is_empty());
        value.map(str::to_owned).ok_or_else(|| (format!("this policy has no @{name}"), hint))
    };
    let id = take("id", "give it a name of its own: @id(\"operators_steer\")")?;
    let mode = take("mode", "say whether it counts: @mode(\"enforce\") or @mode(\"log_only\")")?;
    let why = take("why", "say in a sentence why, for whoever is denied: @why(\"…\")")?;
    if let Some(name) = said.keys().next() {
        return Err((format!("nothing reads the annotation @{name}"), "the annotations are @id, @mode and @why"));
    }
    let shaped = id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !shaped || id.len() > NAME_CHARS_MAX {
        let rule = "it starts with a lower-case letter and goes on with lower-case letters, digits and `_`, 63 at most";
        return Err((format!("`{id}` is not a valid name of a policy"), rule));
    }
    if [crate::DEFAULT_DENY, crate::UNKNOWN_ACTION, crate::UNDECIDABLE].contains(&id.as_str()) {
        return Err((format!("`{id}` is what a decision says that no policy made"), "choose another name"));
    }
    let mode = match mode.as_str() {
        "enforce" => Mode::Enforce,
        "log_only" => Mode::LogOnly,
        _ => return Err((format!("`{mode}` is no mode"), "the modes are \"enforce\" and \"log_only\"")),
    };
    let effect = match policy.effect() {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid,
    };
    Ok(Rule { id, effect, mode, why, file: file.to_owned(), text: policy.to_string() })
}

/// Where a policy's own text stands in its file: Cedar prints it as it was written.
fn place(text: &str, policy: &str) -> Range<usize> {
    let start = text.find(policy).unwrap_or(0);
    start..start + policy.lines().next().map_or(0, str::len)
}
