//! `Query`: what the workflow of a run lets people ask of it, answered from its log as it stands.

use kapelle_engine::Run;
use kapelle_expression::Error;
use kapelle_proto::v1;
use kapelle_types::{Caller, Code, Diagnosis, QueryName, RunId};

use super::{Context, undeclared, visible};
use crate::runs::{json, rebuild};

/// The value of a query. Whoever may not see the run's payloads gets what stands in their place, whatever the value is and
/// whether there is one: why there is none may quote payloads too.
pub(super) async fn query(
    context: &Context,
    run: RunId,
    caller: &Caller,
    name: &str,
) -> Result<v1::QueryResponse, Diagnosis> {
    let invalid = |e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
    let name: QueryName = name.parse().map_err(invalid)?;
    let rebuilt = rebuild(&context.bus, &context.plans, run).await?;
    let run = &rebuilt.run;
    let Some(asked) = run.query(&name) else {
        let declared = run.plan().queries.keys().map(QueryName::as_str);
        return Err(undeclared(
            Code::UNKNOWN_QUERY,
            &run.plan().workflow,
            ("query", "spec.queries", name.as_str()),
            declared,
        ));
    };
    let seq = rebuilt.records.last().map_or(0, |record| record.stamp.seq);
    let value = visible::value(&context.access, caller, run, || {
        let payload = asked.map_err(|error| failed(run, &name, &error))?;
        // A query that is one whole output gives its payload as it is, also when that cannot be fetched.
        if payload.value.is_some() { Ok(json(&payload)) } else { Err(missing(run, &name)) }
    })?;
    Ok(v1::QueryResponse { value, seq })
}

/// Why a query has no value.
fn failed(run: &Run, name: &QueryName, error: &Error) -> Diagnosis {
    let code = if error.code() == Code::EXPRESSION_FAILED { Code::QUERY_FAILED } else { error.code() };
    let message = format!(
        "the query `{name}` has no value as run {} stands, which is {}: {error}",
        run.id(),
        run.status().name()
    );
    let hint = "`has(steps.x.output) ? … : …` in the workflow says what holds before there is one; \
                `kapelle run describe` shows how far the run is";
    Diagnosis::new(code, message).hint(hint)
}

fn missing(run: &Run, name: &QueryName) -> Diagnosis {
    let message = format!("the payload that is the query `{name}` of run {} could not be fetched", run.id());
    Diagnosis::new(Code::PAYLOAD_MISSING, message).hint("restore the stream `OBJ_payloads`, then ask again")
}
