//! The one trait that an agent implements.

use async_trait::async_trait;

use crate::{AgentError, Output, Task};

/// A declared capability that does work. One value serves all tasks of its version, many at once.
#[async_trait]
pub trait Agent: Send + Sync {
    /// Does one attempt of one step.
    ///
    /// The future is dropped when the task's timeout is over. Work that blocks its thread belongs into
    /// `tokio::task::spawn_blocking`: nothing can stop it otherwise, and it holds up the worker. A panic fails the attempt
    /// (K0409), which is then tried again.
    ///
    /// # Errors
    /// What the agent says went wrong; `retryable` decides whether another attempt is made.
    async fn run(&self, task: Task) -> Result<Output, AgentError>;
}
