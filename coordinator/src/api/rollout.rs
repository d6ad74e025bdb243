//! Rollouts on the wire: what is asked for, and how one stands.

use kapelle_bus::registry::{Limits, Ratio, Release, Rollout, Share, Stage};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{Code, Diagnosis};

use crate::rollout::{Standing, Tally};

/// What has to be seen of a version at a stage, if nothing else is said.
const SEEN_MIN: u32 = 20;
/// How many of a hundred may fail, if nothing else is said.
const ERROR_RATE: f64 = 5.0;

/// A share of the runs.
///
/// # Errors
/// `REQUEST_INVALID`.
pub(super) fn share(percentage: f64) -> Result<Share, Diagnosis> {
    Share::percent(percentage).ok_or_else(|| {
        invalid(format!("{percentage} is no percentage")).hint("0 to 100; with 0 a version is ready and gets nothing")
    })
}

/// A rollout that begins now.
///
/// # Errors
/// `REQUEST_INVALID`, for whatever is wrong with it.
pub(super) fn begin(plan: v1::RolloutPlan) -> Result<Rollout, Diagnosis> {
    let v1::RolloutPlan { stages, seen_min, error_rate_max, latency_ratio_max, cost_ratio_max } = plan;
    let stages = stages.into_iter().map(stage).collect::<Result<Vec<_>, _>>()?;
    let error_rate = share(error_rate_max.unwrap_or(ERROR_RATE))?;
    let seen_min = if seen_min == 0 { SEEN_MIN } else { seen_min };
    let limits = Limits { seen_min, error_rate, latency: ratio(latency_ratio_max)?, cost: ratio(cost_ratio_max)? };
    Rollout::begin(stages, limits, clock::now()).map_err(invalid)
}

fn stage(stage: v1::RolloutStage) -> Result<Stage, Diagnosis> {
    let v1::RolloutStage { percentage, pause_millis, hold } = stage;
    if hold && pause_millis > 0 {
        return Err(invalid(format!("the stage of {percentage} % has an end and has none: give a pause, or hold it")));
    }
    Ok(Stage { share: share(percentage)?, pause_ms: (!hold).then_some(pause_millis) })
}

fn ratio(times: Option<f64>) -> Result<Option<Ratio>, Diagnosis> {
    let read = |times| Ratio::times(times).ok_or_else(|| invalid(format!("{times} is no ratio: 0.01 to 100 can be")));
    times.map(read).transpose()
}

/// How the rollout of a release stands, judged or not.
pub(super) fn view(release: &Release, standing: Option<&Standing>) -> Option<v1::RolloutView> {
    let (_, rollout) = release.rollout()?;
    let Limits { seen_min, error_rate, latency, cost } = rollout.limits;
    let stage = |it: &Stage| v1::RolloutStage {
        percentage: it.share.as_percent(),
        pause_millis: it.pause_ms.unwrap_or(0),
        hold: it.pause_ms.is_none(),
    };
    Some(v1::RolloutView {
        plan: Some(v1::RolloutPlan {
            stages: rollout.stages.iter().map(stage).collect(),
            seen_min,
            error_rate_max: Some(error_rate.as_percent()),
            latency_ratio_max: latency.map(Ratio::as_times),
            cost_ratio_max: cost.map(Ratio::as_times),
        }),
        stage: u32::try_from(rollout.stage).unwrap_or(u32::MAX),
        since_unix_nanos: rollout.since.nanos(),
        due_unix_nanos: rollout.due().map_or(0, kapelle_types::Timestamp::nanos),
        paused: rollout.paused,
        verdict: standing.map(|it| it.verdict.name().to_owned()).unwrap_or_default(),
        reason: standing.map(|it| it.verdict.reason().to_owned()).unwrap_or_default(),
        candidate: standing.map(|it| outcomes(&it.candidate)),
        current: standing.map(|it| outcomes(&it.current)),
    })
}

fn outcomes(tally: &Tally) -> v1::VersionOutcomes {
    #[expect(clippy::cast_precision_loss, reason = "an amount that people read")]
    let mean_cost_usd = tally.mean_cost_nanos().map(|nanos| nanos as f64 / 1e9);
    v1::VersionOutcomes {
        succeeded: tally.succeeded,
        failed: tally.failed,
        p95_micros: tally.p95().map(|p95| u64::try_from(p95.as_micros()).unwrap_or(u64::MAX)),
        mean_cost_usd,
    }
}

fn invalid(message: String) -> Diagnosis {
    Diagnosis::new(Code::REQUEST_INVALID, message)
}
