//! Releases and the versions in them.

use kapelle_proto::v1;
use serde::Serialize;

use super::Deprecation;
use crate::output::moment;

/// A release.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Release {
    /// `Agent` or `Workflow`.
    pub(crate) kind: String,
    pub(crate) name: String,
    /// None: nothing is released.
    pub(crate) current: Option<String>,
    pub(crate) ramping: Option<String>,
    /// The share of `ramping`.
    pub(crate) percentage: Option<f64>,
    /// What a rollback brings back, the latest last.
    pub(crate) before: Vec<String>,
    pub(crate) by: String,
    pub(crate) at: Option<String>,
    pub(crate) why: String,
    /// The highest first; empty in a list.
    pub(crate) versions: Vec<Version>,
    /// Whether all open runs are known.
    pub(crate) complete: bool,
    /// How `ramping` goes on by itself; none if people decide.
    pub(crate) rollout: Option<Rollout>,
}

/// A version that is brought in by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Rollout {
    pub(crate) stages: Vec<RolloutStage>,
    /// What has to be seen at each.
    pub(crate) seen_min: u32,
    /// How many of a hundred may fail.
    pub(crate) error_rate_max: f64,
    /// How many times as long, or as much, as the current version; none if it is not looked at.
    pub(crate) latency_ratio_max: Option<f64>,
    pub(crate) cost_ratio_max: Option<f64>,
    /// The stage that it is at, from 1.
    pub(crate) stage: u32,
    pub(crate) since: Option<String>,
    /// Until when the stage lasts at least; none while somebody has to resume it.
    pub(crate) due: Option<String>,
    pub(crate) paused: bool,
    /// `pass`, `fail` or `inconclusive`; none in a list.
    pub(crate) verdict: Option<String>,
    /// What that rests on.
    pub(crate) reason: String,
    /// What both versions did since the stage began; none in a list.
    pub(crate) candidate: Option<Outcomes>,
    pub(crate) current: Option<Outcomes>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RolloutStage {
    pub(crate) percentage: f64,
    /// None: until somebody resumes it.
    pub(crate) pause_s: Option<f64>,
}

/// What a version did: attempts of an agent, or runs of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// 95 of 100 that succeeded took no longer.
    pub(crate) p95_ms: Option<f64>,
    pub(crate) mean_cost_usd: Option<f64>,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Version {
    pub(crate) version: String,
    pub(crate) status: String,
    pub(crate) open_runs: u64,
    /// None for workflows.
    pub(crate) workers: Option<u32>,
    /// Of an agent version that is to be used no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deprecation: Option<Deprecation>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ReleaseChanged {
    /// `changed` or `unchanged`.
    pub(crate) outcome: String,
    /// Coordinators that may not follow yet.
    pub(crate) behind: Vec<String>,
    pub(crate) release: Release,
}

impl From<v1::ReleaseView> for Release {
    fn from(wire: v1::ReleaseView) -> Self {
        let named = |text: String| Some(text).filter(|it| !it.is_empty());
        let of_agent = wire.kind == "Agent";
        let version = |it: v1::ReleaseVersion| Version {
            version: it.version,
            status: it.status,
            open_runs: it.open_runs,
            workers: of_agent.then_some(it.workers),
            deprecation: it.deprecation.map(Deprecation::from),
        };
        let ramping = named(wire.ramping);
        Self {
            kind: wire.kind,
            name: wire.name,
            current: named(wire.current),
            percentage: ramping.is_some().then_some(wire.percentage),
            ramping,
            before: wire.before,
            by: wire.by,
            at: Some(wire.at_unix_nanos).filter(|at| *at != 0).and_then(moment),
            why: wire.why,
            versions: wire.versions.into_iter().map(version).collect(),
            complete: wire.complete,
            rollout: wire.rollout.map(Into::into),
        }
    }
}

impl From<v1::RolloutView> for Rollout {
    fn from(wire: v1::RolloutView) -> Self {
        let plan = wire.plan.unwrap_or_default();
        let at = |nanos: i64| Some(nanos).filter(|at| *at != 0).and_then(moment);
        #[expect(clippy::cast_precision_loss, reason = "seconds that people read")]
        let pause = |it: &v1::RolloutStage| (!it.hold).then_some(it.pause_millis as f64 / 1e3);
        let stages = plan.stages.iter().map(|it| RolloutStage { percentage: it.percentage, pause_s: pause(it) });
        Self {
            stages: stages.collect(),
            seen_min: plan.seen_min,
            error_rate_max: plan.error_rate_max.unwrap_or_default(),
            latency_ratio_max: plan.latency_ratio_max,
            cost_ratio_max: plan.cost_ratio_max,
            stage: wire.stage + 1,
            since: at(wire.since_unix_nanos),
            due: at(wire.due_unix_nanos),
            paused: wire.paused,
            verdict: Some(wire.verdict).filter(|it| !it.is_empty()),
            reason: wire.reason,
            candidate: wire.candidate.map(Into::into),
            current: wire.current.map(Into::into),
        }
    }
}

impl From<v1::VersionOutcomes> for Outcomes {
    fn from(wire: v1::VersionOutcomes) -> Self {
        let v1::VersionOutcomes { succeeded, failed, p95_micros, mean_cost_usd } = wire;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds that people read")]
        let p95_ms = p95_micros.map(|micros| micros as f64 / 1e3);
        Self { succeeded, failed, p95_ms, mean_cost_usd }
    }
}
