//! From an agent's manifest to what a worker runs.

use std::path::{Path, PathBuf};

use kapelle_manifest::{Agent, Process, Protocol, Resources, Runtime};
use kapelle_worker::{Access, AgentSpec, Limits, ModelSpec, ProcessSpec, RuntimeSpec};

/// What a worker on this machine runs for the agent; `None` for one that is code in somebody's own worker.
pub(crate) fn spec(agent: &Agent, folder: &Path) -> Option<AgentSpec> {
    let runtime = match &agent.spec.runtime {
        Runtime::Native {} => return None,
        Runtime::Process(it) => RuntimeSpec::Process(process(it, &agent.spec.access, folder)),
        Runtime::Model(_) => RuntimeSpec::Model(Box::new(ModelSpec::of(&agent.spec)?)),
    };
    Some(AgentSpec::new(agent.version(), runtime))
}

fn process(process: &Process, granted: &kapelle_manifest::Access, folder: &Path) -> ProcessSpec {
    let protocol = match process.protocol {
        Protocol::Jsonl => kapelle_worker::Protocol::Jsonl,
        Protocol::Once => kapelle_worker::Protocol::Once,
    };
    ProcessSpec {
        command: process.command.clone(),
        dir: folder.to_owned(),
        protocol,
        access: access(granted),
        limits: limits(&process.limits),
    }
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
