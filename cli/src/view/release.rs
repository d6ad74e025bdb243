//! Releases and the versions in them.

use kapelle_proto::v1;
use serde::Serialize;

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
}

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Version {
    pub(crate) version: String,
    pub(crate) status: String,
    pub(crate) open_runs: u64,
    /// None for workflows.
    pub(crate) workers: Option<u32>,
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
        }
    }
}
