//! `kapelle release …`: which versions the runs to come get.

mod rollout;

use clap::{Subcommand, ValueEnum};
use kapelle_proto::v1;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::output::Table;
use crate::view;

/// What can be done with releases.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Without a release, runs get the highest version that a workflow asks for. With one they get the
current version, and a share of them the one that is ramping: which runs those are follows from their
ids. Open runs keep the versions that they were submitted with.
docs/guides/releases.md shows a version from its first run to its last.")]
pub(crate) enum Verb {
    /// What is released
    List,
    /// One agent or workflow: its versions, what share of the runs each gets, and the open runs of each
    Describe {
        #[command(flatten)]
        subject: Subject,
    },
    /// Have all runs get a version, but for the share of one that is ramping
    SetCurrent {
        #[command(flatten)]
        version: VersionOf,
        #[command(flatten)]
        note: Note,
    },
    /// Have a share of the runs get a version, or more and more of them as long as it keeps to its limits
    SetRamping {
        #[command(flatten)]
        version: VersionOf,
        #[command(flatten)]
        ramp: rollout::Ramp,
        #[command(flatten)]
        note: Note,
    },
    /// Hold a version that is brought in by itself at the step that it is at
    Pause {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        note: Note,
    },
    /// Let it go on
    Resume {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        note: Note,
    },
    /// Wait until a version is current; exit code 1 if it is rolled back
    Wait(rollout::Wait),
    /// Make the version that is ramping the current one
    Promote {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        note: Note,
    },
    /// End a ramp; without one, go back to what was current before
    Rollback {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        note: Note,
    },
    /// Have runs get the highest version again
    Clear {
        #[command(flatten)]
        subject: Subject,
        #[command(flatten)]
        note: Note,
    },
}

/// An agent or a workflow.
#[derive(Debug, clap::Args)]
pub(crate) struct Subject {
    /// The agent's or the workflow's name
    name: String,
    /// Which of the two, where both have this name. Default: the one that there is
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

/// One version of it.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionOf {
    /// The agent's or the workflow's name and the version
    #[arg(value_name = "NAME@VERSION", value_parser = versioned)]
    version: (String, String),
    /// Which of the two, where both have this name. Default: the one that there is
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Agent,
    Workflow,
}

/// What is said to a change.
#[derive(Debug, clap::Args)]
pub(crate) struct Note {
    /// Why, for whoever looks at it. Default: nothing
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
    /// Also if it breaks registered workflows; say why with --why
    #[arg(long)]
    force: bool,
    /// Also if no worker takes tasks of the agent version
    #[arg(long)]
    ignore_missing_workers: bool,
    /// Only check it
    #[arg(long)]
    dry_run: bool,
}

impl From<Note> for v1::ReleaseNote {
    fn from(note: Note) -> Self {
        let Note { why, force, ignore_missing_workers, dry_run } = note;
        Self { why, force, ignore_missing_workers, dry_run }
    }
}

fn wire(name: String, kind: Option<Kind>) -> v1::ReleaseSubject {
    let kind = match kind {
        None => "",
        Some(Kind::Agent) => "Agent",
        Some(Kind::Workflow) => "Workflow",
    };
    v1::ReleaseSubject { kind: kind.to_owned(), name }
}

impl From<Subject> for v1::ReleaseSubject {
    fn from(subject: Subject) -> Self {
        wire(subject.name, subject.kind)
    }
}

/// `kapelle release …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    let client = app.client().await?;
    let told = |s| client.failure(s);
    let answer = match verb {
        Verb::List => {
            let answer = client.releases().list(v1::ListReleasesRequest {}).await.map_err(told)?.into_inner();
            let all: Vec<view::Release> = answer.releases.into_iter().map(Into::into).collect();
            app.output.show(&all, |all| table(all))?;
            return Ok(Exit::Ok);
        }
        Verb::Describe { subject } => {
            let request = v1::GetReleaseRequest { subject: Some(subject.into()) };
            let answer = client.releases().get(request).await.map_err(told)?;
            app.output.show(&view::Release::from(answer.into_inner()), page)?;
            return Ok(Exit::Ok);
        }
        Verb::SetCurrent { version, note } => {
            let (name, number) = version.version;
            let subject = Some(wire(name, version.kind));
            let request = v1::SetCurrentRequest { subject, version: number, note: Some(note.into()) };
            client.releases().set_current(request).await
        }
        Verb::SetRamping { version, ramp, note } => {
            let (name, number) = version.version;
            let (subject, note) = (Some(wire(name, version.kind)), Some(note.into()));
            let (percentage, rollout) = ramp.wire();
            let request = v1::SetRampingRequest { subject, version: number, percentage, note, rollout };
            client.releases().set_ramping(request).await
        }
        Verb::Pause { subject, note } => {
            let request = v1::PauseRolloutRequest { subject: Some(subject.into()), note: Some(note.into()) };
            client.releases().pause(request).await
        }
        Verb::Resume { subject, note } => {
            let request = v1::ResumeRolloutRequest { subject: Some(subject.into()), note: Some(note.into()) };
            client.releases().resume(request).await
        }
        Verb::Wait(wait) => return rollout::wait(app, wait).await,
        Verb::Promote { subject, note } => {
            let request = v1::PromoteRequest { subject: Some(subject.into()), note: Some(note.into()) };
            client.releases().promote(request).await
        }
        Verb::Rollback { subject, note } => {
            let request = v1::RollbackRequest { subject: Some(subject.into()), note: Some(note.into()) };
            client.releases().rollback(request).await
        }
        Verb::Clear { subject, note } => {
            let request = v1::ClearReleaseRequest { subject: Some(subject.into()), note: Some(note.into()) };
            client.releases().clear(request).await
        }
    };
    changed(app, answer.map_err(told)?.into_inner())
}

