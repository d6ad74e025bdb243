//! Bringing a version in: by hand, or by itself; and waiting for what becomes of it.

use std::time::Duration;

use clap::Args;
use kapelle_proto::v1;
use tokio::time::{Instant, sleep};

use super::{VersionOf, wire};
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::view;

/// How often is looked while waiting.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a version is brought in.
#[derive(Debug, Args)]
pub(crate) struct Ramp {
    /// How many of a hundred runs, 0 to 100; 0.01 is the least. Default: none, --steps says it
    #[arg(long, value_name = "N", required_unless_present = "steps", conflicts_with = "steps")]
    percentage: Option<f64>,
    /// Bring it in by itself: shares that rise, each with a pause of its own if need be (1,10,50:1h), or :hold until it is
    /// resumed. After the last it is current. Default: no steps, --percentage says it
    #[arg(long, value_name = "N[:PAUSE],…", value_delimiter = ',', value_parser = step)]
    steps: Vec<Step>,
    /// How long a step lasts at least that says nothing of its own. Default: 10m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "steps")]
    pause: Option<Duration>,
    /// How many of a hundred attempts (of a workflow: runs) may fail before it is rolled back. Default: 5
    #[arg(long, value_name = "N", requires = "steps")]
    max_error_rate: Option<f64>,
    /// How many times as long as the current version's 95 of 100 of them may take. Default: it is not looked at
    #[arg(long, value_name = "TIMES", requires = "steps")]
    max_latency_ratio: Option<f64>,
    /// How many times as much as the current version's they may cost on average. Default: it is not looked at
    #[arg(long, value_name = "TIMES", requires = "steps")]
    max_cost_ratio: Option<f64>,
    /// How many of them have to be seen at each step; with fewer it stays where it is. Default: 20
    #[arg(long, value_name = "N", requires = "steps", value_parser = clap::value_parser!(u32).range(1..))]
    min_seen: Option<u32>,
}

/// How long a step lasts that says nothing of its own.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// One step as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    percentage: f64,
    pause: Pause,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pause {
    /// As the others.
    Usual,
    For(Duration),
    /// Until somebody resumes it.
    Hold,
}

fn step(text: &str) -> Result<Step, String> {
    let (percentage, pause) = text.split_once(':').map_or((text, None), |(share, pause)| (share, Some(pause)));
    let percentage = percentage.trim().trim_end_matches('%').trim_end();
    let percentage =
        percentage.parse().map_err(|_| format!("`{percentage}` is no percentage: write 10, 10:30m or 10:hold"))?;
    let pause = match pause {
        None => Pause::Usual,
        Some("hold") => Pause::Hold,
        Some(pause) => Pause::For(humantime::parse_duration(pause).map_err(|e| format!("`{pause}`: {e}"))?),
    };
    Ok(Step { percentage, pause })
}

impl Ramp {
    /// The share, or the plan.
    pub(super) fn wire(self) -> (f64, Option<v1::RolloutPlan>) {
        if self.steps.is_empty() {
            return (self.percentage.unwrap_or_default(), None);
        }
        let usual = self.pause.unwrap_or(PAUSE);
        let millis = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let stage = |step: &Step| {
            let (pause_millis, hold) = match step.pause {
                Pause::Usual => (millis(usual), false),
                Pause::For(pause) => (millis(pause), false),
                Pause::Hold => (0, true),
            };
            v1::RolloutStage { percentage: step.percentage, pause_millis, hold }
        };
        let plan = v1::RolloutPlan {
            stages: self.steps.iter().map(stage).collect(),
            seen_min: self.min_seen.unwrap_or_default(),
            error_rate_max: self.max_error_rate,
            latency_ratio_max: self.max_latency_ratio,
            cost_ratio_max: self.max_cost_ratio,
        };
        (0.0, Some(plan))
    }
}

/// Until what is waited.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    #[command(flatten)]
    version: VersionOf,
    /// How long at most. Default: as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// `kapelle release wait`: until the version is current, or no longer brought in.
