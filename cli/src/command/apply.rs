//! `kapelle apply`: reads manifests, checks them against each other and what is registered, registers all or nothing; then the
//! schedules among them, each for itself.
//!
//! The coordinator checks again what it is given; here people get the line and the column.

use std::path::PathBuf;

use kapelle_manifest::{Agents, Layered};
use kapelle_proto::v1;
use serde::Serialize;

use super::schedule;
use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::{self, Found, registered};
use crate::output::Table;
use crate::view;

/// What to register.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a folder with everything below it, or `-` for stdin; repeat it for more
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Register agents although registered workflows break by them, and why; it is kept with them. Default: refuse it
    #[arg(long, value_name = "WHY")]
    force: Option<String>,
}

/// What became of one manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Applied {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// `created` or `unchanged`; `changed` of a schedule, which has no version.
    pub(crate) outcome: String,
}

impl From<view::AppliedSchedule> for Applied {
    fn from(applied: view::AppliedSchedule) -> Self {
        let view::AppliedSchedule { name, outcome, next: _ } = applied;
        Self { kind: "Schedule".into(), name, version: String::new(), outcome }
    }
}

/// `kapelle apply`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let (found, schedules) = manifests::read_all(&args.files)?;
    let client = app.client().await?;
    let together = Layered(brought(&found), registered::needed_by(&client, &found).await?);
    manifests::check(&found, &together)?;
    manifests::warn(&found, &together, app.output.format());
    let force_reason = args.force.unwrap_or_default();
    let mut applied = match found.as_slice() {
        [] => Vec::new(),
        found => {
            let (applied, warnings) =
                send(&client, found, v1::ApplyRequest { force_reason, ..Default::default() }).await?;
            app.output.warn(&warnings);
            applied
        }
    };
    // Their workflows may be among what was registered just now.
    for schedule in &schedules {
        applied.push(schedule::apply(&client, schedule, false).await?.into());
    }
    app.output.show(&applied, |applied| table(applied))?;
    Ok(Exit::Ok)
}

/// Checks and registers, without a word on what may go wrong.
pub(crate) async fn apply(client: &Client, found: &[Found]) -> Result<Vec<Applied>, Failure> {
    let together = Layered(brought(found), registered::needed_by(client, found).await?);
    manifests::check(found, &together)?;
    register(client, found, false).await
}

/// The agents and workflows among these manifests.
pub(crate) fn brought(found: &[Found]) -> Agents {
    found.iter().map(|f| &f.sourced.manifest).collect()
}

/// Has the coordinator check and register them; only check with `dry_run`.
pub(crate) async fn register(client: &Client, found: &[Found], dry_run: bool) -> Result<Vec<Applied>, Failure> {
    send(client, found, v1::ApplyRequest { dry_run, ..Default::default() }).await.map(|(applied, _)| applied)
}

/// Has the coordinator check them, and gives what deserves a look besides.
pub(crate) async fn plan(client: &Client, found: &[Found]) -> Result<(Vec<Applied>, Vec<String>), Failure> {
    send(client, found, v1::ApplyRequest { dry_run: true, ..Default::default() }).await
}

/// What became of each, and what deserves a look.
async fn send(client: &Client, found: &[Found], how: v1::ApplyRequest) -> Result<(Vec<Applied>, Vec<String>), Failure> {
    let sources = found.iter().map(|f| v1::ManifestSource {
        json: f.sourced.manifest.canonical().into_bytes().into(),
        origin: f.folder.to_string_lossy().into_owned(),
    });
    let request = v1::ApplyRequest { manifests: sources.collect(), ..how };
    let answer = client.registry().apply(request).await.map_err(|s| client.failure(s))?.into_inner();
    let applied = answer.applied.into_iter().map(|a| Applied {
        kind: a.kind,
        name: a.name,
        version: a.version,
        outcome: a.outcome,
    });
    Ok((applied.collect(), answer.warnings))
}

/// One line a manifest.
pub(crate) fn table(applied: &[Applied]) -> String {
    let mut table = Table::new(&["kind", "name", "version", "outcome"]);
    for a in applied {
        table.row([&a.kind, &a.name, &a.version, &a.outcome].map(String::clone));
    }
    table.render("Nothing to apply.")
}
