//! What the tasks of an agent cost in one run, and the limit at which nothing more of it is dispatched.
//!
//! ```text
//!   report ──cost──▶ purse of its agent version          an attempt is due ──spent < allowed?──▶ dispatched
//!                                                               │ no
//!   RetryRequested ──▶ allowed = spent + limit                  └─▶ the step gives up, the `foreach` stands still
//! ```
//!
//! Every attempt counts once, with the most that any report said of it: what was spent was spent, whether its result was
//! used, came too late or was never good for anything. What is in flight when the limit is reached goes on, so the
//! overspending is bounded by that. Only agents with a limit have a purse; other runs pay nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_types::{Attempt, Code, TaskId, Usd};

use crate::entry::{Failure, Usage};
use crate::limits;
use crate::plan::{ActorIndex, Doing, Plan, PlanStep, StepIndex};
use crate::state::{Place, Run};

/// The purses of a run, by the first step of the plan that the agent version may do, and its number there.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Spending {
    pub(crate) purses: BTreeMap<(StepIndex, ActorIndex), Purse>,
    /// Attempts that are kept in all purses, so that the run's weight is known at once.
    pub(crate) attempts_kept: usize,
}

/// What one agent version has spent in one run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Purse {
    /// The sum of `attempts`.
    pub(crate) spent: Usd,
    /// What it may spend in all; `None` until somebody granted its limit once more.
    granted: Option<Usd>,
    /// What each attempt cost, by the dearest of its reports.
    pub(crate) attempts: BTreeMap<(Place, Attempt), Usd>,
}

impl Spending {
    pub(crate) const fn weight_bytes(&self) -> usize {
        self.attempts_kept * size_of::<((Place, Attempt), Usd)>()
    }
}

/// Takes the cost of a report into the purse of its agent. A report that repeats, or says less, changes nothing.
pub(crate) fn count(run: &mut Run, place: Place, task: &TaskId, usage: &Usage) {
    let plan = Arc::clone(&run.plan);
    let who = |planned: &PlanStep| purse_of(run, &plan, planned.by(run.actor_of(place, task.attempt)));
    let Some(purse) = plan.steps.get(place.step).and_then(who) else { return };
    let cost = Usd::reported(usage.cost_usd).unwrap_or_default();
    if cost == Usd::ZERO {
        return;
    }
    let spending = run.spending.get_or_insert_default();
    let purse = spending.purses.entry(purse).or_default();
    let known = purse.attempts.entry((place, task.attempt)).or_insert_with(|| {
        spending.attempts_kept += 1;
        Usd::ZERO
    });
    purse.spent = purse.spent.plus(cost.minus(*known));
    *known = cost.max(*known);
}

/// Why no further attempt may be dispatched that this agent would do.
pub(crate) fn exhausted(run: &Run, doing: Doing<'_>) -> Option<Failure> {
    let limit = doing.cost_per_run()?;
    let purse = run.spending.as_ref()?.purses.get(&purse_of(run, &run.plan, doing)?)?;
    if purse.spent < purse.granted.unwrap_or(limit) {
        return None;
    }
    let (agent, spent) = (doing.version()?, purse.spent);
    let message = format!("the tasks of {agent} have cost {spent} in this run, its limit is {limit}");
    Some(Failure::of_run(Code::COST_PER_RUN, message))
}

/// Somebody retries a step: if its agent has spent what it may, it may spend its limit once more from here on.
pub(crate) fn grant(run: &mut Run, place: Place) {
    let plan = Arc::clone(&run.plan);
    let Some(doing) = plan.steps.get(place.step).map(|planned| run.doing(place, planned)) else { return };
    let (Some(limit), Some(_)) = (doing.cost_per_run(), exhausted(run, doing)) else { return };
    let purse = purse_of(run, &plan, doing);
    if let (Some(purse), Some(spending)) = (purse, &mut run.spending)
        && let Some(purse) = spending.purses.get_mut(&purse)
    {
        purse.granted = Some(purse.spent.plus(limit));
    }
}

