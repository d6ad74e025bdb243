//! What an expression can see.

use kapelle_types::{Payload, StepId, Timestamp};

/// The values of a run that an expression may refer to. The engine implements it over its state.
///
/// Only what an expression refers to is asked for.
pub trait Scope {
    /// The run's input.
    fn input(&self) -> Payload;
    /// The output of a step that is not a `foreach`; `None` while there is none.
    fn output(&self, step: &StepId) -> Option<Payload>;
    /// The outputs of a `foreach` step, a list in item order; `None` while there is none.
    fn outputs(&self, step: &StepId) -> Option<Payload>;
    /// The state of a step in upper case; `None` for a step that is not there.
    fn status(&self, step: &StepId) -> Option<&'static str>;
    /// The item of this member of a `foreach`.
    fn item(&self) -> Option<Payload>;
    /// The index of this member of a `foreach`.
    fn index(&self) -> Option<u32>;
    /// What the round of a step that is repeated has just given.
    fn given(&self) -> Option<Payload>;
    /// What the round before gave: null in the first round, `None` if the step is not repeated.
    fn last(&self) -> Option<Payload>;
    /// The round of a step that is repeated, from 0.
    fn round(&self) -> Option<u32>;
    /// Why the run is to end, as code and message; `None` while it is not, or if nothing went wrong.
    fn error(&self) -> Option<(&str, &str)>;
    /// The run's id.
    fn run_id(&self) -> String;
    /// When the run was submitted.
    fn started_at(&self) -> Timestamp;
}
