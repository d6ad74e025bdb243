//! Queries: what a workflow lets people ask of its runs, answered from a run's state; and what those are answered who tell a
//! run something. Nothing is recorded and nothing decided.

use kapelle_expression::{Error, Template};
use kapelle_types::{Payload, QueryName, SignalName, StepId};

use crate::plan::StepIndex;
use crate::scope::View;
use crate::state::{Run, is_over};

impl Run {
    /// The value of a query as the run stands; `None` if its workflow declares no such query.
    ///
    /// # Errors
    /// What the query refers to is not there yet, or does not fit what is done with it.
    #[must_use]
    pub fn query(&self, name: &QueryName) -> Option<Result<Payload, Error>> {
        self.plan.queries.get(name).map(|template| template.evaluate(&View::of_run(self)))
    }

    /// What whoever told the run this signal is answered, as the run stands: asked after each entry from the one on that gave
    /// the signal to a step, the first answer is the one. `None` until every step that the answer refers to has ended, or
    /// nothing becomes of it any more; also if the workflow declares no answer.
    ///
    /// # Errors
    /// What the answer refers to never came to be, or does not fit what is done with it.
    #[must_use]
    pub fn answer(&self, signal: &SignalName) -> Option<Result<Payload, Error>> {
        let template = self.plan.answers.get(signal)?;
        self.waits_for(template).is_none().then(|| template.evaluate(&View::of_run(self)))
    }

    /// The first step, in the plan's order, that an answer still waits for.
    #[must_use]
    pub fn answer_waits_for(&self, signal: &SignalName) -> Option<&StepId> {
        let step = self.waits_for(self.plan.answers.get(signal)?)?;
        self.plan.steps.get(step).map(|planned| &planned.id)
    }

