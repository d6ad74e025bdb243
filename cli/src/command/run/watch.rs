//! `kapelle run watch`: each change of a run as it comes.
//!
//! A change is a line, on a terminal and in a pipe alike. A fan-out changes hundreds of times a second: lines that differ
//! only in its numbers are printed once in a while.

use std::time::Duration;

use tokio::time::Instant;

use super::text::read_along;
use crate::app::{App, End};
use crate::client::{Until, follow};
use crate::exit::Exit;
use crate::output::status;
use crate::view::{Run, Step};

/// Lines that only count are at least this far apart.
const COUNTING_INTERVAL: Duration = Duration::from_millis(500);

/// Which run, and what of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
--text shows what the models of the run's agents write, as they write it: before it is whole, before it
is checked, and without the values of secrets. Nothing of it is kept: who comes later sees what comes
then, and a gap is named where pieces were missed. It takes payload access, or a run of one's own.")]
pub(crate) struct Watch {
    /// The run's id, as `run start` printed it
    run: String,
    /// Show what its models write, as they write it
    #[arg(long)]
    text: bool,
    /// With --text: of this step alone, or of one member of it, as `review:17`. Default: every step
    #[arg(long, value_name = "STEP", requires = "text")]
    step: Option<String>,
}

/// `kapelle run watch`.
pub(crate) async fn run(app: &App, args: Watch) -> End {
    if args.text { read_along(app, args.run, args.step).await } else { watch(app, &args.run).await }
}

async fn watch(app: &App, run_id: &str) -> End {
    let client = app.client().await?;
    let mut news = News::default();
    let last = follow(&client, run_id, Until::Final, |view| {
        let run = Run::from(view.clone());
        if !news.is_new(&run) {
            return Ok(());
        }
        app.output.stream(&run, line)
    });
    Ok(exit(&last.await?.into()))
}

/// What scripts are told about how a run ended.
pub(super) fn exit(last: &Run) -> Exit {
    if last.status == "COMPLETED" { Exit::Ok } else { Exit::Failed }
}

/// What was told last.
#[derive(Default)]
struct News {
    told: Option<(Vec<String>, Instant)>,
}

impl News {
    /// Whether the run differs in more than numbers from what was told, or enough time has passed for numbers.
    fn is_new(&mut self, run: &Run) -> bool {
        let mut marks = vec![run.status.clone()];
        marks.extend(run.steps.iter().map(|s| s.status.clone()));
        let now = Instant::now();
        let new = self.told.as_ref().is_none_or(|(before, at)| *before != marks || now - *at >= COUNTING_INTERVAL);
        if new {
            self.told = Some((marks, now));
        }
        new
    }
}

pub(super) fn line(run: &Run) -> String {
    let steps: Vec<_> = run.steps.iter().map(step).collect();
    let why = run.error.as_ref().map(|e| format!("  {} {}", e.code, e.message)).unwrap_or_default();
    format!("{}  {}{why}", status(&run.status), steps.join("  "))
}

fn step(step: &Step) -> String {
    let done = step.members.map(|m| format!(" {}/{}", m.done, m.total)).unwrap_or_default();
    let retries = if step.failed_attempts() > 0 {
        format!(" ({} failed attempts)", step.failed_attempts())
    } else {
        String::new()
    };
    format!("{}: {}{done}{retries}", step.step, status(&step.status))
}

#[cfg(test)]
mod tests {
    use kapelle_proto::v1;

    use super::*;

    fn run(step_status: &str, done: u32) -> Run {
        let step = v1::StepView {
            step: "review".into(),
            status: step_status.into(),
            attempts: done + 3,
            members_total: 40,
            members_done: done,
            members_running: 2,
            ..Default::default()
        };
        v1::RunView { status: v1::RunStatus::Running as i32, steps: vec![step], ..Default::default() }.into()
    }

    #[test]
    fn a_change_is_a_line() {
        let plain = anstream::adapter::strip_str(&line(&run("RUNNING", 7))).to_string();
        assert_eq!(plain, "RUNNING  review: RUNNING 7/40 (1 failed attempts)");
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_alone_are_told_once_in_a_while() {
        let mut news = News::default();
        assert!(news.is_new(&run("RUNNING", 1)));
        assert!(!news.is_new(&run("RUNNING", 2)));
        assert!(news.is_new(&run("SUCCEEDED", 2)));
        tokio::time::advance(COUNTING_INTERVAL).await;
        assert!(news.is_new(&run("SUCCEEDED", 3)));
    }
}
