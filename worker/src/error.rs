//! Why a worker does not start or does not take an agent.

/// A worker that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// An agent cannot be kept to its access, or its secrets are not here; with its code and what to do.
    #[error("{}", .0.message)]
    Refused(kapelle_types::Diagnosis),
    /// The broker does not let us pull.
    #[error("cannot pull tasks: {0}")]
    Broker(#[from] kapelle_bus::Error),
    /// The worker is draining and takes nothing new.
    #[error("the worker is draining")]
    Draining,
}
