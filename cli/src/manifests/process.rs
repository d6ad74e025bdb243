//! From an agent's manifest to what a worker runs.

use std::path::Path;

use kapelle_manifest::{Agent, Protocol, Runtime};
use kapelle_types::AgentVersion;
use kapelle_worker::{AgentSpec, ProcessSpec, RuntimeSpec};

/// What a worker on this machine runs for the agent; `None` for one that is code in somebody's own worker.
pub(crate) fn spec(agent: &Agent, folder: &Path) -> Option<AgentSpec> {
    let Runtime::Process(process) = &agent.spec.runtime else { return None };
    let protocol = match process.protocol {
        Protocol::Jsonl => kapelle_worker::Protocol::Jsonl,
        Protocol::Once => kapelle_worker::Protocol::Once,
    };
    let version = AgentVersion { name: agent.metadata.name.clone(), version: agent.metadata.version.clone() };
    let process = ProcessSpec { command: process.command.clone(), dir: folder.to_owned(), protocol };
    Some(AgentSpec::new(version, RuntimeSpec::Process(process)))
}
