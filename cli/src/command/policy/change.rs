//! What is served, was served, and waits for a second person.

use std::path::PathBuf;

use kapelle_policy::Policies;
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::Timestamp;

use super::{invalid, read};
use crate::app::App;
use crate::command::fleet::since;
use crate::failure::Failure;
use crate::output::{Table, bold};
use crate::view::{PolicyChange, PolicySet, Proposal};

/// Digits of a digest that are told to people.
const DIGEST_CHARS: usize = 12;

/// Policies to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Apply {
    /// A policy file or a folder of .cedar files; repeat it for more. They are the whole set: what is not in it is gone
    #[arg(short, long = "file", value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Why, for whoever reads the history and the audit trail. Default: nothing is said
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    why: String,
}

/// Which part of the history.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// How many sets at most
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
}

/// A set to serve again.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// Its version, as `kapelle policy history` shows it; 0 are the policies that come with Kapelle
    version: u64,
    /// Why, for whoever reads the history and the audit trail. Default: nothing is said
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    why: String,
}

pub(super) async fn apply(app: &App, args: Apply) -> Result<(), Failure> {
    let texts = read(&args.files)?;
    // Mistakes are shown in their place before anything is sent.
    Policies::load(&texts).map_err(invalid)?;
    let files = texts.into_iter().map(|(name, text)| v1::PolicyFile { name: base(&name), text }).collect();
    let client = app.client().await?;
    let request = v1::ApplyPoliciesRequest { files, why: args.why };
    let answer = client.policies().apply(request).await.map_err(|s| client.failure(s))?;
    tell(app, answer.into_inner())
}

/// The name of a file without its folders: what is served comes from no machine in particular.
fn base(file: &str) -> String {
    let name = std::path::Path::new(file).file_name();
    name.map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned())
}

pub(super) async fn rollback(app: &App, args: Rollback) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::RollbackPoliciesRequest { version: args.version, why: args.why };
    let answer = client.policies().rollback(request).await.map_err(|s| client.failure(s))?;
    tell(app, answer.into_inner())
}

pub(super) async fn approve(app: &App, id: String) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.policies().approve(v1::ApproveProposalRequest { id }).await.map_err(|s| client.failure(s))?;
    tell(app, answer.into_inner())
}

pub(super) async fn history(app: &App, args: History) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::PolicyHistoryRequest { limit: args.limit, below: 0 };
    let answer = client.policies().history(request).await.map_err(|s| client.failure(s))?;
    let sets: Vec<PolicySet> = answer.into_inner().sets.into_iter().map(Into::into).collect();
    app.output.show(&sets, |sets| sets_table(sets, clock::now()))
}

pub(super) async fn proposals(app: &App) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.policies().proposals(v1::PolicyProposalsRequest {}).await.map_err(|s| client.failure(s))?;
    let proposals: Vec<Proposal> = answer.into_inner().proposals.into_iter().map(Into::into).collect();
    app.output.show(&proposals, |proposals| proposals_table(proposals))
}

fn tell(app: &App, answer: v1::ApplyPoliciesResponse) -> Result<(), Failure> {
    app.output.show(&PolicyChange::from(answer), page)
}

fn page(change: &PolicyChange) -> String {
    let served = format!("version {} is served, digest {}", change.served.version, short(&change.served.digest));
    let Some(proposal) = &change.proposal else { return format!("{}  {served}", bold(&change.outcome)) };
    let mut lines = vec![format!("{}  {} by {}", bold("not applied, proposed"), proposal.id, proposal.person)];
    lines.extend(proposal.weakens.iter().map(|what| format!("  {what}")));
    lines.push(format!("Another person serves it with `kapelle policy approve {}`.", proposal.id));
    lines.push(format!("It ends at {}; until then {served}.", proposal.expires_at.as_deref().unwrap_or("-")));
    lines.join("\n")
}

fn sets_table(sets: &[PolicySet], now: Timestamp) -> String {
    let mut table = Table::new(&["version", "digest", "age", "applied by", "approved by", "why"]);
    for set in sets {
        let why = match set.again {
            Some(version) => format!("version {version} again. {}", set.why),
            None => set.why.clone(),
        };
        let approved = set.approved_by.clone().unwrap_or_default();
        let age = since(set.applied_at.as_deref(), now);
        table.row([set.version.to_string(), short(&set.digest), age, set.applied_by.clone(), approved, why]);
    }
    table.render("No policies were served.")
}

fn proposals_table(proposals: &[Proposal]) -> String {
    let mut table = Table::new(&["id", "digest", "by", "expires", "weakens", "why"]);
    for p in proposals {
        let expires = p.expires_at.clone().unwrap_or_default();
        table.row([p.id.clone(), short(&p.digest), p.person.clone(), expires, p.weakens.join("; "), p.why.clone()]);
    }
    table.render("Nothing is proposed.")
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGEST_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> v1::PolicySet {
        v1::PolicySet {
            version: 3,
            digest: "ab".repeat(32),
            applied_by: "oidc:https://id#ada".into(),
            applied_at_unix_nanos: 1_000_000,
            why: "a trial".into(),
            again: 1,
            approved_by: "oidc:https://id#bob".into(),
            ..v1::PolicySet::default()
        }
    }

    fn proposal() -> v1::PolicyProposal {
        v1::PolicyProposal {
            id: "0011223344556677".into(),
            person: "ada@example.com".into(),
            expires_at_unix_nanos: 259_200_000_000_000,
            why: "too strict".into(),
            weakens: vec!["the forbid `no` would be gone".into()],
            ..v1::PolicyProposal::default()
        }
    }

    #[test]
    fn what_became_of_a_change_is_told() {
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        let change = |outcome: &str, proposal| v1::ApplyPoliciesResponse {
            outcome: outcome.into(),
            served: Some(set()),
            proposal,
        };
        let told = plain(page(&change("applied", None).into()));
        assert_eq!(told, "applied  version 3 is served, digest abababababab");
        insta::assert_snapshot!("proposed", plain(page(&change("proposed", Some(proposal())).into())));
    }

    #[test]
    fn sets_and_proposals_are_listed() {
        insta::assert_snapshot!("sets", sets_table(&[set().into()], Timestamp::from_millis(600_000)));
        insta::assert_snapshot!("proposals", proposals_table(&[proposal().into()]));
        assert_eq!(proposals_table(&[]), "Nothing is proposed.");
    }

    #[test]
    fn files_are_named_without_their_folders() {
        assert_eq!((base("/home/ada/policies/a.cedar").as_str(), base("-").as_str()), ("a.cedar", "-"));
    }
}
