//! `kapelle apply`: reads manifests, checks them against each other and what is registered, registers all or nothing.
//!
//! The coordinator checks again what it is given; here people get the line and the column.

mod registered;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use kapelle_manifest::{Agents, Layered, Manifest, Performer};
use kapelle_proto::v1;
use serde::Serialize;

use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::{self, Found};
use crate::output::Table;
use registered::Needed;

/// What to register.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a folder with everything below it, or `-` for stdin; repeat it for more
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Check everything and say what would be registered, without registering it
    #[arg(long)]
    dry_run: bool,
}

/// What became of one manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Applied {
    kind: String,
    name: String,
    version: String,
    /// `created` or `unchanged`.
    outcome: String,
}

/// `kapelle apply`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let found = manifests::read(&args.files)?;
    let client = app.client().await?;
    let applied = apply(&client, &found, args.dry_run).await?;
    app.output.show(&applied, |applied| table(applied, args.dry_run))?;
    Ok(Exit::Ok)
}

/// Checks and registers.
pub(crate) async fn apply(client: &Client, found: &[Found], dry_run: bool) -> Result<Vec<Applied>, Failure> {
    check(client, found).await?;
    let sources = found.iter().map(|f| v1::ManifestSource {
        json: f.sourced.manifest.canonical().into_bytes().into(),
        origin: f.folder.to_string_lossy().into_owned(),
    });
    let request = v1::ApplyRequest { manifests: sources.collect(), dry_run };
    let answer = client.registry().apply(request).await.map_err(|s| client.failure(s))?.into_inner();
    let applied = answer.applied.into_iter().map(|a| Applied {
        kind: a.kind,
        name: a.name,
        version: a.version,
        outcome: a.outcome,
    });
    Ok(applied.collect())
}

/// Everything that can be known before it runs, against these manifests and the registered ones together.
async fn check(client: &Client, found: &[Found]) -> Result<(), Failure> {
    let brought: Agents = found
        .iter()
        .filter_map(|f| match &f.sourced.manifest {
            Manifest::Agent(agent) => Some(Arc::new(agent.clone())),
            Manifest::Workflow(_) => None,
        })
        .collect();
    let there = registered::agents(client, &needed(found)).await?;
    let together = Layered(brought, there);
    let problems: Vec<_> = found.iter().flat_map(|f| kapelle_manifest::check(&f.sourced, &together)).collect();
    if problems.is_empty() { Ok(()) } else { Err(manifests::invalid(&problems)) }
}

/// The agents that the workflows need.
fn needed(found: &[Found]) -> Needed {
    let workflows = found.iter().filter_map(|f| match &f.sourced.manifest {
        Manifest::Workflow(workflow) => Some(workflow),
        Manifest::Agent(_) => None,
    });
    let mut names = BTreeSet::new();
    for step in workflows.flat_map(|w| &w.spec.steps) {
        match &step.performer {
            Performer::Agent(agent) => names.insert(agent.name.clone()),
            Performer::Capability(_) => return Needed::All,
        };
    }
    Needed::Named(names)
}

fn table(applied: &[Applied], dry_run: bool) -> String {
    let mut table = Table::new(&["kind", "name", "version", "outcome"]);
    for a in applied {
        table.row([&a.kind, &a.name, &a.version, &a.outcome].map(String::clone));
    }
    let note = if dry_run { "\n\nA dry run: nothing was registered." } else { "" };
    table.render("Nothing to apply.") + note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_that_it_is_one() {
        let one =
            Applied { kind: "Agent".into(), name: "a".into(), version: "1.0.0".into(), outcome: "created".into() };
        assert_eq!(
            table(std::slice::from_ref(&one), false),
            "KIND   NAME  VERSION  OUTCOME\nAgent  a     1.0.0    created"
        );
        assert!(table(&[one], true).ends_with("A dry run: nothing was registered."));
    }
}
