//! `kapelle policy …`: who may do what, by the policies that a coordinator serves or by those of some files; and what is
//! served.

mod ask;
mod change;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use kapelle_policy::{Difference, Invalid, Policies, Recorded, Rule, breaches, matrix};
use kapelle_proto::v1;
use kapelle_types::Code;
use serde::Serialize;
use serde_json::json;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::files;
use crate::output::Table;

/// The endings of policies.
const POLICIES: &[&str] = &["cedar"];

/// What can be asked of policies.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A policy permits or forbids; a forbid wins, and what nothing permits is denied. A policy in LOG_ONLY decides
nothing and is named where it would have. Without -f the policies that the coordinator serves are meant; where none
answers, those that come with Kapelle.

A change that weakens (an enforced policy is only logged, an enforced forbid is gone or another, or policies are for callers
by name to change) is not applied but proposed: another person approves it.")]
pub(crate) enum Verb {
    /// Every policy: what it says, whether it counts, why it is there
    List(Source),
    /// Check policies and show every mistake in its place
    Validate(Source),
    /// Say whether a caller may do something, which policy decides it, and why
    Explain(ask::Question),
    /// Show who may do what as a table, and check what no policies may allow: another namespace, a caller without a role
    Check(Source),
    /// Hold recorded decisions against policies; exit 1 if one is made otherwise
    Test(Test),
    /// Serve these policies from now on, on every coordinator; a change that weakens becomes a proposal
    Apply(change::Apply),
    /// The sets that were served, the latest first
    History(change::History),
    /// Serve an earlier set again
    Rollback(change::Rollback),
    /// Changes that wait for a second person
    Proposals,
    /// Say yes to another person's proposal, which serves it at once
    Approve {
        /// Its id, as `kapelle policy proposals` shows it
        id: String,
    },
    /// Print what the broker has to let a caller do, as nats-server's configuration has it
    Permissions(ask::Connection),
}

/// Which policies.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// A policy file or a folder of .cedar files; repeat it for more. Default: what the coordinator serves, or without one
    /// the policies that come with Kapelle
    #[arg(short, long = "file", value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
}

/// What is held against which policies.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Recorded decisions: a YAML list, or JSON with one object a line; `-` for stdin
    recorded: PathBuf,
    #[command(flatten)]
    source: Source,
}

/// `kapelle policy …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::List(source) => {
            let policies = source.load(app).await?;
            let rules: Vec<&Rule> = policies.rules().collect();
            app.output.show(&rules, |rules| list(rules))?;
        }
        Verb::Validate(source) => {
            let count = source.load(app).await?.rules().count();
            app.output.show(&json!({ "policies": count }), |_| format!("{count} policies, all valid"))?;
        }
        Verb::Explain(question) => question.explain(app).await?,
        Verb::Check(source) => return check(app, &source.load(app).await?),
        Verb::Test(test) => return test.run(app).await,
        Verb::Apply(args) => change::apply(app, args).await?,
        Verb::History(args) => change::history(app, args).await?,
        Verb::Rollback(args) => change::rollback(app, args).await?,
        Verb::Proposals => change::proposals(app).await?,
        Verb::Approve { id } => change::approve(app, id).await?,
        Verb::Permissions(connection) => connection.permissions(app).await?,
    }
    Ok(Exit::Ok)
}

impl Source {
    async fn load(&self, app: &App) -> Result<Policies, Failure> {
        let texts = if self.files.is_empty() { served(app).await? } else { read(&self.files)? };
        Policies::load(&texts).map_err(invalid)
    }
}

/// The files of some sources, as name and text.
fn read(sources: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let mut texts = Vec::new();
    for source in sources {
        for file in files::list(source, POLICIES)? {
            texts.push((file.display().to_string(), files::text(&file)?.0));
        }
    }
    Ok(texts)
}

