//! `kapelle plan`: everything that `apply` does but registering. Without a coordinator it checks the files alone.

use std::path::PathBuf;

use kapelle_manifest::{Layered, Manifest};
use kapelle_types::Code;

use super::apply::{self, Applied, brought, table};
use super::schedule;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::registered::{self, Registered};
use crate::manifests::{self, Found};

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a folder with everything below it, or `-` for stdin; repeat it for more
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
}

/// `kapelle plan`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let (found, schedules) = manifests::read_all(&args.files)?;
    let client = match app.client().await {
        Ok(client) => Some(client),
        Err(failure) if failure.code() == Some(Code::COORDINATOR_UNAVAILABLE) => None,
        Err(failure) => return Err(failure),
    };
    let there = match &client {
        Some(client) => registered::needed_by(client, &found).await?,
        None => Registered::default(),
    };
    let together = Layered(brought(&found), there);
    manifests::check(&found, &together).map_err(|failure| alone(failure, client.is_none(), &app.target.address))?;
    manifests::warn(&found, &together, app.output.format());
    let mut planned = match &client {
        Some(client) if !found.is_empty() => {
            let (planned, warnings) = apply::plan(client, &found).await?;
            app.output.warn(&warnings);
            planned
        }
        _ => found.iter().map(checked).collect(),
    };
    for schedule in &schedules {
        // Of a workflow that is only in these files, the coordinator cannot say what it takes.
        let brought = found.iter().any(|it| match &it.sourced.manifest {
            Manifest::Workflow(workflow) => workflow.metadata.name == schedule.workflow,
            Manifest::Agent(_) => false,
        });
        planned.push(match &client {
            Some(client) if !brought => schedule::apply(client, schedule, true).await?.into(),
            _ => Applied {
                kind: "Schedule".into(),
                name: schedule.name.to_string(),
                version: String::new(),
                outcome: "checked".into(),
            },
        });
    }
    app.output.show(&planned, |planned| page(planned, client.is_some(), &app.target.address))?;
    Ok(Exit::Ok)
}

/// An agent may only be missing because nobody was there to ask.
fn alone(failure: Failure, offline: bool, address: &str) -> Failure {
    match failure.code() {
        Some(Code::UNKNOWN_AGENT) if offline => failure.hint(format!(
            "No coordinator answers at {address}, so only these files were looked at. Add the agents' files with `-f`, or name \
             a coordinator with `--address`."
        )),
        _ => failure,
    }
}

fn checked(found: &Found) -> Applied {
    let (kind, name, version) = found.sourced.manifest.name_version();
    Applied { kind: kind.into(), name: name.into(), version: version.to_string(), outcome: "checked".into() }
}

fn page(planned: &[Applied], asked: bool, address: &str) -> String {
    let note = if asked {
        "A plan: nothing was registered.".to_owned()
    } else {
        format!("No coordinator answers at {address}: these files were checked alone, nothing that is registered.")
    };
    format!("{}\n\n{note}", table(planned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_that_it_is_one_and_who_was_asked() {
        let of = |outcome: &str| Applied {
            kind: "Agent".into(),
            name: "a".into(),
            version: "1.0.0".into(),
            outcome: outcome.into(),
        };
        assert_eq!(
            page(&[of("created")], true, "x"),
            "KIND   NAME  VERSION  OUTCOME\nAgent  a     1.0.0    created\n\nA plan: nothing was registered."
        );
        assert!(page(&[of("checked")], false, "http://h:1").contains("No coordinator answers at http://h:1: "));
    }

    #[test]
    fn a_missing_agent_may_be_registered_somewhere() {
        let missing = || Failure::coded(Code::UNKNOWN_AGENT, "there is no agent `a`", "");
        assert!(alone(missing(), true, "http://h:1").advice().starts_with("No coordinator answers"));
        assert_eq!(alone(missing(), false, "http://h:1").advice(), "");
    }
}