/// Where the purse of an agent is; `None` if it has no limit. Agents have one purse however many steps they do.
fn purse_of(run: &Run, plan: &Plan, doing: Doing<'_>) -> Option<(StepIndex, ActorIndex)> {
    doing.cost_per_run().filter(|_| limits::hold_for(run))?;
    plan.steps.iter().enumerate().find_map(|(at, step)| {
        let actor = (0..step.actors()).find(|actor| step.by(*actor).version() == doing.version())?;
        Some((at, actor))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    /// What is in flight goes on and counts; the attempt that would be the next is not made.
    #[test]
    fn a_step_whose_agent_has_spent_its_limit_gives_up() {
        let plan = json!({"steps": [
            {"id": "a", "agent": "x", "limits": {"cost_per_run": 1}, "retry": {"initial_ms": 0}},
            {"id": "b", "agent": "x", "limits": {"cost_per_run": 1}, "needs": ["a"]},
        ]});
        let script = r#"
            0 submit
            1 fail a 1 oops cost=0.4
            2 fail a 1 oops cost=0.4
            3 fail a 2 oops cost=0.6
            4 retry
            5 fail a 3 oops cost=0.999999
            6 ok a 4 cost=0.5 1
            7 ?
            8 retry id=r1
            9 retry id=r1
            10 ok b 1 cost=7 2"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 fail a 1 oops cost=0.4
          dispatch a#2 {}
        > 2 fail a 1 oops cost=0.4
          ignored: stale_attempt
        > 3 fail a 2 oops cost=0.6
          dead letter a#2 {} K0311, history ["a#1 oops", "a#2 oops", "a#2 K0311"]
        > 4 retry
          remove dead letter a
          dispatch a#3 {}
        > 5 fail a 3 oops cost=0.999999
          dispatch a#4 {}
        > 6 ok a 4 cost=0.5 1
          dead letter b#0 {} K0311, history ["b#0 K0311"]
        > 7 ?
          remove dead letter a
          dead letter b#0 {} K0311, history ["b#0 K0311"]
        > 8 retry id=r1
          remove dead letter b
          dispatch b#1 {}
        > 9 retry id=r1
          ignored: duplicate
        > 10 ok b 1 cost=7 2
          finish COMPLETED decided at 11 null
        = COMPLETED
        "#);
    }

    /// One stall for all members, whose items are kept: not ten thousand dead letters.
    #[test]
    fn a_foreach_stands_still_as_a_whole() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "max_parallel": 2, "limits": {"cost_per_run": 1}, "retry": {"initial_ms": 0}},
            {"id": "other"},
        ]});
        let script = r#"
            0 submit [1, 2, 3, 4]
            1 ok each:0 1 cost=1 1
            2 fail each:1 1 oops cost=0.5
            3 ok other 1
            4 ?
            5 retry each
            6 ok each:1 2 1
            7 ok each:2 1 cost=1 1
            8 ok each:1 1 cost=3 1
            9 retry
            10 ok each:3 1 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2, 3, 4]
          dispatch each:0#1 {}
          dispatch each:1#1 {}
          dispatch other#1 {}
        > 1 ok each:0 1 cost=1 1
        > 2 fail each:1 1 oops cost=0.5
        > 3 ok other 1
        > 4 ?
        > 5 retry each
          dispatch each:1#2 {}
          dispatch each:2#1 {}
        > 6 ok each:1 2 1
          dispatch each:3#1 {}
        > 7 ok each:2 1 cost=1 1
        > 8 ok each:1 1 cost=3 1
          ignored: already_decided
        > 9 retry
          ignored: not_stalled
        > 10 ok each:3 1 1
          finish COMPLETED decided at 11 null
        = COMPLETED
        "#);
    }

    #[test]
    fn a_late_success_of_the_last_member_needs_no_retry() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "limits": {"cost_per_run": 1}, "retry": {"initial_ms": 0}},
        ]});
        let script = r#"
            0 submit [1, 2]
            1 ok each:0 1 cost=2 1
            2 lost each:1 1 K0406
            3 ok each:1 1 cost=0.1 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2]
          dispatch each:0#1 {}
          dispatch each:1#1 {}
        > 1 ok each:0 1 cost=2 1
        > 2 lost each:1 1 K0406
        > 3 ok each:1 1 cost=0.1 1
          finish COMPLETED decided at 4 null
        = COMPLETED
        "#);
    }

    #[test]
    fn on_give_up_fail_ends_the_run() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "max_parallel": 1, "limits": {"cost_per_run": 1}, "on_give_up": "fail"},
        ]});
        let script = r#"
            0 submit [1, 2, 3]
            1 ok each:0 1 cost=1 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2, 3]
          dispatch each:0#1 {}
        > 1 ok each:0 1 cost=1 1
          finish FAILED decided at 2 K0301: step `each` gave up after 1 attempt: K0311: the tasks of agent-each@1.0.0 have cost 1 USD in this run, its limit is 1 USD
        = FAILED
        "#);
        let plan = json!({"steps": [
            {"id": "a", "limits": {"cost_per_run": 1}, "on_give_up": "fail"},
        ]});
        insta::assert_snapshot!(check(&plan, "0 submit\n1 fail a 1 oops cost=1\n1001 fire retry=a=2"), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 fail a 1 oops cost=1
          start timer retry=a=2 at 1001
        > 1001 fire retry=a=2
          finish FAILED decided at 3 K0301: step `a` gave up after 1 attempt: K0311: the tasks of agent-a@1.0.0 have cost 1 USD in this run, its limit is 1 USD
        = FAILED
        "#);
    }
}
