//! What a native agent is written against: one trait, its task and its answer.
//!
//! An agent takes a task's JSON input and returns a JSON output or a coded error. Queues, retries, leases, payload limits
//! and the run log are the worker's business (`kapelle-worker`); nothing of them shows here.
//!
//! ```text
//!   worker ──Task{input, attempt, deadline, …}──▶ Agent::run ──Output{value, usage} | AgentError{code, …}──▶ worker
//! ```
//!
//! An agent may be called twice for the same step: a worker can die after the work and before its report. Whatever
//! an agent does outside itself it does under [`Task::idempotency_key`], which is the same for every attempt.
//!
//! ```
//! use kapelle_sdk::{Agent, AgentError, Output, Task, async_trait};
//! use serde_json::json;
//!
//! /// Counts the words of `input.text`.
//! struct WordCount;
//!
//! #[async_trait]
//! impl Agent for WordCount {
//!     async fn run(&self, task: Task) -> Result<Output, AgentError> {
//!         let text = task.input["text"].as_str().ok_or_else(|| AgentError::new("bad_input", "`text` is missing"))?;
//!         Ok(Output::new(json!({ "words": text.split_whitespace().count() })))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let output = WordCount.run(Task::of(json!({ "text": "now they play together" }))).await.unwrap();
//! assert_eq!(output.value, json!({ "words": 4 }));
//! # });
//! ```

mod agent;
mod error;
mod output;
mod progress;
mod task;

pub use agent::Agent;
pub use async_trait::async_trait;
pub use error::AgentError;
pub use output::{Output, Usage};
pub use progress::{Progress, Update};
pub use task::Task;
