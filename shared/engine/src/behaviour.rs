//! The behaviour table: what the engine decides is numbered, and a run keeps the number it was submitted under.
//!
//! | number | since | what it decides differently from the one before |
//! |---|---|---|
//! | 1 | 0.1.0 | the first: the rules as the files under `apply/` have them |
//! | 2 | 0.2.0 | contracts are checked where a step is dispatched, reports and the run ends; reports need the token of their task where the submission names a key; the limits of agents hold for payloads, usage and cost; there are steps of other kinds than an agent's, and signals; a fork keeps what steps of another run came to; runs do compensations and other last steps before they end |
//!
//! A change that alters a decision for any log that a released version could have written takes the next number, keeps
//! the old branch for runs below it, and adds a recorded history to the replay tests.

/// The behaviour that new runs are submitted under.
pub const CURRENT: u32 = 2;

/// The first behaviour that checks contracts beyond the run's input.
pub const CONTRACTS: u32 = 2;
/// The first behaviour that checks the tokens of reports: a submission below it names no key.
pub const TOKENS: u32 = 2;
/// The first behaviour that keeps what steps of another run came to.
pub const KEPT: u32 = 2;

/// The first behaviour that knows limits of payloads, usage and cost.
pub(crate) const LIMITS: u32 = 2;

/// The first behaviour with signals, of which more ids are remembered than of other requests.
pub(crate) const SIGNALS: u32 = 2;

/// Whether this engine can decide runs of that behaviour. A coordinator that meets another one lets the partition go;
/// an engine that is given such a run all the same halts it with a reason.
#[must_use]
pub const fn knows(behaviour: u32) -> bool {
    behaviour >= 1 && behaviour <= CURRENT
}
