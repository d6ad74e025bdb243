//! Agents that are language models: chat completions over HTTP, as OpenAI and everybody who is compatible has them.
//!
//! ```text
//!   input ──prompts──▶ conversation ──a start of the model's rate──▶ web ──▶ the model's server
//!                        ▲   │ ├──usage──▶ meter                      │
//!                        │   │ └──words──▶ whoever reads along        │
//!                        │   ├── it calls tools ──▶ tools ──▶ web ──▶ hosts that are granted
//!                        └───┤       results, bounded
//!                            ├── its answer breaks the contract ──▶ it is told, and asked again
//!                            └── its answer keeps it ──▶ the output
//! ```
//!
//! The worker itself makes these requests, so it holds them to the agent's access: hosts by name and port, nothing that a
//! public name leads to inside a private network, no redirects. A request that fails is not repeated here: the failure
//! says whether and when another attempt makes sense, and the step's retry policy decides. What the model writes is told while
//! it is written, before it is checked, and kept by nobody.

mod answer;
mod chat;
mod conversation;
mod refusal;
mod stream;
mod tools;
mod turns;
mod web;
mod words;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kapelle_bus::Bus;
use kapelle_engine::Failure;
use kapelle_manifest::Model;
use kapelle_types::{AgentVersion, Code, Diagnosis, Host, Usd};
use serde_json::Value;

use super::Attempt;
use crate::config::{Config, ModelSpec};
use crate::failure;
use crate::secrets::Secrets;
use answer::Wanted;
use conversation::Conversation;
use tools::Tools;
use turns::Turns;
use web::Web;

/// Asks the model of one agent version.
pub(crate) struct Runtime {
    version: AgentVersion,
    model: Model,
    wanted: Wanted,
    tools: Tools,
    turns: Option<Turns>,
    web: Arc<Web>,
    secrets: Arc<Secrets>,
    /// Where its words are told.
    bus: Bus,
    /// Whether its server takes the limit of tokens as `max_completion_tokens`: it said so.
    newer_limit: AtomicBool,
    /// What one task may cost.
    cost_max: Option<Usd>,
}

impl Runtime {
    /// # Errors
    /// The agent reaches what it is not granted, its secrets are missing, or its schemas are none.
    pub(super) fn new(spec: ModelSpec, version: AgentVersion, config: &Config, bus: &Bus) -> Result<Self, Diagnosis> {
        let ModelSpec { model, access, output, cost_per_run } = spec;
        for url in std::iter::once(&model.endpoint).chain(model.tools.iter().map(|tool| &tool.http.url)) {
            if !access.hosts.contains(url.host()) {
                return Err(denied(&version, url.host()));
            }
        }
        let secrets = Arc::new(Secrets::find(&access.secrets, config.secrets_dir.as_deref(), &config.environment)?);
        let web = Arc::new(Web::new(&access.hosts, &model)?);
        let tools = Tools::new(&model.tools, &access.tools, &version, Arc::clone(&web), Arc::clone(&secrets))?;
        let turns = model.rate.map(|rate| Turns::new(bus, &version, &model, rate));
        let wanted = Wanted::new(&output)?;
        let keys = model.api_key.iter().chain(model.tools.iter().filter_map(|tool| tool.http.bearer.as_ref()));
        if let Some(key) = keys.into_iter().find(|key| secrets.value(&key.secret).is_none()) {
            let message = format!("{version} uses the secret `{}`, and its access does not name it.", key.secret);
            return Err(Diagnosis::new(Code::MODEL_SECRET, message).hint("Add it to `access.secrets` of its manifest."));
        }
        let newer_limit = AtomicBool::new(false);
        let bus = bus.clone();
        Ok(Self { version, model, wanted, tools, turns, web, secrets, bus, newer_limit, cost_max: cost_per_run })
    }

    pub(super) async fn run(&self, attempt: Attempt<'_>, input: &Value) -> Result<Value, Failure> {
        let conversation = Box::pin(Conversation::of(self, attempt, input)?.run());
        let ended = tokio::time::timeout_at(attempt.ends_at, conversation).await;
        let output = ended.map_err(|_| failure::timeout(attempt.limit))??;
        if let Some(name) = self.secrets.found_in(&output) {
            let message = format!("the output holds the secret `{name}`, so nothing of it is recorded");
            return Err(failure::permanent(Code::SECRET_IN_OUTPUT, message));
        }
        Ok(output)
    }
}

fn denied(version: &AgentVersion, host: &Host) -> Diagnosis {
    tracing::warn!(agent = %version, %host, "denied: the agent's access does not name the host");
    let message = format!("{version} reaches `{host}`, and its access does not name it.");
    Diagnosis::new(Code::HOST_DENIED, message).hint("Add the host to `access.hosts` of its manifest.")
}
