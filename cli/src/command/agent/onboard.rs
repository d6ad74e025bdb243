//! `kapelle agent onboard`: an agent taken in, in one act.
//!
//! ```text
//!   folder or URL ──▶ draft: seven components, written, given or inferred ──check──▶ may it be registered?
//!                                                                                          │ dry run at the coordinator
//!                                                                                          ▼
//!   report ◀── register, write agent.yaml ◀── what it touches ◀── what it teaches ◀── trial of every sample
//! ```
//!
//! Whatever can refuse it for nothing comes before the trial, which may cost money. Up to the last step nothing is changed but
//! the folder that a URL was fetched into; then everything is, or nothing.

mod ask;
mod components;
mod draft;
mod learned;
mod page;
mod program;
mod refused;
mod samples;
mod source;
mod touched;
mod trial;

use std::path::PathBuf;

use kapelle_manifest::{Agent, Contract, Layered, Manifest, predecessor};
use kapelle_types::Code;
use serde::Serialize;
use serde_json::{Value, json};

use self::components::Stated;
use self::draft::{Change, Draft, Fact, State};
use self::samples::Sample;
use self::source::{Fetching, Place, Source};
use self::touched::{Registered, Touched};
use self::trial::Trial;
use crate::app::{App, End};
use crate::client::Client;
use crate::command::apply::{Applied, brought, register};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::registered;
use crate::manifests::{self, Found};
use crate::stack::{Confinement, Switch};

/// What to take in, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The folder holds the program and samples: samples/NAME.input.json, and samples/NAME.output.json if
the answer is known. What agent.yaml says counts; the rest is inferred from the folder and the samples,
or measured in the trial, which runs every sample in the sandbox on a broker of its own.")]
pub(crate) struct Args {
    /// The agent's folder, or where it is fetched from: https://….tar.gz, https://….git, git@…
    #[arg(value_name = "DIR|URL")]
    from: String,
    /// Only say what would come of it, after the trial; registers and writes nothing, and needs no coordinator
    #[arg(long)]
    plan: bool,
    /// Change an agent.yaml that is there; it is kept as agent.yaml.orig. A new one is written without
    #[arg(long)]
    write: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// The nats-server of the trial. Default: the one on the PATH if it is new enough, else one that is fetched once
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
    #[command(flatten)]
    confinement: Confinement,
    #[command(flatten)]
    stated: Stated,
    #[command(flatten)]
    fetching: Fetching,
}

/// All that is to be said of it.
#[derive(Debug, Serialize)]
struct Report {
    agent: String,
    folder: PathBuf,
    source: Option<Source>,
    components: Vec<Fact>,
    /// Null if everything was registered before.
    trial: Option<Trial>,
    touches: Touched,
    /// What nobody has said yet, each with how to say it.
    open: Vec<String>,
    file: File,
    /// The agent as it is registered.
    manifest: Value,
    applied: Vec<Applied>,
    /// Whether it was only a plan.
    plan: bool,
    /// Whether a coordinator was asked.
    asked: bool,
}

/// What became of the manifest's file.
#[derive(Debug, Serialize)]
struct File {
    path: PathBuf,
    /// `created`, `changed` or `unchanged`.
    outcome: &'static str,
    changes: Vec<Change>,
}

/// The registry, if somebody was there to ask.
struct There {
    client: Client,
    registered: Registered,
}

