//! Limits of what one task may be given, may give and may use up: the engine's part of an agent's `role.limits`.
//!
//! The worker ends an attempt that goes beyond them; the engine judges every report once more, whoever wrote it. An
//! agent that went beyond a limit is not asked again: another attempt would cost the same.

use kapelle_types::{Code, Payload};

use crate::behaviour;
use crate::entry::{Failure, Usage};
use crate::plan::{Doing, PlanStep};
use crate::state::{Place, Run};

/// What one task of an agent may be given, may give and may use up; `None` is no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskLimits {
    /// Bytes of its input, and of its output, as JSON.
    pub payload_bytes: Option<u64>,
    /// Tokens that it may read and write together.
    pub tokens: Option<u64>,
    /// Tools that it may call.
    pub tool_calls: Option<u64>,
}

impl TaskLimits {
    /// The limit that this usage is above, with a sentence; the first of several.
    #[must_use]
    pub fn exceeded_by(&self, usage: &Usage) -> Option<(Code, String)> {
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        if let Some(max) = self.tokens.filter(|max| tokens > *max) {
            return Some((Code::TOKENS_LIMIT, format!("the agent used {tokens} tokens, one task may use {max}")));
        }
        let calls = usage.tool_calls;
        let max = self.tool_calls.filter(|max| calls > *max)?;
        Some((Code::TOOL_CALLS_LIMIT, format!("the agent made {calls} calls of tools, one task may make {max}")))
    }

    /// Why an input may not be given.
    #[must_use]
    pub fn refuses_input(&self, input: &Payload) -> Option<(Code, String)> {
        let max = self.payload_bytes.filter(|max| input.exceeds(*max))?;
        Some((Code::INPUT_LIMIT, format!("the input has more than the {max} bytes that its agent may be given")))
    }

    /// Why an output may not be taken.
    #[must_use]
    pub fn refuses_output(&self, output: &Payload) -> Option<(Code, String)> {
        let max = self.payload_bytes.filter(|max| output.exceeds(*max))?;
        Some((Code::OUTPUT_LIMIT, format!("the output has more than the {max} bytes that its agent may give")))
    }
}

/// Why a step may not be given this input.
pub(crate) fn input(run: &Run, place: Place, planned: &PlanStep, input: &Payload) -> Option<Failure> {
    let doing = run.doing(place, planned);
    let (code, why) = enforced(run, doing)?.refuses_input(input)?;
    let message = format!("step `{}`: {why} ({})", place.name(&run.plan)?, doing.version()?);
    Some(Failure::of_run(code, message))
}

/// Why a step may not have reported this: what it gave or what it used up is above a limit.
pub(crate) fn report(run: &Run, place: Place, output: &Payload, usage: &Usage) -> Option<Failure> {
    let limits = enforced(run, run.doing(place, run.plan.steps.get(place.step)?))?;
    let (code, why) = limits.exceeded_by(usage).or_else(|| limits.refuses_output(output))?;
    Some(Failure::of_run(code, why))
}

fn enforced(run: &Run, doing: Doing<'_>) -> Option<TaskLimits> {
    hold_for(run).then(|| doing.limits())
}

/// Whether the limits of agents hold for this run.
pub(crate) fn hold_for(run: &Run) -> bool {
    run.behaviour().is_some_and(|number| number >= behaviour::LIMITS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn what_is_too_large_is_neither_given_nor_taken() {
        let plan = json!({"steps": [
            {"id": "a", "with": "${input.long}", "limits": {"payload": 10}},
            {"id": "b", "limits": {"payload": 10}},
        ]});
        let script = r#"
            0 submit {"long": "123456789"}
            1 ok b 1 "12345678"
            2 retry
            3 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"long": "123456789"}
          dispatch b#1 {}
        > 1 ok b 1 "12345678"
        > 2 retry
        > 3 ?
        = STALLED
          K0312: step `a`: the input has more than the 10 bytes that its agent may be given (agent-a@1.0.0)
        "#);
        let script = r#"
            0 submit {"long": "12345678"}
            1 ok a 1 "123456789"
            2 ok b 1 "123456789"
            3 retry b
            4 ok b 2 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"long": "12345678"}
          dispatch a#1 "12345678"
          dispatch b#1 {}
        > 1 ok a 1 "123456789"
          dead letter a#1 "12345678" K0414, history ["a#1 K0414"]
        > 2 ok b 1 "123456789"
          dead letter b#1 {} K0414, history ["b#1 K0414"]
        > 3 retry b
          remove dead letter b
          dispatch b#2 {}
        > 4 ok b 2 1
        = STALLED
          K0301: step `a` gave up after 1 attempt: K0414: the output has more than the 10 bytes that its agent may give
        "#);
    }

    #[test]
    fn what_used_up_more_than_it_may_has_failed_for_good() {
        let plan = json!({"steps": [
            {"id": "a", "limits": {"tokens": 10, "tool_calls": 2}}, {"id": "b", "limits": {"tool_calls": 0}, "on_give_up": "fail"},
        ]});
        let script = r#"
            0 submit
            1 ok a 1 tokens=10 tools=2 1
            2 ok b 1 tools=1 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
          dispatch b#1 {}
        > 1 ok a 1 tokens=10 tools=2 1
        > 2 ok b 1 tools=1 1
          finish FAILED decided at 3 K0301: step `b` gave up after 1 attempt: K0416: the agent made 1 calls of tools, one task may make 0
        = FAILED
        "#);
        let script = r#"
            0 submit
            1 ok a 1 tokens=11 tools=3 1
            2 ok b 1 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
          dispatch b#1 {}
        > 1 ok a 1 tokens=11 tools=3 1
          dead letter a#1 {} K0415, history ["a#1 K0415"]
        > 2 ok b 1 1
        = STALLED
          K0301: step `a` gave up after 1 attempt: K0415: the agent used 11 tokens, one task may use 10
        "#);
    }

    #[test]
    fn runs_of_behaviour_1_know_no_limits() {
        let plan = json!({"steps": [{"id": "a", "limits": {"tokens": 1, "payload": 1, "cost_per_run": 1}, "with": "${input}"}]});
        insta::assert_snapshot!(check(&plan, "0 submit-1 [1, 2]\n1 ok a 1 tokens=9 cost=5 [1, 2]"), @r#"
        > 0 submit-1 [1, 2]
          dispatch a#1 [1,2]
        > 1 ok a 1 tokens=9 cost=5 [1, 2]
          finish COMPLETED decided at 2 null
        = COMPLETED
        "#);
    }
}
