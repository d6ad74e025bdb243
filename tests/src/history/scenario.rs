//! The table of scenarios: each is one way that a run can take.

use futures::future::BoxFuture;
use kapelle_types::RunId;

use super::scenarios::{
    closings, contracts, fan_outs, faults, flows, handoffs, kinds, latecomers, limits, noise, payloads, people,
    requests, retries, stalls,
};
use super::stage::Stage;

/// One way that a run can take.
pub struct Scenario {
    /// The name of its file.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
    /// Plays it on an empty stage and says which run to keep.
    pub(super) play: Play,
}

type Play = for<'s> fn(&'s Stage) -> BoxFuture<'s, RunId>;

/// All of them.
pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("chain", "three steps in a row, each handing on what it gets", |s| Box::pin(flows::chain_of_three(s))),
    scenario(
        "diamond",
        "a DAG with three steps between its ends; `when` skips one, and the last step sees null and SKIPPED",
        |s| Box::pin(flows::diamond(s)),
    ),
    scenario("labelled", "a run without a key, with labels and a trace", |s| Box::pin(flows::labelled(s))),
    scenario("fan_out", "36 members, five at a time, some of them retried; outputs in the order of the items", |s| {
        Box::pin(fan_outs::wide(s))
    }),
    scenario("fan_out_empty", "a list without items, a list with nulls, and a step behind both", |s| {
        Box::pin(fan_outs::empty(s))
    }),
    scenario("fan_out_stalled", "one member gives up and is retried alone while the others go on", |s| {
        Box::pin(fan_outs::stalled(s))
    }),
    scenario("fan_out_no_list", "a `foreach` over something that is no list stalls the run", |s| {
        Box::pin(fan_outs::no_list(s))
    }),
    scenario("retry", "two failures, the second of which asks for a longer delay, then a success", |s| {
        Box::pin(retries::retry(s))
    }),
    scenario("not_retryable", "a code that the manifest does not retry gives up at once", |s| {
        Box::pin(retries::not_retryable(s))
    }),
    scenario("retry_total", "the total time of the retries ends before the attempts do", |s| {
        Box::pin(retries::total(s))
    }),
    scenario("attempt_timeout", "an agent that hangs exceeds its step's timeout and is tried again", |s| {
        Box::pin(retries::attempt_timeout(s))
    }),
    scenario(
        "lease_lost",
        "a worker crashes; the next one reports the lease, and the attempt after it succeeds",
        |s| Box::pin(faults::lease_lost(s)),
    ),
    scenario(
        "lost_for_good",
        "six workers are lost with the task: the small budget is spent, the run stalls and is retried",
        |s| Box::pin(faults::lost_for_good(s)),
    ),
    scenario("given_back", "a worker that drains gives back the task that it had not started", |s| {
        Box::pin(faults::given_back(s))
    }),
    scenario("stalled_retried", "a step gives up, has its dead letter, is replayed and succeeds", |s| {
        Box::pin(stalls::retried(s))
    }),
    scenario("stalled_discarded", "a step gives up, its dead letter is discarded and the run ends FAILED", |s| {
        Box::pin(stalls::discarded(s))
    }),
    scenario("fail_on_give_up", "a step that fails its run when it gives up; what was in flight is withdrawn", |s| {
        Box::pin(stalls::fail_on_give_up(s))
    }),
    scenario("expression_failed", "an expression fails: STALLED, failing again on retry, failed by a person", |s| {
        Box::pin(stalls::expression_failed(s))
    }),
    scenario("output_failed", "the workflow's output fails: STALLED, failing again on retry, cancelled", |s| {
        Box::pin(stalls::output_failed(s))
    }),
    scenario("cancelled", "cancelled with one step in flight and one waiting for its retry", |s| {
        Box::pin(requests::cancelled(s))
    }),
    scenario("terminated", "terminated with a step in flight", |s| Box::pin(requests::terminated(s))),
    scenario("terminated_stalled", "terminated while a step has given up: its dead letter goes", |s| {
        Box::pin(requests::terminated_stalled(s))
    }),
    scenario("paused", "paused while one step runs and another's retry timer goes off, then resumed", |s| {
        Box::pin(requests::paused(s))
    }),
    scenario("deadline", "the deadline ends a run that has a step in flight and one waiting for its retry", |s| {
        Box::pin(requests::deadline(s))
    }),
    scenario("late_success", "a success of an attempt that had been given up for lost, after the run stalled", |s| {
        Box::pin(latecomers::late_success(s))
    }),
    scenario("overtaken_in_flight", "an early attempt succeeds while a later one is in flight", |s| {
        Box::pin(latecomers::overtaken_in_flight(s))
    }),
    scenario("overtaken_retry", "an early attempt succeeds while the next one waits for its timer", |s| {
        Box::pin(latecomers::overtaken_retry(s))
    }),
    scenario("output_contract", "an output that breaks its contract is final; repaired, the next one keeps it", |s| {
        Box::pin(contracts::output(s))
    }),
    scenario("input_contract", "a member whose input breaks the agent's contract is not dispatched", |s| {
        Box::pin(contracts::input(s))
    }),
    scenario("result_contract", "the workflow's output breaks its own contract: STALLED, failed by a person", |s| {
        Box::pin(contracts::result(s))
    }),
    scenario("forged_reports", "reports without the token of their task, and with another task's", |s| {
        Box::pin(contracts::forged(s))
    }),
    scenario(
        "cost_per_run",
        "members of an agent that has spent its limit are held until a retry grants it anew",
        |s| Box::pin(limits::cost(s)),
    ),
    scenario("cost_of_attempts", "failed attempts cost too: the step gives up before its retries are used up", |s| {
        Box::pin(limits::failures(s))
    }),
    scenario("task_limits", "a task that used too many tokens, and one that would be given too much", |s| {
        Box::pin(limits::tasks(s))
    }),
    scenario("payload_stored", "input and outputs by reference", |s| Box::pin(payloads::stored(s))),
    scenario("payload_missing", "an output whose object is gone stalls the step that needs a part of it", |s| {
        Box::pin(payloads::missing(s))
    }),
    scenario("payload_handed_on", "an output whose object is gone fails the attempts that are given it whole", |s| {
        Box::pin(payloads::missing_whole(s))
    }),
    scenario(
        "noise",
        "everything that is ignored: garbage, duplicates, wrong channels, stale and unknown names",
        |s| Box::pin(noise::all_kinds(s)),
    ),
    scenario("quiet_steps", "values, a switch, waits and an event beside an agent's step", |s| {
        Box::pin(kinds::quiet(s))
    }),
    scenario("signalled", "a signal that comes early, and some that are none", |s| Box::pin(kinds::signalled(s))),
    scenario("signalled_late", "a signal that comes when the run has stalled for it", |s| {
        Box::pin(kinds::signalled_late(s))
    }),
    scenario("gone_on_without", "a signal and a member that give up and are gone on without", |s| {
        Box::pin(kinds::gone_on_without(s))
    }),
    scenario("handed_on", "a step is handed to a second agent, which fails first, and back to the first", |s| {
        Box::pin(handoffs::handed_on(s))
    }),
    scenario("handed_astray", "an agent names somebody whom its step may not be handed to, until it gives up", |s| {
        Box::pin(handoffs::handed_astray(s))
    }),
    scenario(
        "handed_on_too_often",
        "a step is handed on as often as it may be: STALLED, the same again, discarded",
        |s| Box::pin(handoffs::handed_on_too_often(s)),
    ),
    scenario("asked_of", "people are asked: answers that are none, a no, an edit", |s| Box::pin(people::asked_of(s))),
    scenario("asked_too_late", "people are asked and answer after the time for it", |s| {
        Box::pin(people::asked_too_late(s))
    }),
    scenario("undone", "a step fails its run: what was done is undone, and nothing changes that any more", |s| {
        Box::pin(closings::undone(s))
    }),
    scenario("cancelled_and_undone", "cancelled, undone, stalled at what is done last, and retried", |s| {
        Box::pin(closings::cancelled_and_undone(s))
    }),
    scenario("in_turn", "priorities, a share and a limit by key, and a member whose priority is none", |s| {
        Box::pin(flows::in_turn(s))
    }),
    scenario("report_first", "reports that stand in front of the submission", |s| Box::pin(noise::report_first(s))),
];

const fn scenario(name: &'static str, shows: &'static str, play: Play) -> Scenario {
    Scenario { name, shows, play }
}

/// The names of all scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCENARIOS.iter().map(|s| s.name)
}