/// `kapelle agent onboard`.
pub(crate) async fn run(app: &App, mut args: Args) -> End {
    let there = There::ask(app, args.plan).await?;
    let place = source::open(&args.from, &args.fetching, args.plan).await?;
    let samples = samples::read(&place.folder)?;
    let mut draft = draft(app, &mut args, &place, &samples)?;
    if !args.plan {
        draft.may_be_written()?;
    }
    let (found, agent) = checked(&draft, there.as_ref())?;
    let [input, output] = components::contracts(&draft);
    samples::check(&samples, &input, &output)?;
    let applied = match draft.learns_output() {
        true => dry_run(there.as_ref(), &at_best(&found, there.as_ref())).await?,
        false => dry_run(there.as_ref(), &found).await?,
    };
    no_trust_in_strangers(&agent, &place, args.confinement.sandbox)?;
    let trial = if !applied.is_empty() && applied.iter().all(|it| it.outcome == "unchanged") {
        None
    } else {
        let Args { confinement, nats_server, .. } = args;
        Some(trial::run(&tried(&draft, &agent), place.folder.clone(), &samples, confinement, nats_server).await?)
    };
    if let Some(failed) = trial.as_ref().filter(|it| !it.passed) {
        return Err(not_passed(&agent, failed));
    }
    if let Some(trial) = &trial {
        learned::take(&mut draft, &samples, trial);
    }
    let (found, agent) = checked(&draft, there.as_ref())?;
    let cost = trial.as_ref().map(|it| learned::cost(&agent, it));
    let touches = Touched::of(&agent, &found, there.as_ref().map(|it| &it.registered), cost)?;
    let applied =
        if args.plan { dry_run(there.as_ref(), &found).await? } else { settle(&draft, there.as_ref(), &found).await? };
    let report = Report {
        agent: agent.version().to_string(),
        open: open(&draft),
        file: file(&draft),
        manifest: Manifest::Agent(agent).to_value(),
        folder: place.folder.clone(),
        source: place.source.clone(),
        components: draft.facts,
        trial,
        touches,
        applied,
        plan: args.plan,
        asked: there.is_some(),
    };
    app.output.show(&report, |report| page::page(report, &app.program))?;
    Ok(Exit::Ok)
}

