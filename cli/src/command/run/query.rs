//! `kapelle run query`: a value that the workflow of a run declares, as the run stands.

use clap::Args;
use kapelle_proto::v1;
use serde_json::{Value, json};

use crate::app::{App, End};
use crate::exit::Exit;

/// Which run, and what is asked of it.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The run's id
    run: String,
    /// The query's name, as the workflow declares it
    name: String,
}

/// `kapelle run query`.
pub(crate) async fn query(app: &App, args: Query) -> End {
    let client = app.client().await?;
    let request = v1::QueryRequest { run_id: args.run.clone(), name: args.name.clone() };
    let answer = client.runs().query(request).await.map_err(|s| client.failure(s))?.into_inner();
    let value: Value = serde_json::from_slice(&answer.value).unwrap_or_default();
    let shown = json!({ "run_id": args.run, "name": args.name, "value": value, "seq": answer.seq });
    // The value alone for people and pipes; which entry it was evaluated after stands in JSON and YAML.
    app.output.show(&shown, |_| serde_json::to_string_pretty(&value).unwrap_or_default())?;
    Ok(Exit::Ok)
}
