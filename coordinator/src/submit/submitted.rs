//! What became of a job that was recorded.

use kapelle_proto::v1;
use kapelle_telemetry::metrics::DEPRECATED_RUNS;
use kapelle_types::{AgentVersion, RunId};

use super::Prepared;
use crate::catalog::Outgoing;

/// A recorded job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The run.
    pub run: RunId,
    /// The key named a run that was there already.
    pub existed: bool,
    /// What of it will not be given to runs much longer.
    pub outgoing: Vec<Outgoing>,
}

impl Submitted {
    /// A run that is there now and was not before.
    pub(super) fn new(prepared: &Prepared) -> Self {
        for it in &prepared.outgoing {
            let AgentVersion { name, version } = &it.agent;
            DEPRECATED_RUNS.counter(&[name.as_str(), &version.to_string()]).increment(1);
        }
        Self { run: prepared.run, existed: false, outgoing: prepared.outgoing.clone() }
    }
}

impl From<Submitted> for v1::SubmitResponse {
    fn from(submitted: Submitted) -> Self {
        let Submitted { run, existed, outgoing } = submitted;
        Self { run_id: run.to_string(), existed, warnings: outgoing.iter().map(ToString::to_string).collect() }
    }
}
