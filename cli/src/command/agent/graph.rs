//! The declared graph of what is registered, or of what lies in files.

use std::path::PathBuf;
use std::sync::Arc;

use kapelle_manifest::{Graph, Manifest};

use crate::client::Client;
use crate::failure::Failure;
use crate::manifests;

/// Of everything that is registered and in use.
pub(crate) async fn registered(client: &Client) -> Result<Graph, Failure> {
    let retired = manifests::registered::retired(client).await?;
    let mut all = manifests::registered::all(client).await?;
    all.retain(|it| !matches!(it, Manifest::Agent(agent) if retired.contains(&agent.version())));
    Ok(of(all).with_current(manifests::registered::current(client).await?))
}

/// Of these files and of nothing else.
pub(crate) fn of_files(files: &[PathBuf]) -> Result<Graph, Failure> {
    let found = manifests::read(files)?;
    Ok(of(found.into_iter().map(|it| it.sourced.manifest)))
}

fn of(manifests: impl IntoIterator<Item = Manifest>) -> Graph {
    let (mut agents, mut workflows) = (Vec::new(), Vec::new());
    for manifest in manifests {
        match manifest {
            Manifest::Agent(agent) => agents.push(Arc::new(agent)),
            Manifest::Workflow(workflow) => workflows.push(Arc::new(workflow)),
        }
    }
    Graph::of(agents, workflows)
}
