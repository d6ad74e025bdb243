//! In-process retry of IO: dialling the broker or a coordinator, publishing while a leader is elected, calling out
//! inside one attempt of a step.
//!
//! It is the only crate that names `backoff`, and it takes nothing from it but the next interval: the loop is our own,
//! because the package's has four defects (its deadline can be passed, it builds an attempt before the delay, it reads
//! a clock that tests cannot pause, it adds jitter after the cap). The tests show that none of them is here.
//!
//! Never use it for the retries of steps: their delay is a function of policy, attempt and seed, is counted in the run
//! log and survives this process (`kapelle_types::RetryPolicy`; the rule stands in `shared/engine/src/apply/step_failed.rs`).

mod delays;
mod policy;
mod retry;

pub use delays::Delays;
pub use policy::Policy;
pub use retry::{GaveUp, Reason, Verdict, retry};
