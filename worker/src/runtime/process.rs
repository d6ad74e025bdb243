//! Agents that are programs: JSON lines on stdin and stdout, stderr as their log (DESIGN section 10).
//!
//! ```text
//!   pool of idle children ──▶ task line on stdin ──▶ progress lines, one answer on stdout ──▶ back to the pool
//!                                   └── crash, silence, garbage, oversize: named, evidence kept, child replaced
//! ```
//!
//! `jsonl`: a child does one task after the other and there are as many as tasks at once. `once`: a child a task.
//! Children are started when they are first needed, in the manifest's folder, through the sandbox, in a process group of
//! their own that is killed as a whole. What they write leaves here without the secrets that they were given.

mod broken;
mod child;
mod line;
mod message;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kapelle_engine::Failure;
use kapelle_types::{AgentVersion, Diagnosis};
use serde_json::Value;

use super::Attempt;
use crate::config::{Config, ProcessSpec, Protocol};
use crate::failure;
use crate::sandbox::Cage;
use crate::secrets::Secrets;
use broken::Broken;
use child::{Child, Exchange};

/// Runs the program of one agent version.
pub(crate) struct Runtime {
    version: AgentVersion,
    launch: Launch,
    idle: Mutex<Vec<Child>>,
}

/// What every child of an agent is started with.
pub(crate) struct Launch {
    spec: ProcessSpec,
    /// `once` adds the facts of its task.
    environment: BTreeMap<String, OsString>,
    secrets: Arc<Secrets>,
    /// `None` if the sandbox is off.
    cage: Option<Cage>,
    /// Where each child gets a folder of its own.
    temp_dir: PathBuf,
}

impl Runtime {
    /// # Errors
    /// The agent cannot be kept to its access here, or its secrets are missing.
    pub(super) fn new(spec: ProcessSpec, version: AgentVersion, config: &Config) -> Result<Self, Diagnosis> {
        let mut environment = config.environment.of(&spec.access.env);
        let facts = [
            ("AGENT", version.name.to_string()),
            ("VERSION", version.version.to_string()),
            ("WORKER", config.id.clone()),
        ];
        environment.extend(facts.map(|(name, value)| (format!("KAPELLE_{name}"), value.into())));
        let secrets = Secrets::find(&spec.access.secrets, config.secrets_dir.as_deref(), &config.environment)?;
        let cage = Cage::of(&spec, &config.sandbox, &config.folders, &config.environment)?;
        let temp_dir = config.temp_dir.clone();
        let launch = Launch { spec, environment, secrets: Arc::new(secrets), cage, temp_dir };
        Ok(Self { version, launch, idle: Mutex::default() })
    }

    pub(super) async fn run(&self, attempt: Attempt<'_>, input: &Value) -> Result<Value, Failure> {
        let request = message::Request::new(attempt, &self.version, input);
        let protocol = self.launch.spec.protocol;
        let mut child = match protocol {
            Protocol::Jsonl => self.idle_child().map_or_else(|| self.launch.start([]), Ok)?,
            Protocol::Once => self.launch.start(request.facts())?,
        };
        let exchange = child.exchange(&request, attempt.meter, protocol == Protocol::Once);
        match tokio::time::timeout_at(attempt.ends_at, exchange).await {
            Ok(Ok(Exchange { reply, reusable })) => {
                match protocol {
                    Protocol::Jsonl if reusable => self.idle().push(child),
                    Protocol::Jsonl => {}
                    Protocol::Once => child.end().await,
                }
                reply.into_answer(&self.launch.secrets)
            }
            Ok(Err(broken)) => Err(child.autopsy(broken, &self.launch).await),
            Err(_) => {
                let evidence = child.kill().await;
                Err(failure::with_evidence(failure::timeout(attempt.limit), &evidence))
            }
        }
    }

    /// An idle child that has not ended meanwhile, with the words of its earlier tasks forgotten.
    fn idle_child(&self) -> Option<Child> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find_map(|mut child| child.is_ready().then_some(child))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Child>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Launch {
    fn start(&self, facts: impl IntoIterator<Item = (String, OsString)>) -> Result<Child, Failure> {
        Child::start(self, facts).map_err(|error| Broken::Start(error.to_string()).into_failure(self, None, ""))
    }
}
