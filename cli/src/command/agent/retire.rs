//! `kapelle agent retire` and `kapelle agent reinstate`. The coordinators decide; docs/guides/lineage.md tells how.

use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Code, InvalidName, Namespace};
use serde::Serialize;

use crate::app::{App, End};
use crate::client::Client;
use crate::command::namespace::Reach;
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
    /// Then end the workers' credentials that are for this version alone, from the operator's folder
    #[arg(long)]
    revoke_credentials: bool,
    /// With --revoke-credentials, whose they are
    #[arg(long, default_value_t)]
    namespace: Namespace,
    #[command(flatten)]
    reach: Reach,
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
    /// Credentials that were ended; null if that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<usize>,
}

/// `kapelle agent retire`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let agent = parse(&args.agent)?;
    let client = app.client().await?;
    let request =
        v1::RetireRequest { agent: agent.name.to_string(), version: agent.version.to_string(), why: args.why };
    let answer = client.registry().retire(request).await.map_err(|s| refused(&client, s))?.into_inner();
    let standing = answer.standing.map(view::Standing::from);
    let revoked =
        if args.revoke_credentials { Some(revoke(&args.reach, &args.namespace, &agent).await?) } else { None };
    app.output.show(&Stands { agent: args.agent, standing, changed: !answer.existed, revoked }, sentence)?;
    Ok(Exit::Ok)
}

/// Ends the credentials of workers that are for a version alone; says how many.
async fn revoke(reach: &Reach, namespace: &Namespace, agent: &AgentVersion) -> Result<usize, Failure> {
    let retired = |failure: Failure| failure.hint("It is retired all the same; the same command may be given again.");
    let operator = reach.operator().map_err(retired)?;
    let mut record = operator.namespace(namespace)?;
    let revoked = record.revoke_of(agent, clock::now());
    operator.save(&record)?;
    // Even where none was active: the broker may not have heard of it the first time.
    reach.push(&operator, &record).await.map_err(retired)?;
    Ok(revoked)
}

/// `kapelle agent reinstate`.
pub(crate) async fn reinstate(app: &App, args: Reinstate) -> End {
    let agent = parse(&args.agent)?;
    let client = app.client().await?;
    let request = v1::ReinstateRequest { agent: agent.name.to_string(), version: agent.version.to_string() };
    let answer = client.registry().reinstate(request).await.map_err(|s| refused(&client, s))?.into_inner();
    app.output
        .show(&Stands { agent: args.agent, standing: None, changed: !answer.existed, revoked: None }, sentence)?;
    Ok(Exit::Ok)
}

pub(super) fn parse(text: &str) -> Result<AgentVersion, Failure> {
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
    let Stands { agent, standing, changed, revoked } = it;
    let stands = match (standing, changed) {
        (Some(_), true) => format!(
            "{agent} is retired: no new run gets it, and nothing is given out of its queue. Its workers may go.\n\
             `kapelle agent certificate show {agent}` prints what was found."
        ),
        (Some(standing), false) => format!("{agent} was retired already, {}.", standing.told()),
        (None, true) => format!("{agent} is in use again."),
        (None, false) => format!("{agent} was in use already."),
    };
    match revoked {
        Some(revoked) => format!("{stands}\n{revoked} credentials that were for it alone are revoked."),
        None => stands,
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
        let of = |standing, changed| sentence(&Stands { agent: "a@1.0.0".into(), standing, changed, revoked: None });
        assert_eq!(
            of(Some(standing()), true),
            "a@1.0.0 is retired: no new run gets it, and nothing is given out of its queue. Its workers may go.\n\
             `kapelle agent certificate show a@1.0.0` prints what was found."
        );
        assert_eq!(
            of(Some(standing()), false),
            "a@1.0.0 was retired already, by ada@example.com at 2026-11-22T10:00:00Z: replaced."
        );
        assert_eq!(of(None, false), "a@1.0.0 was in use already.");
    }
}
