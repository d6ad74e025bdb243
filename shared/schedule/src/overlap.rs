//! What happens at a time whose schedule still has a run open.

use serde::{Deserialize, Serialize};

/// What a schedule does at a time while runs that it started are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The time passes without a run.
    #[default]
    Skip,
    /// One time waits until the open run has ended; further ones pass.
    BufferOne,
    /// Every time waits until those before it have ended.
    BufferAll,
    /// The open runs are asked to cancel; the time runs when they have ended.
    CancelOther,
    /// The open runs are terminated; the time runs when they have ended.
    TerminateOther,
    /// It runs beside the others.
    AllowAll,
}

impl Overlap {
    /// Each with its name in manifests.
    pub const ALL: [(&str, Self); 6] = [
        ("skip", Self::Skip),
        ("buffer_one", Self::BufferOne),
        ("buffer_all", Self::BufferAll),
        ("cancel_other", Self::CancelOther),
        ("terminate_other", Self::TerminateOther),
        ("allow_all", Self::AllowAll),
    ];
}
