//! From an agent's manifest to what a worker runs.

use std::path::{Path, PathBuf};

use kapelle_manifest::{Agent, Protocol, Resources, Runtime};
use kapelle_types::AgentVersion;
use kapelle_worker::{Access, AgentSpec, Limits, ProcessSpec, RuntimeSpec};

/// What a worker on this machine runs for the agent; `None` for one that is code in somebody's own worker.
pub(crate) fn spec(agent: &Agent, folder: &Path) -> Option<AgentSpec> {
    let Runtime::Process(process) = &agent.spec.runtime else { return None };
    let protocol = match process.protocol {
        Protocol::Jsonl => kapelle_worker::Protocol::Jsonl,
        Protocol::Once => kapelle_worker::Protocol::Once,
    };
    let version = AgentVersion { name: agent.metadata.name.clone(), version: agent.metadata.version.clone() };
    let process = ProcessSpec {
        command: process.command.clone(),
        dir: folder.to_owned(),
        protocol,
        access: access(&agent.spec.access),
        limits: limits(&process.limits),
    };
    Some(AgentSpec::new(version, RuntimeSpec::Process(process)))
}

fn access(it: &kapelle_manifest::Access) -> Access {
    Access {
        read: it.files.read.iter().map(PathBuf::from).collect(),
        write: it.files.write.iter().map(PathBuf::from).collect(),
        read_folders: it.folders.read.clone(),
        write_folders: it.folders.write.clone(),
        connect: it.network.connect.clone(),
        env: it.env.clone(),
        secrets: it.secrets.clone(),
    }
}

/// What the manifest names; the worker's own defaults for the rest.
fn limits(it: &Resources) -> Limits {
    let default = Limits::default();
    Limits {
        memory_bytes: it.memory_bytes.unwrap_or(default.memory_bytes),
        cpu_seconds: it.cpu.map(|cpu| cpu.as_secs()),
        files: it.files.unwrap_or(default.files),
        file_size_bytes: it.file_size_bytes.unwrap_or(default.file_size_bytes),
    }
}
