//! Why a worker does not start or does not take an agent.

/// A worker that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
    /// The broker does not let us pull.
    #[error("cannot pull tasks: {0}")]
    Broker(#[from] kapelle_bus::Error),
    /// The worker is draining and takes nothing new.
    #[error("the worker is draining")]
    Draining,
}
