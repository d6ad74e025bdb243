//! How a run is to end whose last steps are still to be done.

use kapelle_types::{Payload, Timestamp};

use super::RunStatus;
use super::slot::failure_bytes;
use crate::entry::Failure;
use crate::plan::StepIndex;
use crate::weight::payload_bytes;

/// A run that is closing. The rules are in `closing.rs` of the crate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Closing {
    /// How it is to end.
    pub(crate) status: RunStatus,
    /// With which output, if it is to be COMPLETED.
    pub(crate) output: Option<Payload>,
    /// Why, otherwise.
    pub(crate) error: Option<Failure>,
    /// Since when.
    pub(crate) at: Timestamp,
    /// The step that is being done.
    pub(crate) current: Option<StepIndex>,
    /// Steps whose success was reported only now. Nobody sees their outputs but what undoes them: what a step is given is
    /// the same whenever it is computed.
    pub(crate) late: Vec<StepIndex>,
    /// Nothing was left to do.
    pub(crate) done: bool,
    /// What the outcome weighs.
    bytes: usize,
}

impl Closing {
    pub(crate) fn new(status: RunStatus, output: Option<Payload>, error: Option<Failure>, at: Timestamp) -> Self {
        let bytes = output.as_ref().map_or(0, payload_bytes) + error.as_ref().map_or(0, failure_bytes);
        Self { status, output, error, at, current: None, late: Vec::new(), done: false, bytes }
    }

    pub(crate) const fn weight_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes + size_of::<StepIndex>() * self.late.len()
    }
}
