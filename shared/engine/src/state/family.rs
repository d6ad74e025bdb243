//! Runs that begin runs: who stands above a run, and what it tells those below it.

use kapelle_types::TaskId;

use super::run::Run;
use crate::entry::Parent;
use crate::plan::StepIndex;

impl Run {
    /// The attempt that it was begun for, if another run wanted it.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.origin.as_ref().and_then(|origin| origin.parent.as_ref())
    }

    /// What it tells a run that it begins about itself.
    pub(crate) fn as_parent(&self, task: TaskId, awaited: bool) -> Parent {
        Parent {
            run: self.id,
            task,
            signing_key: self.origin.as_ref().and_then(|origin| origin.signing_key),
            root: self.parent().map_or(self.id, |above| above.root),
            depth: self.depth().saturating_add(1),
            awaited,
        }
    }

    /// How many runs stand above it.
    pub(crate) fn depth(&self) -> u32 {
        self.parent().map_or(0, |above| above.depth)
    }

    /// Whether a step runs another workflow.
    pub(crate) fn runs_another(&self, step: StepIndex) -> bool {
        self.plan.steps.get(step).is_some_and(|planned| planned.runs().is_some())
    }

    /// Attempts that are in the queue of an agent, or being worked on.
    #[must_use]
    pub fn tasks_in_flight(&self) -> usize {
        let of_agent = |step: &&StepIndex| self.plan.steps.get(**step).is_some_and(|it| it.agent().is_some());
        self.active.iter().filter(of_agent).map(|step| self.step_in_flight(*step) as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn an_attempt_is_a_run_and_its_end_is_the_attempts() {
        let plan = json!({"steps": [
            {"id": "sub", "workflow": "other@2.0.0", "with": {"n": "${input.n}"}, "gives": ["x"]},
            {"id": "after", "needs": ["sub"], "with": "${steps.sub.output.x}"},
        ]});
        let script = r#"
            0 submit {"n": 1}
            1 fail sub 1 oops
            2 ?
            1001 fire retry=sub=2
            1002 ?
            1003 ok sub 2 {"x": 7}"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit {"n": 1}
          start run of other@2.0.0 for sub#1 {"n":1}
        > 1 fail sub 1 oops
          start timer retry=sub=2 at 1001
        > 2 ?
          start timer retry=sub=2 at 1001
        > 1001 fire retry=sub=2
          start run of other@2.0.0 for sub#2 {"n":1}
        > 1002 ?
          start run of other@2.0.0 for sub#2 {"n":1}
        > 1003 ok sub 2 {"x": 7}
          dispatch after#1 7
        = RUNNING
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit {\"n\": 1}\n1 ok sub 1 {\"y\": 7}"), @r#"
        > 0 submit {"n": 1}
          start run of other@2.0.0 for sub#1 {"n":1}
        > 1 ok sub 1 {"y": 7}
        = STALLED
          K0301: step `sub` gave up after 1 attempt: K0308: the output breaks the contract of other@2.0.0: it has no `x`
        "#);
    }

    #[test]
    fn what_ends_a_run_ends_those_that_it_waits_for() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "input", "workflow": "other@2.0.0", "with": "${item}"},
            {"id": "loose", "workflow": "other@2.0.0", "detach": true},
            {"id": "told", "workflow": "other@2.0.0", "detach": true},
        ], "deadline_ms": 5000});
        let script = r#"
            0 submit [1, 2]
            1 ok each:0 1
            2 ok told 1 {"run_id": "x"}
            3 cancel
            4 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2]
          start timer deadline at 5000
          start run of other@2.0.0 for each:0#1 1
          start run of other@2.0.0 for each:1#1 2
          start run of other@2.0.0 for loose#1 detached {}
          start run of other@2.0.0 for told#1 detached {}
        > 1 ok each:0 1
        > 2 ok told 1 {"run_id": "x"}
        > 3 cancel
          cancel run for each:1#1
          cancel timer deadline
          finish CANCELED decided at 4 canceled: canceled by ada
        > 4 ?
          cancel run for each:1#1
          cancel timer deadline
          finish CANCELED decided at 4 canceled: canceled by ada
        = CANCELED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit [1]\n1 terminate"), @r#"
        > 0 submit [1]
          start timer deadline at 5000
          start run of other@2.0.0 for each:0#1 1
          start run of other@2.0.0 for loose#1 detached {}
          start run of other@2.0.0 for told#1 detached {}
        > 1 terminate
          terminate run for each:0#1
          cancel timer deadline
          finish TERMINATED decided at 2 terminated: terminated by ada
        = TERMINATED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit [1]\n5000 fire deadline"), @r#"
        > 0 submit [1]
          start timer deadline at 5000
          start run of other@2.0.0 for each:0#1 1
          start run of other@2.0.0 for loose#1 detached {}
          start run of other@2.0.0 for told#1 detached {}
        > 5000 fire deadline
          cancel run for each:0#1
          finish TIMED_OUT decided at 2 K0306: the run was not done at its deadline, 1970-01-01T00:00:05.000Z
        = TIMED_OUT
        "#);
    }

    #[test]
    fn a_run_tells_the_one_above_how_it_ended() {
        let plan = json!({"steps": [{"id": "a"}], "output": "${steps.a.output}"});
        insta::assert_snapshot!(check(&plan, "0 submit-below 1\n1 ok a 1 9\n2 ?\n3 finished\n4 ?"), @r#"
        > 0 submit-below 1
          dispatch a#1 {}
        > 1 ok a 1 9
          report COMPLETED to up#1 of the run above
          finish COMPLETED decided at 2 9
        > 2 ?
          report COMPLETED to up#1 of the run above
          finish COMPLETED decided at 2 9
        > 3 finished
        > 4 ?
          report COMPLETED to up#1 of the run above
        = COMPLETED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit-below 1\n1 cancel"), @r#"
        > 0 submit-below 1
          dispatch a#1 {}
        > 1 cancel
          withdraw a#1
          report CANCELED to up#1 of the run above
          finish CANCELED decided at 2 canceled: canceled by ada
        = CANCELED
        "#);
    }

    #[test]
    fn depth_is_bounded() {
        let plan = json!({"steps": [{"id": "sub", "workflow": "other@2.0.0"}]});
        insta::assert_snapshot!(check(&plan, "0 submit-below 6"), @r#"
        > 0 submit-below 6
          start run of other@2.0.0 for sub#1 {}
        = RUNNING
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit-below 7"), @r#"
        > 0 submit-below 7
        = STALLED
          K0318: step `sub`: `workflow`: 8 runs stand above this one, and no more may stand above another
        "#);
    }
}