    fn waits_for(&self, template: &Template) -> Option<StepIndex> {
        let references = template.references();
        let steps = references.iter().filter_map(|it| self.find(it.root.step()?));
        steps.filter(|step| !is_over(self, *step) && self.state(*step).is_some_and(|it| !it.is_ended())).min()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::testing::{entry, fresh, plan};
    use crate::{Run, Stamp, apply};

    fn plan_with(queries: &Value) -> Value {
        json!({"queries": queries, "steps": [
            {"id": "a"}, {"id": "each", "needs": ["a"], "foreach": "steps.a.output.items"},
            {"id": "off", "when": "false"},
        ], "output": "${steps.each.outputs}"})
    }

    /// What each query says after each line of the script: its value, or why there is none.
    fn asked(queries: &Value, script: &str) -> String {
        let mut run: Run = fresh(Arc::new(plan(&plan_with(queries))));
        let mut told = String::new();
        for (seq, line) in (1..).zip(script.lines().map(str::trim)) {
            let (entry, channel) = entry(line);
            let before = run.clone();
            let _ = apply(&mut run, &entry, channel, Stamp { seq, ..Stamp::default() });
            assert_ne!(run, before, "{line}");
            told += &format!("> {line}\n");
            for name in queries.as_object().unwrap().keys() {
                let as_it_stood = run.clone();
                let value = match run.query(&name.parse().unwrap()).unwrap() {
                    Ok(payload) => payload.value.unwrap().to_string(),
                    Err(error) => format!("{:?}: {error}", error.kind),
                };
                assert_eq!(run, as_it_stood);
                told += &format!("  {name} = {value}\n");
            }
        }
        told
    }

    #[test]
    fn a_query_is_answered_as_the_run_stands() {
        let queries = json!({
            "bare": "${steps.a.output.total}",
            "guarded": "${has(steps.each.outputs) ? size(steps.each.outputs) : -1}",
            "known": { "id": "${run.id == ''}", "of": "${input.of}", "off": "${has(steps.off.output)}" },
            "standing": "${steps.a.status}, ${steps.each.status}",
        });
        let script = r#"submit {"of": 7}
            ok a 1 {"items": [1, 2], "total": 3}
            ok each:0 1 10
            ok each:1 1 20"#;
        insta::assert_snapshot!(asked(&queries, script));
    }

    #[test]
    fn nobody_has_declared_it() {
        let run = fresh(Arc::new(plan(&plan_with(&json!({"total": 1})))));
        assert_eq!(run.query(&"total".parse().unwrap()).unwrap().unwrap().value.as_deref(), Some(&json!(1)));
        assert!(run.query(&"totla".parse().unwrap()).is_none());
    }

    /// What each entry of the script has the run take, and what the answer is then.
    fn answered(plan_of: &Value, script: &str) -> String {
        let mut run: Run = fresh(Arc::new(plan(plan_of)));
        let mut told = String::new();
        for (seq, line) in (1..).zip(script.lines().map(str::trim)) {
            let (entry, channel) = entry(line);
            let decision = apply(&mut run, &entry, channel, Stamp { seq, ..Stamp::default() });
            told += &format!("> {seq} {line}\n");
            decision.taken.iter().for_each(|seq| told += &format!("  takes {seq}\n"));
            let signal = "change".parse().unwrap();
            told += &match (run.answer(&signal), run.answer_waits_for(&signal)) {
                (Some(Ok(payload)), None) => format!("  answer {}\n", payload.value.unwrap()),
                (Some(Err(error)), None) => format!("  no answer: {error}\n"),
                (None, Some(step)) => format!("  waits for {step}\n"),
                both => panic!("{both:?}"),
            };
        }
        told
    }

    fn update(answer: &Value) -> Value {
        json!({"signals": {"change": ["to"]}, "answers": {"change": answer}, "steps": [
            {"id": "first"}, {"id": "told", "needs": ["first"], "signal": "change"},
            {"id": "book", "needs": ["told"]}, {"id": "again", "needs": ["book"], "signal": "change"},
        ]})
    }

    /// Two came early; the first is taken when somebody waits, the second by the next that does.
    #[test]
    fn an_update_is_answered_when_what_it_names_has_ended() {
        let answer = json!({"to": "${steps.told.output.to}", "booked": "${steps.book.output.number}"});
        let script = r#"submit {}
            signal id=u1 change {"to": "a"}
            signal id=u2 change {"to": "b"}
            signal id=u2 change {"to": "b"}
            signal id=u3 change {}
            ok first 1 1
            ok book 1 {"number": 7}"#;
        insta::assert_snapshot!(answered(&update(&answer), script), @r#"
        > 1 submit {}
          waits for told
        > 2 signal id=u1 change {"to": "a"}
          waits for told
        > 3 signal id=u2 change {"to": "b"}
          waits for told
        > 4 signal id=u2 change {"to": "b"}
          waits for told
        > 5 signal id=u3 change {}
          waits for told
        > 6 ok first 1 1
          takes 2
          waits for book
        > 7 ok book 1 {"number": 7}
          takes 3
          answer {"to":"a","booked":7}
        "#);
    }

    #[test]
    fn an_update_of_a_run_that_was_ended_has_no_answer_of_what_never_ended() {
        let answer = json!("${has(steps.book.output.number) ? steps.book.output.number : steps.told.output.to}");
        let script = r#"submit {}
            ok first 1 1
            signal id=u1 change {"to": "a"}
            terminate enough"#;
        insta::assert_snapshot!(answered(&update(&answer), script), @r#"
        > 1 submit {}
          waits for told
        > 2 ok first 1 1
          waits for told
        > 3 signal id=u1 change {"to": "a"}
          takes 3
          waits for book
        > 4 terminate enough
          no answer: `steps.book.output` is not there: the step has no output yet
        "#);
    }

    #[test]
    fn only_declared_answers_are_given() {
        let run = fresh(Arc::new(plan(&update(&json!("taken")))));
        assert_eq!(run.answer(&"change".parse().unwrap()).unwrap().unwrap().value.as_deref(), Some(&json!("taken")));
        assert!(run.answer(&"other".parse().unwrap()).is_none());
        assert!(run.answer_waits_for(&"other".parse().unwrap()).is_none());
    }
}
