//! Halting: why a run accepts nothing but its end.

use kapelle_types::Code;

use crate::entry::Failure;

/// Why a run accepts nothing but its end any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Its log is longer than `ENTRIES_MAX`.
    TooManyEntries,
    /// It was submitted under a behaviour that this engine does not know.
    UnknownBehaviour(u32),
    /// The plan is not the one that the submission names, or could not end.
    PlanMismatch,
    /// The submission names a signing key and the run was given none, or the other way round.
    KeyMismatch,
    /// What the submission keeps of another run does not fit the plan, or is gone.
    KeptMismatch,
}

impl Halt {
    pub(super) fn failure(self) -> Failure {
        let (code, message) = match self {
            Self::TooManyEntries => (
                Code::TOO_MANY_ENTRIES,
                "the run's log is longer than a run's may be; nothing more is dispatched, cancel it or fail it"
                    .to_owned(),
            ),
            Self::UnknownBehaviour(n) => (
                Code::PLAN_MISSING,
                format!(
                    "the run was submitted under behaviour {n}, this version knows 1 to {}",
                    crate::behaviour::CURRENT
                ),
            ),
            Self::PlanMismatch => (
                Code::PLAN_MISSING,
                "the plan that was loaded is not the one that the run was submitted with".to_owned(),
            ),
            Self::KeptMismatch => (
                Code::PLAN_MISSING,
                "what the run keeps of the one that it is a fork of is gone or does not fit".to_owned(),
            ),
            Self::KeyMismatch => {
                (Code::PLAN_MISSING, "the signing key of the run is not the one that it was submitted with".to_owned())
            }
        };
        Failure::of_run(code, message)
    }
}