impl There {
    /// Without a coordinator there may be a plan, and nothing else.
    async fn ask(app: &App, plan: bool) -> Result<Option<Self>, Failure> {
        let client = match app.client().await {
            Ok(client) => client,
            Err(failure) if plan && failure.code() == Some(Code::COORDINATOR_UNAVAILABLE) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let registered = Registered {
            manifests: registered::all(&client).await?,
            retired: registered::retired(&client).await?,
            current: registered::current(&client).await?,
        };
        Ok(Some(Self { client, registered }))
    }
}

/// The manifest with all that is known before the trial.
fn draft(app: &App, args: &mut Args, place: &Place, samples: &[Sample]) -> Result<Draft, Failure> {
    let mut draft = Draft::read(&place.folder, args.write)?;
    if !args.yes && ask::is_possible(app.output.format()) {
        ask::ask(&draft, &mut args.stated)?;
    }
    let programs = program::candidates(&place.folder)?;
    components::complete(&mut draft, &args.stated, &place.folder, &programs, samples);
    components::need_samples(&mut draft, samples);
    if let Some(Source { url, digest }) = &place.source {
        let source = json!({ "kapelle.dev/source": url, "kapelle.dev/source-digest": digest });
        draft.annotate(&source);
    }
    if draft.lacks.is_empty() {
        return Ok(draft);
    }
    let message = format!("What is found in {} is not enough to take the agent in.", place.folder.display());
    let details = draft.lacks.iter().map(|it| json!({ "missing": it })).collect();
    let picture = draft.lacks.iter().map(|it| format!("  {it}\n")).collect();
    let hint = "`--help` lists the flags; agent.yaml may say the same. Nothing was registered.";
    Err(Failure::coded(Code::ONBOARD_INCOMPLETE, message, hint).pictured(picture, details))
}

/// The manifests, checked as `apply` checks them.
fn checked(draft: &Draft, there: Option<&There>) -> Result<(Vec<Found>, Agent), Failure> {
    let (found, agent) = draft.manifests()?;
    let registered: kapelle_manifest::Agents =
        there.map_or(&[][..], |it| it.registered.manifests.as_slice()).iter().collect();
    manifests::check(&found, &Layered(brought(&found), registered))?;
    Ok((found, agent))
}

/// Who fetches a program has not read it. It is run in the sandbox, with nothing granted; for more its folder is onboarded, by
/// somebody who has looked.
fn no_trust_in_strangers(agent: &Agent, place: &Place, sandbox: Switch) -> Result<(), Failure> {
    let access = &agent.spec.access;
    let what = match place.source {
        Some(_) if sandbox == Switch::Off => "A program that was fetched is not run without the sandbox.".to_owned(),
        Some(_) if !access.is_none() => {
            let access = serde_json::to_string(access).unwrap_or_default();
            format!("The agent.yaml that was fetched grants its agent access: {access}.")
        }
        _ => return Ok(()),
    };
    let how = place.kept().map_or("fetch it without --plan and onboard its folder.".to_owned(), |it| {
        format!("onboard the folder that it was fetched to, `kapelle agent onboard {}`.", it.display())
    });
    let message = format!("{what} The agent was not tried.");
    Err(Failure::coded(Code::ONBOARD_INCOMPLETE, message, format!("Look at what came; if you trust it, {how}")))
}

/// The agent of the trial. An output that was inferred from samples is no promise that an output of the trial could break: it
/// is inferred anew from both.
fn tried(draft: &Draft, agent: &Agent) -> Agent {
    let mut agent = agent.clone();
    if draft.is_inferred("output") {
        agent.spec.output = Contract::any();
    }
    agent
}

/// What the coordinator would say: K0109, K0114 and whatever else refuses it. Nothing without one.
async fn dry_run(there: Option<&There>, found: &[Found]) -> Result<Vec<Applied>, Failure> {
    match there {
        Some(there) => register(&there.client, found, true).await,
        None => Ok(Vec::new()),
    }
}

/// The same manifests as they may still come to be: of an output that only the trial will tell, that it keeps what the version
/// before promised. Whether it does is looked at again when it is known.
fn at_best(found: &[Found], there: Option<&There>) -> Vec<Found> {
    let registered = there.map_or(&[][..], |it| it.registered.manifests.as_slice());
    let hoped = found.iter().map(|it| {
        let mut manifest = it.sourced.manifest.clone();
        let before = predecessor(&manifest, registered);
        if let (Manifest::Agent(new), Some(Manifest::Agent(old))) = (&mut manifest, before) {
            new.spec.output = old.spec.output.clone();
        }
        Found { sourced: manifest.into(), folder: it.folder.clone() }
    });
    hoped.collect()
}

/// Registers everything and puts the file in its place; if the one is refused, the other is not done.
async fn settle(draft: &Draft, there: Option<&There>, found: &[Found]) -> Result<Vec<Applied>, Failure> {
    let Some(there) = there else { return Ok(Vec::new()) };
    let staged = draft.stage()?;
    let applied = register(&there.client, found, false).await?;
    if let Some(staged) = staged {
        staged.settle()?;
    }
    Ok(applied)
}

fn file(draft: &Draft) -> File {
    let outcome = match (draft.changes().is_empty(), draft.is_there()) {
        (true, _) => "unchanged",
        (false, true) => "changed",
        (false, false) => "created",
    };
    File { path: draft.file.clone(), outcome, changes: draft.changes().to_vec() }
}

fn open(draft: &Draft) -> Vec<String> {
    let open = draft.facts.iter().filter(|it| matches!(it.state, State::Missing | State::Proposed));
    open.map(|it| format!("{}, {}: {}", it.component, it.about, it.from)).collect()
}

fn not_passed(agent: &Agent, trial: &Trial) -> Failure {
    let failed = trial.tasks.iter().find_map(|it| Some((&it.sample, it.error.as_ref()?)));
    let (sample, code) = failed.map_or(("", ""), |(sample, error)| (sample.as_str(), error.code.as_str()));
    let message =
        format!("The trial of {} failed at sample `{sample}` with {code}. Nothing was registered.", agent.version());
    let hint = match trial.refused.as_slice() {
        [] => "Mend the agent, or the sample, and onboard it again.",
        _ => "If it is meant to reach that, grant it in agent.yaml and onboard it again.",
    };
    let details = vec![serde_json::to_value(trial).unwrap_or_default()];
    Failure::coded(Code::ONBOARD_TRIAL, message, hint).pictured(page::failed(trial), details)
}