/// The files that the coordinator serves. Where none answers at all, those that come with Kapelle, which is said; a
/// coordinator that answers with an error is no reason to show others.
async fn served(app: &App) -> Result<Vec<(String, String)>, Failure> {
    let client = match app.client().await {
        Ok(client) => client,
        Err(failure) if failure.code() == Some(Code::COORDINATOR_UNAVAILABLE) => {
            tracing::warn!("no coordinator answers: these are the policies that come with Kapelle");
            let file = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
            return Ok(Policies::embedded_files().iter().map(file).collect());
        }
        Err(failure) => return Err(failure),
    };
    let answer = client.policies().get(v1::GetPoliciesRequest { version: None }).await;
    let set = answer.map_err(|s| client.failure(s))?.into_inner();
    Ok(set.files.into_iter().map(|file| (file.name, file.text)).collect())
}

/// Everything that is wrong, for people with the lines, for programs with the places.
pub(crate) fn invalid(invalid: Invalid) -> Failure {
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let pictures: Vec<_> = invalid.0.iter().map(|p| p.render(colour).trim_end().to_owned()).collect();
    let details = invalid.0.iter().map(|p| {
        let code = Code::POLICY_INVALID;
        json!({ "code": code, "message": p.message, "hint": p.hint, "file": p.file, "line": p.line, "column": p.column })
    });
    let message = match invalid.0.len() {
        1 => "One problem; these policies decide nothing.".to_owned(),
        many => format!("{many} problems; these policies decide nothing."),
    };
    Failure::coded(Code::POLICY_INVALID, message, "").pictured(pictures.join("\n\n"), details.collect())
}

fn list(rules: &[&Rule]) -> String {
    let mut table = Table::new(&["policy", "effect", "mode", "file", "why"]);
    for rule in rules {
        let file = Path::new(&rule.file).file_name().map(|name| name.to_string_lossy().into_owned());
        table.row([rule.id.clone(), word(&rule.effect), word(&rule.mode), file.unwrap_or_default(), rule.why.clone()]);
    }
    table.render("No policies: everything is denied.")
}

/// A value of a closed list as programs see it.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn check(app: &App, policies: &Policies) -> End {
    let (matrix, breaches) = (matrix(policies), breaches(policies));
    app.output.show(&json!({ "matrix": matrix.lines().collect::<Vec<_>>(), "breaches": breaches }), |_| {
        let told: Vec<_> = breaches.iter().map(|breach| format!("BREACH  {breach}")).collect();
        if told.is_empty() { matrix } else { format!("{matrix}\n\n{}", told.join("\n")) }
    })?;
    if breaches.is_empty() { Ok(Exit::Ok) } else { Err(Failure::quiet(Exit::Failed)) }
}

impl Test {
    async fn run(&self, app: &App) -> End {
        let policies = self.source.load(app).await?;
        let (text, _) = files::text(&self.recorded)?;
        let recorded = Recorded::read(&text).map_err(|error| {
            let message = format!("{} holds no recorded decisions: {error}", self.recorded.display());
            Failure::usage(message, "docs/guides/access.md shows how they are written down.")
        })?;
        let differences: Vec<Difference> =
            (1..).zip(&recorded).filter_map(|(number, recorded)| recorded.difference(&policies, number)).collect();
        let summary = json!({ "decisions": recorded.len(), "differences": differences });
        app.output.show(&summary, |_| told(recorded.len(), &differences))?;
        if differences.is_empty() { Ok(Exit::Ok) } else { Err(Failure::quiet(Exit::Failed)) }
    }
}

fn told(count: usize, differences: &[Difference]) -> String {
    if differences.is_empty() {
        return format!("{count} decisions, all as recorded");
    }
    let mut table = Table::new(&["number", "caller", "action", "expected", "decided"]);
    for d in differences {
        let decided = format!("{} by {}", d.decision.verdict, d.decision.policy);
        table.row([d.number.to_string(), d.principal.clone(), d.action.clone(), d.expected.clone(), decided]);
    }
    format!("{}\n\n{} of {count} decisions differ", table.render(""), differences.len())
}

#[cfg(test)]
mod tests;