fn changed(app: &App, answer: v1::ReleaseResponse) -> End {
    let changed = view::ReleaseChanged {
        outcome: answer.outcome,
        behind: answer.behind,
        release: answer.release.unwrap_or_default().into(),
    };
    app.output.show(&changed, |it| {
        let mut text = page(&it.release);
        if !it.behind.is_empty() {
            let late = it.behind.join(", ");
            text += &format!("\n\nNot known to follow yet: {late}. Runs submitted there may get what they got before.");
        }
        text
    })?;
    Ok(Exit::Ok)
}

fn versioned(text: &str) -> Result<(String, String), String> {
    let (name, version) = text.split_once('@').ok_or("write it as NAME@VERSION, for example review@1.2.0")?;
    Ok((name.to_owned(), version.to_owned()))
}

fn table(all: &[view::Release]) -> String {
    let mut table = Table::new(&["kind", "name", "current", "ramping", "share", "by", "at", "why"]);
    for it in all {
        let share = it.percentage.map(|percentage| format!("{percentage} %")).unwrap_or_default();
        let (ramping, at) = (it.ramping.clone().unwrap_or_default(), it.at.clone().unwrap_or_default());
        let current = it.current.clone().unwrap_or_default();
        table.row([it.kind.clone(), it.name.clone(), current, ramping, share, it.by.clone(), at, it.why.clone()]);
    }
    table.render("Nothing is released: runs get the highest version of everything.")
}

fn page(it: &view::Release) -> String {
    let line = |name: &str, value: &str| format!("{name:<9} {value}\n");
    let mut text = line(&it.kind.to_lowercase(), &it.name);
    match &it.current {
        None => text += &line("current", "the highest: nothing is released"),
        Some(current) => {
            text += &line("current", current);
            if let (Some(ramping), Some(percentage)) = (&it.ramping, it.percentage) {
                text += &line("ramping", &format!("{ramping} gets {percentage} % of the runs"));
            }
            if let Some(it) = &it.rollout {
                text += &rollout::lines(it);
            }
            if let Some(before) = it.before.last() {
                text += &line("before", before);
            }
            let since = it.at.as_deref().unwrap_or_default();
            text += &line("set", format!("by {} at {since}: {}", it.by, it.why).trim_end_matches([':', ' ']));
        }
    }
    let mut table = Table::new(&["version", "status", "open runs", "workers"]);
    for version in &it.versions {
        let workers = version.workers.map(|n| n.to_string()).unwrap_or_default();
        table.row([version.version.clone(), version.status.clone(), version.open_runs.to_string(), workers]);
    }
    text += "\n";
    text += &table.render("No version is registered.");
    for version in &it.versions {
        if let Some(deprecation) = &version.deprecation {
            text += &format!("\n\n{} is deprecated: {}.", version.version, deprecation.until());
        }
    }
    if !it.complete {
        text += "\n\nNot all open runs are known right now: there may be more.";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_page() {
        let version = |version: &str, status: &str, open_runs, workers| v1::ReleaseVersion {
            version: version.into(),
            status: status.into(),
            open_runs,
            workers,
            standing: None,
            deprecation: None,
        };
        let release = v1::ReleaseView {
            kind: "Agent".into(),
            name: "review".into(),
            current: "1.2.0".into(),
            ramping: "2.0.0".into(),
            percentage: 12.5,
            before: vec!["1.0.0".into(), "1.1.0".into()],
            by: "user:ada".into(),
            at_unix_nanos: 1_800_000_000_000_000_000,
            why: "better on contracts".into(),
            versions: vec![
                version("2.0.0", "RAMPING", 3, 2),
                version("1.2.0", "CURRENT", 40, 2),
                version("1.1.0", "DRAINING", 1, 1),
                version("1.0.0", "DRAINED", 0, 0),
            ],
            complete: true,
            rollout: None,
        };
        insta::assert_snapshot!(page(&release.clone().into()));
        insta::assert_snapshot!(table(&[release.clone().into()]));
        let stage = |percentage, pause_millis| v1::RolloutStage { percentage, pause_millis, hold: pause_millis == 0 };
        let rolling = v1::RolloutView {
            plan: Some(v1::RolloutPlan {
                stages: vec![stage(1.0, 600_000), stage(12.5, 5_400_000), stage(100.0, 0)],
                seen_min: 50,
                error_rate_max: Some(2.5),
                latency_ratio_max: Some(1.5),
                cost_ratio_max: None,
            }),
            stage: 1,
            since_unix_nanos: 1_800_000_000_000_000_000,
            due_unix_nanos: 1_800_005_400_000_000_000,
            paused: false,
            verdict: "inconclusive".into(),
            reason: "12 of 50 attempts seen".into(),
            candidate: Some(v1::VersionOutcomes {
                succeeded: 12,
                failed: 0,
                p95_micros: Some(1_250_400),
                mean_cost_usd: Some(0.0125),
            }),
            current: Some(v1::VersionOutcomes::default()),
        };
        let rolling = v1::ReleaseView { rollout: Some(rolling), ..release };
        insta::assert_snapshot!("rolling", page(&rolling.into()));
        let unreleased = v1::ReleaseView {
            kind: "Workflow".into(),
            name: "intake".into(),
            versions: vec![version("1.0.0", "CURRENT", 2, 0)],
            ..v1::ReleaseView::default()
        };
        insta::assert_snapshot!(page(&unreleased.into()));
    }

    #[test]
    fn a_version_names_what_it_is_of() {
        assert_eq!(versioned("review@1.0.0"), Ok(("review".into(), "1.0.0".into())));
        assert!(versioned("review").is_err());
    }
}
