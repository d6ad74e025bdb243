//! `kapelle agent retire` and `kapelle agent reinstate`. The coordinators decide; docs/guides/lineage.md tells how.

use kapelle_proto::v1;
use kapelle_types::{AgentVersion, Code, InvalidName};
use serde::Serialize;

use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::view;

/// What to take out of use.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent version
    #[arg(value_name = "NAME@VERSION")]
    agent: String,
    /// Why; it is kept with the version. Default: nothing
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    why: String,
}

/// What to put back into use.
#[derive(Debug, clap::Args)]
pub(crate) struct Reinstate {
    /// The agent version
    #[arg(value_name = "NAME@VERSION")]
    agent: String,
}

/// How the version stands now.
#[derive(Debug, Serialize)]
struct Stands {
    agent: String,
    /// `RETIRED`; null is in use.
    standing: Option<view::Standing>,
    /// Whether anything changed.
    changed: bool,
}

/// `kapelle agent retire`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let agent = parse(&args.agent)?;
    let client = app.client().await?;
    let request =
        v1::RetireRequest { agent: agent.name.to_string(), version: agent.version.to_string(), why: args.why };
    let answer = client.registry().retire(request).await.map_err(|s| refused(&client, s))?.into_inner();
    let standing = answer.standing.map(view::Standing::from);
    app.output.show(&Stands { agent: args.agent, standing, changed: !answer.existed }, sentence)?;
    Ok(Exit::Ok)
}

/// `kapelle agent reinstate`.
pub(crate) async fn reinstate(app: &App, args: Reinstate) -> End {
    let agent = parse(&args.agent)?;
    let client = app.client().await?;
    let request = v1::ReinstateRequest { agent: agent.name.to_string(), version: agent.version.to_string() };
    let answer = client.registry().reinstate(request).await.map_err(|s| refused(&client, s))?.into_inner();
    app.output.show(&Stands { agent: args.agent, standing: None, changed: !answer.existed }, sentence)?;
    Ok(Exit::Ok)
}

fn parse(text: &str) -> Result<AgentVersion, Failure> {
    let invalid = |e: InvalidName| Failure::usage(format!("{e}."), "It looks like `inventory@1.0.0`.");
    text.parse().map_err(invalid)
}

/// A refusal, with the exit code that belongs to it.
pub(super) fn refused(client: &Client, status: tonic::Status) -> Failure {
    let failure = client.failure(status);
    // In a workflow an unknown agent is a mistake; here it is what was looked for.
    if failure.code() == Some(Code::UNKNOWN_AGENT) { failure.ending(Exit::NotFound) } else { failure }
}

fn sentence(it: &Stands) -> String {
    let Stands { agent, standing, changed } = it;
    match (standing, changed) {
        (Some(_), true) => format!("{agent} is retired: no new run gets it. Its workers may go."),
        (Some(standing), false) => format!("{agent} was retired already, {}.", standing.told()),
        (None, true) => format!("{agent} is in use again."),
        (None, false) => format!("{agent} was in use already."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_named_and_nothing_else() {
        assert_eq!(parse("inventory@1.0.0").unwrap().to_string(), "inventory@1.0.0");
        for text in ["", "inventory", "inventory@", "inventory@^1", "Inventory@1.0.0"] {
            assert_eq!(parse(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }

    #[test]
    fn what_was_so_already_is_told_apart() {
        let standing = || view::Standing {
            status: "RETIRED".into(),
            by: "ada@example.com".into(),
            at: Some("2026-11-22T10:00:00Z".into()),
            why: "replaced".into(),
        };
        let of = |standing, changed| sentence(&Stands { agent: "a@1.0.0".into(), standing, changed });
        assert_eq!(of(Some(standing()), true), "a@1.0.0 is retired: no new run gets it. Its workers may go.");
        assert_eq!(
            of(Some(standing()), false),
            "a@1.0.0 was retired already, by ada@example.com at 2026-11-22T10:00:00Z: replaced."
        );
        assert_eq!(of(None, false), "a@1.0.0 was in use already.");
    }
}
