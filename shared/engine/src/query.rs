//! Queries: what a workflow lets people ask of its runs, answered from a run's state. Nothing is recorded and nothing decided.

use kapelle_expression::Error;
use kapelle_types::{Payload, QueryName};

use crate::scope::View;
use crate::state::Run;

impl Run {
    /// The value of a query as the run stands; `None` if its workflow declares no such query.
    ///
    /// # Errors
    /// What the query refers to is not there yet, or does not fit what is done with it.
    #[must_use]
    pub fn query(&self, name: &QueryName) -> Option<Result<Payload, Error>> {
        self.plan.queries.get(name).map(|template| template.evaluate(&View::of_run(self)))
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
}
