//! Beginning an attempt: what each kind of step does when its turn has come.
//!
//! ```text
//!   Agent, Emit ─────▶ InFlight, a command ──report──▶ Done, or Retrying …
//!   Workflow ────────▶ the same; too deep: Broken
//!   Value, Switch ───▶ Done
//!   Wait ────────────▶ Awaiting(its time), a timer ──wake──▶ Done           a time that has passed: Done
//!   Signal ──────────▶ Awaiting(its timeout) ──signal──▶ Done               one that came before: Done
//!                                            └─wake────▶ gives up
//!   Approval, and others with `approve` ──▶ Awaiting(its end), see `approval.rs`
//! ```

use std::time::Duration;

use kapelle_types::limits::RUN_DEPTH_MAX;
use kapelle_types::{Code, Payload, TaskId, Timestamp, duration};
use serde_json::Value;

use crate::approval::{self, HoldStage};
use crate::command::Command;
use crate::entry::Failure;
use crate::outstanding;
use crate::plan::{Act, AwaitSignal, Bond, Case, PlanStep, Wait};
use crate::scope::View;
use crate::signals;
use crate::state::{Place, SlotState};
use crate::turn::Turn;

/// The longest that a step may wait: what the longest duration of a manifest is.
const WAIT_SECONDS_MAX: f64 = 366.0 * 86_400.0;

impl Turn<'_> {
    /// Begins an attempt of a slot whose input is known.
    pub(crate) fn begin(&mut self, place: Place, planned: &PlanStep, task: TaskId, input: Payload) {
        if let Some(approval) = planned.approval().filter(|_| !approval::is_granted(self.run, place)) {
            return self.ask(place, planned, approval, &input);
        }
        approval::edit(self.run, place, |hold| hold.stage = HoldStage::Used);
        match &planned.act {
            Act::Workflow(act) if act.bond != Bond::Continued && self.run.depth() >= RUN_DEPTH_MAX => {
                let why = format!("{RUN_DEPTH_MAX} runs stand above this one, and no more may stand above another");
                self.break_act(place, Code::RUN_TOO_DEEP, "workflow", &why);
            }
            Act::Agent(_) | Act::Emit(_) | Act::Workflow(_) => {
                self.run.set_slot(place, SlotState::InFlight);
                self.commands.extend(Command::attempt(self.run, place, planned, task, input));
            }
            Act::Value => self.succeed(place, &input),
            Act::Switch(cases) => self.switch(place, cases),
            Act::Wait(wait) => self.wait(place, *wait, &input),
            Act::Signal(signal) => self.await_signal(place, signal),
            Act::Approval(_) => {} // it is done with its answer, so it never has one to go on with
        }
    }

    /// The first case that applies.
    fn switch(&mut self, place: Place, cases: &[Case]) {
        for case in cases {
            match case.when.as_ref().map(|when| when.evaluate_bool(&View::from(self.run, place))) {
                None | Some(Ok(true)) => return self.succeed(place, &Value::String(case.name.to_string()).into()),
                Some(Ok(false)) => {}
                Some(Err(error)) => return self.break_slot(place, &format!("switch.{}", case.name), &error),
            }
        }
        let none = "no case applies; one without `when`, at the end, takes what is left";
        self.break_act(place, Code::NO_CASE, "switch", none);
    }

    fn wait(&mut self, place: Place, wait: Wait, input: &Payload) {
        let now = self.stamp.at;
        match due(wait, input, now) {
            Err(why) => self.break_act(place, Code::NOT_A_TIME, "wait", why),
            Ok(due) if due <= now => self.succeed(place, &Payload::null()),
            Ok(due) => self.hold(place, Some(due)),
        }
    }

    fn await_signal(&mut self, place: Place, signal: &AwaitSignal) {
        match signals::take(self.run, &signal.name) {
            Some((seq, payload)) => {
                self.taken.push(seq);
                self.succeed(place, &payload);
            }
            None => self.hold(place, signal.timeout.map(|timeout| self.stamp.at.plus(timeout))),
        }
    }

    /// Lets a slot wait, with a timer if the wait has an end.
    fn hold(&mut self, place: Place, until: Option<Timestamp>) {
        self.run.set_slot(place, SlotState::Awaiting(until));
        let timer =
            until.zip(self.run.slot(place)).and_then(|(due, slot)| outstanding::wake(self.run, place, slot, due));
        self.commands.extend(timer);
    }

    fn break_act(&mut self, place: Place, code: Code, field: &str, why: &str) {
        if let Some(name) = place.name(&self.run.plan) {
            let failure = Failure::of_run(code, format!("step `{name}`: `{field}`: {why}"));
            self.run.set_slot(place, SlotState::Broken(Box::new(failure)));
        }
    }
}

