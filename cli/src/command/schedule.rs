//! `kapelle schedule …`: runs at given times.

use std::path::PathBuf;

use clap::Subcommand;
use kapelle_manifest::Schedule;
use kapelle_proto::v1;
use kapelle_types::Timestamp;

use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::{self, files};
use crate::output::Table;
use crate::view;

/// What can be done with schedules.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A schedule starts runs of a workflow, for whoever applied it. docs/guides/schedules.md says how its manifest
is written and what happens when clocks are changed, when runs overlap and when nobody was there.")]
pub(crate) enum Verb {
    /// Make schedules, or change those of the same names
    Create {
        /// A file, a folder with everything below it, or `-` for stdin; repeat it for more
        #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
        files: Vec<PathBuf>,
        /// Only check them
        #[arg(long)]
        dry_run: bool,
    },
    /// Schedules, by name
    List,
    /// One schedule: its next times, its open runs, what became of the last times
    Describe {
        /// Its name
        name: String,
    },
    /// Have a schedule stand still; times that pass meanwhile are not run
    Pause {
        /// Its name
        name: String,
        /// Why, for whoever looks at it
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Have a schedule go on
    Resume {
        /// Its name
        name: String,
    },
    /// Start one run now, beside the times
    Trigger {
        /// Its name
        name: String,
    },
    /// Run the times of a stretch that has passed, each once
    Backfill {
        /// Its name
        name: String,
        /// The first moment, such as 2026-11-01T00:00:00Z
        #[arg(long, value_parser = moment)]
        from: Timestamp,
        /// The last moment
        #[arg(long, value_parser = moment)]
        to: Timestamp,
    },
    /// End a schedule; its runs go on
    Delete {
        /// Its name
        name: String,
    },
}

/// `kapelle schedule …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    let client = app.client().await?;
    let told = |s| client.failure(s);
    match verb {
        Verb::Create { files, dry_run } => return create(app, &client, &files, dry_run).await,
        Verb::List => {
            let answer = client.schedules().list(v1::ListSchedulesRequest {}).await.map_err(told)?.into_inner();
            let all: Vec<view::Schedule> = answer.schedules.into_iter().map(Into::into).collect();
            app.output.show(&all, |all| table(all))?;
        }
        Verb::Describe { name } => {
            let answer = client.schedules().get(v1::GetScheduleRequest { name }).await.map_err(told)?;
            app.output.show(&view::Schedule::from(answer.into_inner()), page)?;
        }
        Verb::Pause { name, note } => {
            let answer = client.schedules().pause(v1::PauseScheduleRequest { name, note }).await.map_err(told)?;
            app.output.show(&view::Schedule::from(answer.into_inner()), page)?;
        }
        Verb::Resume { name } => {
            let answer = client.schedules().resume(v1::ResumeScheduleRequest { name }).await.map_err(told)?;
            app.output.show(&view::Schedule::from(answer.into_inner()), page)?;
        }
        Verb::Trigger { name } => {
            let answer = client.schedules().trigger(v1::TriggerScheduleRequest { name }).await.map_err(told)?;
            app.output.show(&view::Schedule::from(answer.into_inner()), page)?;
        }
        Verb::Backfill { name, from, to } => {
            let (from_unix_nanos, to_unix_nanos) = (from.nanos(), to.nanos());
            let request = v1::BackfillScheduleRequest { name, from_unix_nanos, to_unix_nanos };
            let times = client.schedules().backfill(request).await.map_err(told)?.into_inner().times;
            app.output.show(&view::Backfilled { times }, |it| format!("{} times are run.", it.times))?;
        }
        Verb::Delete { name } => {
            client.schedules().delete(v1::DeleteScheduleRequest { name: name.clone() }).await.map_err(told)?;
            app.output.show(&view::Deleted { deleted: name }, |it| format!("{} is deleted.", it.deleted))?;
        }
    }
    Ok(Exit::Ok)
}

async fn create(app: &App, client: &Client, sources: &[PathBuf], dry_run: bool) -> End {
    let mut all = Vec::new();
    for source in sources {
        for file in files::list(source, files::MANIFESTS)? {
            let (text, _) = files::text(&file)?;
            let read = kapelle_manifest::schedules(&file.display().to_string(), &text);
            all.extend(read.map_err(|problems| manifests::invalid(&problems))?);
        }
    }
    if all.is_empty() {
        return Err(Failure::usage("There is no schedule in these files.", "A schedule says `kind: Schedule`."));
    }
    let mut applied = Vec::with_capacity(all.len());
    for schedule in &all {
        applied.push(apply(client, schedule, dry_run).await?);
    }
    app.output.show(&applied, |applied| {
        let mut table = Table::new(&["name", "outcome", "next"]);
        for it in applied {
            table.row([it.name.clone(), it.outcome.clone(), it.next.clone().unwrap_or_default()]);
        }
        table.render("Nothing to apply.")
    })?;
    Ok(Exit::Ok)
}

/// Has the coordinator make or change one; only check it with `dry_run`.
pub(crate) async fn apply(
    client: &Client,
    schedule: &Schedule,
    dry_run: bool,
) -> Result<view::AppliedSchedule, Failure> {
    let json = schedule.document().to_string().into();
    let request = v1::ApplyScheduleRequest { json, dry_run };
    let answer = client.schedules().apply(request).await.map_err(|s| client.failure(s))?.into_inner();
    let next = answer.schedule.unwrap_or_default().next.into_iter().next().map(|it| it.shown);
    Ok(view::AppliedSchedule { name: schedule.name.to_string(), outcome: answer.outcome, next })
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "write it like 2026-11-01T00:00:00Z".to_owned())
}

fn table(all: &[view::Schedule]) -> String {
    let mut table = Table::new(&["name", "workflow", "state", "next", "started", "skipped", "missed", "failed"]);
    for it in all {
        let state = if it.paused.is_some() { "PAUSED" } else { "ACTIVE" };
        let next = it.next.first().map(|next| next.shown.clone()).unwrap_or_default();
        let counts = [it.started, it.skipped, it.missed, it.failed].map(|n| n.to_string());
        table.row([it.name.clone(), it.workflow.clone(), state.to_owned(), next].into_iter().chain(counts));
    }
    table.render("No schedules. Make one with `kapelle schedule create -f FILE`.")
}

fn page(it: &view::Schedule) -> String {
    let line = |name: &str, value: &str| format!("{name:<11} {value}\n");
    let mut text = line("name", &it.name) + &line("workflow", &it.workflow) + &line("acts for", &it.applied_by);
    text += &match &it.paused {
        Some(pause) => line("state", format!("PAUSED by {}: {}", pause.by, pause.note).trim_end_matches([':', ' '])),
        None => line("state", "ACTIVE"),
    };
    let counts = format!("{} started, {} skipped, {} missed, {} failed", it.started, it.skipped, it.missed, it.failed);
    text += &line("times", &counts);
    text += &line("waiting", &it.waiting.to_string());
    for run in &it.open_runs {
        text += &line("open run", run);
    }
    for next in &it.next {
        text += &line("next", &format!("{}  {}", next.shown, next.at.as_deref().unwrap_or_default()));
    }
    let mut table = Table::new(&["time", "outcome", "run", "why"]);
    for firing in it.recent.iter().rev() {
        let time = firing.time.clone().unwrap_or_default();
        table.row([time, firing.outcome.clone(), firing.run.clone(), firing.why.clone()]);
    }
    text + "\n" + &table.render("Nothing was due yet.")
}
