//! How a manifest says how a failed step is retried.

use kapelle_types::{RetryPolicy, duration};
use serde_json::{Map, Value};

use crate::issue::Issue;
use crate::read::{Issues, Part};

/// Executions at most: more than 100 are a service that does not work, not a failure that passes.
const ATTEMPTS_MAX: u32 = 100;
/// A delay that grows faster than this is not a backoff.
const MULTIPLIER_MAX: f64 = 100.0;

/// Reads a policy; what is left out takes its default.
pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<RetryPolicy> {
    let default = RetryPolicy::default();
    let mut fields = part.fields(issues)?;
    let max_attempts = fields.optional("max_attempts").map(|it| it.count(1, ATTEMPTS_MAX, issues));
    let initial = fields.optional("initial").map(|it| it.duration(issues));
    let multiplier = fields.optional("multiplier").map(|it| it.number(1.0, MULTIPLIER_MAX, issues));
    let max_part = fields.optional("max");
    let max = max_part.as_ref().map(|it| it.duration(issues));
    let total = fields.optional("total").map(|it| it.duration(issues));
    let jitter = fields.optional("jitter").map(|it| it.number(0.0, 1.0, issues));
    let non_retryable = fields.optional("non_retryable").map(|it| codes(&it, issues));
    fields.close(&[], issues);
    let initial = initial.unwrap_or(Some(default.initial))?;
    let max = max.unwrap_or(Some(default.max.max(initial)))?;
    if let Some(part) = max_part.filter(|_| max < initial) {
        let message = format!("`max` is shorter than `initial` ({})", duration::format(initial));
        issues.push(Issue::rule(&part.pointer, message).label("too short"));
    }
    Some(RetryPolicy {
        max_attempts: max_attempts.unwrap_or(Some(default.max_attempts))?,
        initial,
        multiplier: multiplier.unwrap_or(Some(default.multiplier))?,
        max,
        total: match total {
            Some(total) => Some(total?),
            None => default.total,
        },
        jitter: jitter.unwrap_or(Some(default.jitter))?,
        non_retryable: non_retryable.unwrap_or(Some(default.non_retryable))?,
    })
}

fn codes(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<String>> {
    let codes: Vec<Option<String>> = part.items(issues)?.iter().map(|it| Some(it.text(issues)?.to_owned())).collect();
    codes.into_iter().collect()
}

/// The policy as a manifest has it, every field written out: a later default does not change what is registered.
pub(crate) fn write(policy: &RetryPolicy) -> Value {
    let mut map = Map::new();
    map.insert("max_attempts".into(), policy.max_attempts.into());
    map.insert("initial".into(), duration::format(policy.initial).into());
    map.insert("multiplier".into(), policy.multiplier.into());
    map.insert("max".into(), duration::format(policy.max).into());
    if let Some(total) = policy.total {
        map.insert("total".into(), duration::format(total).into());
    }
    map.insert("jitter".into(), policy.jitter.into());
    map.insert("non_retryable".into(), policy.non_retryable.clone().into());
    Value::Object(map)
}