/// When a wait is over.
fn due(wait: Wait, input: &Payload, now: Timestamp) -> Result<Timestamp, &'static str> {
    let value = input.value.as_deref().unwrap_or(&Value::Null);
    match (wait, value) {
        (Wait::Until, Value::String(text)) => {
            Timestamp::parse(text).ok_or("it is no point in time: write RFC 3339, `2026-11-22T08:00:00Z`")
        }
        (Wait::Until, _) => Err("it is no point in time: a text in RFC 3339 is expected"),
        (Wait::For, Value::String(text)) => duration::parse(text).map(|it| now.plus(it)),
        (Wait::For, Value::Number(seconds)) => seconds
            .as_f64()
            .filter(|seconds| (0.0..=WAIT_SECONDS_MAX).contains(seconds))
            .map(|seconds| now.plus(Duration::from_secs_f64(seconds)))
            .ok_or("a number of seconds is between 0 and those of a year"),
        (Wait::For, _) => Err("it is no duration: write `1h30m`, or a number of seconds"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn values_and_switches_end_at_once() {
        let plan = json!({"steps": [
            {"id": "sum", "value": "${input.n + 1}"},
            {"id": "route", "needs": ["sum"], "switch": [
                {"case": "big", "when": "steps.sum.output > 10"}, {"case": "odd", "when": "input.odd"}, {"case": "small"},
            ]},
            {"id": "big", "needs": ["route"], "of": "route.big"}, {"id": "small", "needs": ["route"], "of": "route.small"},
            {"id": "each", "foreach": "input.list", "value": "${item * 2}"},
        ], "output": ["${steps.route.output}", "${steps.each.outputs}"]});
        insta::assert_snapshot!(check(&plan, r#"0 submit {"n": 10, "odd": false, "list": [1, 2]}"#), @r#"
        > 0 submit {"n": 10, "odd": false, "list": [1, 2]}
          dispatch big#1 {}
        = RUNNING
        "#);
        insta::assert_snapshot!(check(&plan, r#"0 submit {"n": 1, "odd": false, "list": []}"#), @r#"
        > 0 submit {"n": 1, "odd": false, "list": []}
          dispatch small#1 {}
        = RUNNING
        "#);
        insta::assert_snapshot!(check(&plan, r#"0 submit {"n": 1, "odd": 7, "list": []}"#), @r#"
        > 0 submit {"n": 1, "odd": 7, "list": []}
        = STALLED
          K0302: step `route`: `switch.odd`: the condition yields a number instead of true or false
        "#);
        let none = json!({"steps": [{"id": "route", "switch": [{"case": "a", "when": "false"}]}]});
        insta::assert_snapshot!(check(&none, "0 submit\n1 retry\n2 giveup"), @r#"
        > 0 submit
        > 1 retry
        > 2 giveup
          finish FAILED decided at 3 K0314: step `route`: `switch`: no case applies; one without `when`, at the end, takes what is left; failed by ada
        = FAILED
        "#);
    }

    #[test]
    fn a_wait_is_never_early_and_a_time_that_has_passed_is_no_wait() {
        let plan = json!({"steps": [
            {"id": "a", "wait": "${input.a}"}, {"id": "b", "until": "${input.b}"}, {"id": "c", "needs": ["a", "b"]},
        ], "deadline_ms": 9000});
        let script = r#"
            0 submit {"a": "1s500ms", "b": "1970-01-01T00:00:02Z"}
            1499 fire wake=a=1
            1500 fire wake=a=1
            1501 fire wake=a=1
            1502 fire wake=a=2
            1503 fire retry=a=2
            1504 ?
            2000 fire wake=b=1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"a": "1s500ms", "b": "1970-01-01T00:00:02Z"}
          start timer deadline at 9000
          start timer wake=a=1 at 1500
          start timer wake=b=1 at 2000
        > 1499 fire wake=a=1
          ignored: timer_early
          start timer wake=a=1 at 1500
        > 1500 fire wake=a=1
        > 1501 fire wake=a=1
          ignored: stale_timer
        > 1502 fire wake=a=2
          ignored: stale_timer
        > 1503 fire retry=a=2
          ignored: stale_timer
        > 1504 ?
          start timer deadline at 9000
          start timer wake=b=1 at 2000
        > 2000 fire wake=b=1
          dispatch c#1 {}
        = RUNNING
        "#);
        insta::assert_snapshot!(check(&plan, r#"0 submit {"a": 0, "b": "1970-01-01T00:00:00Z"}"#), @r#"
        > 0 submit {"a": 0, "b": "1970-01-01T00:00:00Z"}
          start timer deadline at 9000
          dispatch c#1 {}
        = RUNNING
        "#);
        insta::assert_snapshot!(check(&plan, r#"0 submit {"a": -1, "b": "tomorrow"}"#), @r#"
        > 0 submit {"a": -1, "b": "tomorrow"}
          start timer deadline at 9000
        = STALLED
          K0315: step `a`: `wait`: a number of seconds is between 0 and those of a year
        "#);
    }

    #[test]
    fn a_waiting_run_can_be_cancelled_and_paused() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "wait": "${item}", "max_parallel": 2}, {"id": "z", "needs": ["each"]},
        ]});
        insta::assert_snapshot!(check(&plan, "0 submit [1, 2, 0]\n5 cancel\n6 ?"), @r#"
        > 0 submit [1, 2, 0]
          start timer wake=each:0=1 at 1000
          start timer wake=each:1=1 at 2000
        > 5 cancel
          cancel timer wake=each:0=1
          cancel timer wake=each:1=1
          finish CANCELED decided at 2 canceled: canceled by ada
        > 6 ?
          cancel timer wake=each:0=1
          cancel timer wake=each:1=1
          finish CANCELED decided at 2 canceled: canceled by ada
        = CANCELED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit [1]\n5 pause\n1000 fire wake=each:0=1\n1001 resume"), @r#"
        > 0 submit [1]
          start timer wake=each:0=1 at 1000
        > 5 pause
        > 1000 fire wake=each:0=1
        > 1001 resume
          dispatch z#1 {}
        = RUNNING
        "#);
    }

    #[test]
    fn an_event_is_told_until_it_is_reported() {
        let plan = json!({"steps": [
            {"id": "tell", "emit": "order.done", "with": "${input}", "retry": {"max_attempts": 2, "initial_ms": 0}},
        ]});
        insta::assert_snapshot!(check(&plan, "0 submit 7\n1 ?\n2 fail tell 1 oops\n3 ok tell 2"), @r#"
        > 0 submit 7
          emit tell#1 order.done 7
        > 1 ?
          emit tell#1 order.done 7
        > 2 fail tell 1 oops
          emit tell#2 order.done 7
        > 3 ok tell 2
          finish COMPLETED decided at 4 null
        = COMPLETED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit 7\n1 fail tell 1 oops\n2 fail tell 2 oops\n3 ?\n4 cancel"), @r#"
        > 0 submit 7
          emit tell#1 order.done 7
        > 1 fail tell 1 oops
          emit tell#2 order.done 7
        > 2 fail tell 2 oops
        > 3 ?
        > 4 cancel
          finish CANCELED decided at 5 canceled: canceled by ada
        = CANCELED
        "#);
    }

    #[test]
    fn no_report_ends_what_no_worker_was_given() {
        let plan = json!({"signals": {"go": null}, "steps": [{"id": "a", "wait": 5}, {"id": "b", "signal": "go"}]});
        insta::assert_snapshot!(check(&plan, "0 submit\n1 ok a 1\n2 fail b 1\n3 ok b 1"), @r#"
        > 0 submit
          start timer wake=a=1 at 5000
        > 1 ok a 1
          ignored: unknown_attempt
        > 2 fail b 1
          ignored: unknown_attempt
        > 3 ok b 1
          ignored: unknown_attempt
        = WAITING
        "#);
    }

    #[test]
    fn what_may_be_gone_on_without_is_null() {
        let once = json!({"max_attempts": 1});
        let plan = json!({"steps": [
            {"id": "a", "on_give_up": "continue", "retry": once},
            {"id": "each", "foreach": "input", "on_give_up": "continue", "retry": once},
            {"id": "b", "needs": ["a"], "with": ["${steps.a.output}", "${steps.a.status}"]},
        ], "output": "${steps.each.outputs}"});
        let script = "0 submit [1, 2]\n1 fail a 1 oops\n2 ok each:1 1 7\n3 fail each:0 1 oops\n4 ok a 1\n5 ok each:0 1\n6 ok b 1";
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2]
          dispatch a#1 {}
          dispatch each:0#1 {}
          dispatch each:1#1 {}
        > 1 fail a 1 oops
          dispatch b#1 [null,"GAVE_UP"]
        > 2 ok each:1 1 7
        > 3 fail each:0 1 oops
        > 4 ok a 1
          ignored: already_decided
        > 5 ok each:0 1
          ignored: already_decided
        > 6 ok b 1
          finish COMPLETED decided at 7 [null,7]
        = COMPLETED
        "#);
    }
}
