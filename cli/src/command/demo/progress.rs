//! The demo as it goes on: bars on a terminal, plain lines elsewhere. All on stderr; stdout gets the result.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output::{bold, dim, span, status};
use crate::view::{Run, Step};

/// Lines that only count are this far apart where there is no terminal.
const COUNTING_INTERVAL: Duration = Duration::from_secs(2);
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// What is on the terminal.
pub(super) struct Progress {
    bars: Option<MultiProgress>,
    preparing: Option<ProgressBar>,
    steps: BTreeMap<String, Shown>,
    run_id: Option<String>,
}

/// One step as it was shown last.
struct Shown {
    bar: Option<ProgressBar>,
    status: String,
    started: Option<Instant>,
    /// How long it took, once it is over.
    took: Option<Duration>,
    told: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, preparing: None, steps: BTreeMap::new(), run_id: None }
    }

    /// The run that is shown, once it is submitted.
    pub(super) fn run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    /// The first line.
    pub(super) fn title(&self, text: &str) {
        self.say(&format!("\n  {}\n", bold(text)));
    }

    /// Something is being prepared.
    pub(super) fn begin(&mut self, what: &str, doing: &str) {
        if let Some(bars) = &self.bars {
            let bar = spinner(bars, what);
            bar.set_message(doing.to_owned());
            self.preparing = Some(bar);
        }
    }

    /// It is prepared.
    pub(super) fn done(&mut self, what: &str, with: &str) {
        if let Some(bar) = self.preparing.take() {
            bar.finish_and_clear();
        }
        self.say(&format!("  {what:<12} {with}"));
    }

    /// The run is on its way.
    pub(super) fn submitted(&mut self, run_id: &str) {
        self.run_id = Some(run_id.to_owned());
        self.say(&format!("  {:<12} {run_id}\n", "run"));
    }

    /// The run as it is now.
    pub(super) fn show(&mut self, run: &Run) {
        for step in &run.steps {
            self.show_step(step);
        }
    }

    /// Nothing moves any more.
    pub(super) fn finish(&mut self) {
        let bars = self.preparing.take().into_iter().chain(self.steps.values_mut().filter_map(|s| s.bar.take()));
        if bars.map(|bar| bar.abandon()).count() > 0 {
            // The cursor stands behind the last bar.
            let _ = writeln!(anstream::stderr());
        }
    }

    fn show_step(&mut self, step: &Step) {
        let now = Instant::now();
        let bars = self.bars.as_ref();
        let shown = self.steps.entry(step.step.clone()).or_insert_with(|| {
            let bar = bars.map(|bars| spinner(bars, &step.step));
            Shown { bar, status: String::new(), started: None, took: None, told: now }
        });
        if shown.started.is_none() && step.attempts > 0 {
            shown.started = Some(now);
        }
        let changed = shown.status != step.status;
        shown.status.clone_from(&step.status);
        let running = shown.took.or_else(|| shown.started.map(|s| now - s));
        if is_over(&step.status) {
            shown.took = running;
        }
        let text = message(step, running);
        if let Some(bar) = &shown.bar {
            draw(bar, step, &text);
        } else if changed || now - shown.told >= COUNTING_INTERVAL && step.members.is_some() && step.status == "RUNNING"
        {
            shown.told = now;
            self.say(&format!("  {:<12} {text}", step.step));
        }
    }

    /// Prints a line above the bars. If stderr is gone there is nobody to tell.
    fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = line.split('\n').try_for_each(|part| bars.println(part));
            }
            None => {
                let _ = writeln!(anstream::stderr(), "{line}");
            }
        }
    }
}

fn draw(bar: &ProgressBar, step: &Step, text: &str) {
    if let Some(members) = step.members {
        bar.set_style(fan_out());
        bar.set_length(members.total.into());
        bar.set_position(members.done.into());
    }
    bar.set_message(text.to_owned());
    if is_over(&step.status) {
        bar.abandon();
    }
}

fn is_over(status: &str) -> bool {
    matches!(status, "SUCCEEDED" | "SKIPPED" | "GAVE_UP" | "STALLED" | "CANCELED")
}

/// What is said about a step: where it stands, how fast it is, how often it was tried again.
fn message(step: &Step, running: Option<Duration>) -> String {
    let mut parts = vec![status(&step.status)];
    if let Some(m) = step.members {
        parts.push(format!("{}/{}", m.done, m.total));
        let seconds = running.unwrap_or_default().as_secs_f64();
        if m.done > 0 && seconds > 0.0 {
            parts.push(format!("{:.0}/s", f64::from(m.done) / seconds));
        }
        if m.running > 0 {
            parts.push(format!("{} in flight", m.running));
        }
    }
    match step.failed_attempts() {
        0 => {}
        1 => parts.push("1 retry".into()),
        many => parts.push(format!("{many} retries")),
    }
    if let Some(running) = running.filter(|_| is_over(&step.status)) {
        parts.push(dim(&span(running)));
    }
    if let Some(error) = &step.error {
        parts.push(format!("{} {}", error.code, error.message));
    }
    parts.join("  ")
}

fn spinner(bars: &MultiProgress, of: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("  {prefix:12} {spinner} {msg}"));
    let bar = bars.add(bar.with_prefix(of.to_owned()));
    // Only now: a bar that ticks before it has its place draws where it stands.
    bar.enable_steady_tick(TICK);
    bar
}

fn fan_out() -> ProgressStyle {
    style("  {prefix:12} {bar:30.cyan/dim} {msg}").progress_chars("━╸─")
}

/// A template that is no template shows as indicatif's default.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_proto::v1;

    #[test]
    fn a_step_says_how_far_and_how_fast_it_is() {
        let view = v1::StepView {
            step: "review".into(),
            status: "RUNNING".into(),
            attempts: 110,
            members_total: 412,
            members_done: 100,
            members_running: 8,
            ..Default::default()
        };
        let text = message(&view.into(), Some(Duration::from_secs(4)));
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "RUNNING  100/412  25/s  8 in flight  2 retries");
    }

    #[test]
    fn templates_are_templates() {
        for template in ["  {prefix:12} {spinner} {msg}", "  {prefix:12} {bar:30.cyan/dim} {msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
