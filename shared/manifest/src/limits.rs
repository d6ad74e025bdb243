//! `role.limits`: how much of an agent version there may be. Every limit is enforced by the platform and none by the
//! agent; docs/guides/roles.md says by which part, and what happens at it.

use std::time::Duration;

use kapelle_types::limits::{PAYLOAD_BYTES_MAX, TIMEOUT_DEFAULT, TOKENS_LIMIT_MAX, TOOL_CALLS_LIMIT_MAX};
use kapelle_types::{Rate, Usd};
use serde::Serialize;
use serde_json::Value;

use crate::flow::ByKey;
use crate::issue::Issue;
use crate::read::{Issues, Part, optional};
use crate::{size, write};

/// Executions of one agent version at a time, in the whole fleet, where its manifest names no number: enough to keep a
/// laptop busy, too few to overrun a service that nobody asked.
pub const CONCURRENCY_DEFAULT: u32 = 64;
/// The most that a manifest may ask for: the broker tracks each of them.
pub const CONCURRENCY_MAX: u32 = 10_000;

/// Limits of an agent version. One that is left out and has no default is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Executions at a time, in the whole fleet.
    pub concurrency: u32,
    /// How long one attempt may take.
    #[serde(serialize_with = "write::duration")]
    pub timeout: Duration,
    /// How often a task may start, in the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Bytes of the largest input and of the largest output. Without one the platform's limit holds alone.
    #[serde(rename = "payload", serialize_with = "write::optional_size", skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// Tokens that one task may read and write together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// Tools that one task may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u32>,
    /// What all tasks of this agent version may cost together in one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_run: Option<Usd>,
    /// What all its tasks may cost together in one UTC day, in the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_day: Option<Usd>,
    /// What tasks with the same key may have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_key: Option<ByKey>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: CONCURRENCY_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            rate: None,
            payload_bytes: None,
            tokens: None,
            tool_calls: None,
            cost_per_run: None,
            cost_per_day: None,
            by_key: None,
        }
    }
}

impl Limits {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let concurrency =
            fields.optional("concurrency").map_or(Some(CONCURRENCY_DEFAULT), |it| it.count(1, CONCURRENCY_MAX, issues));
        let timeout = fields.optional("timeout").map_or(Some(TIMEOUT_DEFAULT), |it| it.duration(issues));
        let rate = optional(fields.optional("rate"), |it| rate(it, issues));
        let payload = optional(fields.optional("payload"), |it| payload(it, issues));
        let tokens = optional(fields.optional("tokens"), |it| it.count(1, TOKENS_LIMIT_MAX, issues));
        let tool_calls = optional(fields.optional("tool_calls"), |it| it.count(0, TOOL_CALLS_LIMIT_MAX, issues));
        let cost_per_run = optional(fields.optional("cost_per_run"), |it| amount(it, issues));
        let by_key = optional(fields.optional("by_key"), |it| ByKey::read(it, issues));
        let cost_per_day = optional(fields.optional("cost_per_day"), |it| amount(it, issues));
        fields.close(&[], issues);
        Some(Self {
            concurrency: concurrency?,
            timeout: timeout?,
            rate: rate?,
            payload_bytes: payload?,
            tokens: tokens?,
            tool_calls: tool_calls?,
            cost_per_run: cost_per_run?,
            cost_per_day: cost_per_day?,
            by_key: by_key?,
        })
    }
}

pub(crate) fn rate(part: &Part<'_>, issues: &mut Issues) -> Option<Rate> {
    const HINT: &str = "write `10/s`, `600/min` or `5000/h`";
    let Value::String(text) = part.value else { return part.expected("a rate", HINT, issues) };
    match text.parse() {
        Ok(rate) => Some(rate),
        Err(why) => {
            let issue = Issue::rule(&part.pointer, format!("`{text}` is not a rate: {why}"));
            issues.push(issue.label("not a rate").hint(HINT));
            None
        }
    }
}

fn payload(part: &Part<'_>, issues: &mut Issues) -> Option<u64> {
    let bytes = part.size(1, issues)?;
    let most = PAYLOAD_BYTES_MAX as u64;
    if bytes > most {
        let message = format!("no payload may be larger than {}, whatever an agent is allowed", size::format(most));
        let issue = Issue::rule(&part.pointer, message).label("too large");
        issues.push(issue.hint("write a smaller size, or leave it out"));
        return None;
    }
    Some(bytes)
}

fn amount(part: &Part<'_>, issues: &mut Issues) -> Option<Usd> {
    let amount = usd(part, "limit", issues)?;
    if amount == Usd::ZERO {
        refused(
            part,
            "0 is not an amount that can be a limit: with nothing to spend it would never do anything",
            issues,
        );
        return None;
    }
    Some(amount)
}

/// What an amount of money looks like.
const USD_HINT: &str = "write it as a number: `0.05`, `20`";

/// An amount of US dollars, or nothing of it, that is to be a limit or a price.
pub(crate) fn usd(part: &Part<'_>, what: &str, issues: &mut Issues) -> Option<Usd> {
    let Value::Number(number) = part.value else { return part.expected("an amount of US dollars", USD_HINT, issues) };
    // Not as JSON prints it: that writes small numbers with an exponent.
    let text = number.as_u64().map_or_else(|| number.as_f64().unwrap_or(-1.0).to_string(), |whole| whole.to_string());
    match Usd::parse(&text) {
        Ok(amount) => Some(amount),
        Err(why) => {
            refused(part, &format!("{text} is not an amount that can be a {what}: {why}"), issues);
            None
        }
    }
}

fn refused(part: &Part<'_>, message: &str, issues: &mut Issues) {
    issues.push(Issue::rule(&part.pointer, message).label("not an amount").hint(USD_HINT));
}
