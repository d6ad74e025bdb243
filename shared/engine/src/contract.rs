//! Contracts: what a step may be given, what it may report, what a run may end with.
//!
//! The engine knows no schema language: a plan brings each contract as a pure check of a value. A payload whose value
//! cannot be fetched passes here; whoever uses it fails with its own code.

use std::fmt;
use std::sync::Arc;

use kapelle_types::{Code, Payload};
use serde_json::Value;

use crate::behaviour;
use crate::entry::Failure;
use crate::plan::{Plan, PlanStep};
use crate::state::{Place, Run};

/// A pure check of a value: the same value gives the same answer on every machine and in every version.
pub trait Check: fmt::Debug + Send + Sync {
    /// Where and how a value breaks the contract, in words that do not repeat the value; `None` if it keeps it.
    fn violation(&self, value: &Value) -> Option<String>;
}

/// A contract that payloads of a plan have to keep. Two are equal if they are the same one.
#[derive(Debug, Clone)]
pub struct Contract(Arc<dyn Check>);

impl Contract {
    /// A contract that this check decides.
    #[must_use]
    pub fn new(check: Arc<dyn Check>) -> Self {
        Self(check)
    }

    pub(crate) fn violation(&self, payload: &Payload) -> Option<String> {
        payload.value.as_deref().and_then(|value| self.0.violation(value))
    }
}

impl PartialEq for Contract {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Why a step may not be given this input.
pub(crate) fn input(run: &Run, place: Place, planned: &PlanStep, input: &Payload) -> Option<Failure> {
    let doing = run.doing(place, planned);
    let how = enforced(run, doing.input)?.violation(input)?;
    let (name, whose) = (place.name(&run.plan)?, doing.whose());
    let message = format!("step `{name}`: `with` breaks the input contract of {whose}: {how}");
    Some(Failure::of_run(Code::INPUT_CONTRACT, message))
}

/// Why a step may not have reported this output. Another attempt would cost the same and give the same.
pub(crate) fn output(run: &Run, place: Place, output: &Payload) -> Option<Failure> {
    let doing = run.doing(place, run.plan.steps.get(place.step)?);
    let how = enforced(run, doing.output)?.violation(output)?;
    let message = format!("the output breaks the contract of {}: {how}", doing.whose());
    Some(Failure::of_run(Code::OUTPUT_CONTRACT, message))
}

/// Why a run may not end with this result.
pub(crate) fn result(run: &Run, plan: &Plan, result: &Payload) -> Option<Failure> {
    let how = enforced(run, plan.result.as_ref())?.violation(result)?;
    let message = format!("the workflow's `output` breaks its `result` contract: {how}");
    Some(Failure::of_run(Code::RESULT_CONTRACT, message))
}

fn enforced<'c>(run: &Run, contract: Option<&'c Contract>) -> Option<&'c Contract> {
    contract.filter(|_| run.behaviour().is_some_and(|number| number >= behaviour::CONTRACTS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    /// The failure is final: `max_attempts` is 3 and one is dispatched. A repair gives the agent another chance.
    #[test]
    fn an_output_that_breaks_its_contract_is_a_final_failure() {
        let plan =
            json!({"steps": [{"id": "a", "gives": ["x"]}, {"id": "b", "with": "${steps.a.output.x}", "needs": ["a"]}]});
        let script = r#"
            0 submit
            1 ok a 1 {"y": 1}
            2 retry
            3 ok a 1 {"y": 2}
            4 ok a 2 {"x": 2}"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 {"y": 1}
          dead letter a#1 {} K0308, history ["a#1 K0308"]
        > 2 retry
          remove dead letter a
          dispatch a#2 {}
        > 3 ok a 1 {"y": 2}
          ignored: stale_attempt
        > 4 ok a 2 {"x": 2}
          dispatch b#1 2
        = RUNNING
        "#);
    }

    #[test]
    fn nothing_is_dispatched_that_breaks_the_agents_input_contract() {
        let plan = json!({"steps": [
            {"id": "a", "with": "${input}", "takes": ["x"]},
            {"id": "each", "foreach": "input.list", "with": "${item}", "takes": ["x"], "max_parallel": 1},
        ]});
        let script = r#"
            0 submit {"list": [{"x": 1}, {}, {"x": 3}]}
            1 ok each:0 1
            2 ok each:2 1
            3 retry
            4 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"list": [{"x": 1}, {}, {"x": 3}]}
          dispatch each:0#1 {"x":1}
        > 1 ok each:0 1
          dispatch each:2#1 {"x":3}
        > 2 ok each:2 1
        > 3 retry
        > 4 ?
        = STALLED
          K0309: step `a`: `with` breaks the input contract of agent-a@1.0.0: it has no `x`
        "#);
    }

    #[test]
    fn a_result_that_breaks_its_contract_stalls_the_run() {
        let plan = json!({"steps": [{"id": "a"}], "output": "${steps.a.output}", "result": ["x"]});
        let script = r#"
            0 submit
            1 ok a 1 {"y": 1}
            2 retry
            3 giveup"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 {"y": 1}
        > 2 retry
        > 3 giveup
          finish FAILED decided at 4 K0310: the workflow's `output` breaks its `result` contract: it has no `x`; failed by ada
        = FAILED
        "#);
    }

    #[test]
    fn on_give_up_fail_ends_the_run_with_the_contracts_code() {
        let plan = json!({"steps": [{"id": "a", "gives": ["x"], "on_give_up": "fail"}]});
        let script = r#"
            0 submit
            1 ok a 1 {"y": 1}"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 ok a 1 {"y": 1}
          finish FAILED decided at 2 K0301: step `a` gave up after 1 attempt: K0308: the output breaks the contract of agent-a@1.0.0: it has no `x`
        = FAILED
        "#);
    }

    #[test]
    fn what_is_gone_cannot_be_checked_and_runs_of_behaviour_1_are_not() {
        let plan = json!({"steps": [{"id": "a", "gives": ["x"], "with": "${input}", "takes": ["x"]}], "result": ["x"]});
        insta::assert_snapshot!(check(&plan, "0 submit {\"x\": 1}\n1 ok a 1 missing"), @r#"
        > 0 submit {"x": 1}
          dispatch a#1 {"x":1}
        > 1 ok a 1 missing
        = STALLED
          K0310: the workflow's `output` breaks its `result` contract: it has no `x`
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit-1 {}\n1 ok a 1 {}"), @r#"
        > 0 submit-1 {}
          dispatch a#1 {}
        > 1 ok a 1 {}
          finish COMPLETED decided at 2 null
        = COMPLETED
        "#);
    }
}