pub(super) async fn wait(app: &App, args: Wait) -> End {
    let (name, version) = args.version.version;
    let (subject, client) = (wire(name.clone(), args.version.kind), app.client().await?);
    let until = args.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let request = v1::GetReleaseRequest { subject: Some(subject.clone()) };
        let release = match client.releases().get(request).await {
            Ok(answer) => Some(view::Release::from(answer.into_inner())),
            // A coordinator that is replaced is waited for, too.
            Err(status) if status.code() == tonic::Code::Unavailable && until.is_none_or(|it| Instant::now() < it) => {
                None
            }
            Err(status) => return Err(client.failure(status)),
        };
        if let Some(release) = release {
            if release.current.as_ref() == Some(&version) {
                app.output.show(&release, |it| format!("{name}@{version} is current. {}", it.why))?;
                return Ok(Exit::Ok);
            }
            if release.ramping.as_ref() != Some(&version) {
                app.output.show(&release, |it| format!("{name}@{version} is not brought in. {}", it.why))?;
                return Ok(Exit::Failed);
            }
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let message = format!("{name}@{version} is still being brought in.");
            return Err(Failure::plain(Exit::Unavailable, message)
                .hint(format!("`kapelle release describe {name}` says how far it is.")));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The lines of a rollout on its page.
pub(super) fn lines(it: &view::Rollout) -> String {
    let share = |stage: &view::RolloutStage| {
        let pause = stage.pause_s.map_or_else(
            || "hold".to_owned(),
            |seconds| humantime::format_duration(Duration::from_secs_f64(seconds)).to_string(),
        );
        format!("{} % ({pause})", stage.percentage)
    };
    let stages: Vec<String> = it.stages.iter().map(share).collect();
    let mut limits = vec![format!("{} % failing", it.error_rate_max)];
    limits.extend(it.latency_ratio_max.map(|times| format!("{times} times the p95")));
    limits.extend(it.cost_ratio_max.map(|times| format!("{times} times the cost")));
    let seen = |name: &str, it: &view::Outcomes| {
        let p95 = it.p95_ms.map(|ms| format!(", p95 {ms} ms")).unwrap_or_default();
        let cost = it.mean_cost_usd.filter(|usd| *usd > 0.0).map(|usd| format!(", ${usd:.6} each")).unwrap_or_default();
        format!("{name} {} ended well, {} failed{p95}{cost}", it.succeeded, it.failed)
    };
    let line = |name: &str, value: &str| format!("{name:<9} {value}\n");
    let mut text = line("steps", &format!("{}, then current", stages.join(", ")));
    text += &line("limits", &format!("at most {}; at least {} seen", limits.join(", "), it.seen_min));
    let step = format!("{} of {} since {}", it.stage, it.stages.len(), it.since.as_deref().unwrap_or_default());
    let next = match (it.paused, &it.due) {
        (true, _) => "held: `kapelle release resume` lets it go on".to_owned(),
        (false, Some(due)) => format!("to {due} at least"),
        (false, None) => "until `kapelle release resume`".to_owned(),
    };
    text += &line("step", &format!("{step}, {next}"));
    if let Some(verdict) = &it.verdict {
        text += &line("verdict", &format!("{verdict}: {}", it.reason));
    }
    if let (Some(candidate), Some(current)) = (&it.candidate, &it.current) {
        text += &line("seen", &format!("{}; {}", seen("new", candidate), seen("current", current)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shares_with_pauses() {
        let usual = |percentage| Step { percentage, pause: Pause::Usual };
        assert_eq!(step("1"), Ok(usual(1.0)));
        assert_eq!(step("12.5%"), Ok(usual(12.5)));
        let hour = Pause::For(Duration::from_secs(3_600));
        assert_eq!(step("50:1h"), Ok(Step { percentage: 50.0, pause: hour }));
        assert_eq!(step("100%:hold"), Ok(Step { percentage: 100.0, pause: Pause::Hold }));
        for wrong in ["", "ten", "10:", "10:soon"] {
            assert!(step(wrong).is_err(), "{wrong}");
        }
    }
}
