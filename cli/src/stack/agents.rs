//! Runs what is applied: every model agent in the registry, and every process agent whose folder is on this machine, is served
//! by our worker.

use std::path::Path;
use std::time::Duration;

use kapelle_bus::registry::{Kind, News, Registered, Registry};
use kapelle_bus::{Bus, Error};
use kapelle_manifest::Manifest;
use kapelle_worker::{AgentSpec, Handle, RuntimeSpec};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::manifests;

/// How long to wait before the registry is watched again.
const AGAIN: Duration = Duration::from_millis(500);

/// The worker with whoever brings it its agents.
pub(crate) struct Agents {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Handle>,
}

impl Agents {
    /// Serves what is registered and what will be.
    pub(crate) fn serve(worker: Handle, bus: Bus) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let watched = async {
                    if let Err(error) = watch(&worker, &bus).await {
                        tracing::debug!(%error, "the registry cannot be watched right now");
                    }
                    sleep(AGAIN).await;
                };
                tokio::select! {
                    _ = &mut stopped => return worker,
                    () = watched => {}
                }
            }
        });
        Self { stop, task }
    }

    /// Takes no further agents; gives the worker back, to be drained.
    pub(crate) async fn stop(self) -> Option<Handle> {
        let _ = self.stop.send(()); // it fails only if the task has ended
        self.task.await.ok()
    }
}

/// Until the watch breaks off. What is served already stays as it is: versions are immutable.
async fn watch(worker: &Handle, bus: &Bus) -> Result<(), Error> {
    let mut changes = Registry::open(bus).await?.watch().await?;
    while let Some(change) = changes.recv().await {
        match change.news {
            News::Registered(record) if record.kind == Kind::Agent => take(worker, &record).await,
            News::Registered(_)
            | News::Standing(..)
            | News::Deprecation(..)
            | News::Release(..)
            | News::Other
            | News::CaughtUp => {}
        }
    }
    Ok(())
}

async fn take(worker: &Handle, record: &Registered) {
    let agent = format!("{}@{}", record.name, record.version);
    let manifest = match serde_json::from_value(record.manifest.clone()) {
        Ok(Manifest::Agent(manifest)) => manifest,
        Ok(Manifest::Workflow(_)) => return,
        Err(error) => return tracing::warn!(agent, %error, "the registered manifest cannot be read"),
    };
    let folder = Path::new(&record.origin);
    let Some(spec) = manifests::spec(&manifest, folder) else {
        return tracing::debug!(agent, "a native agent: a worker of one's own serves it");
    };
    let needs_folder = matches!(spec.runtime, RuntimeSpec::Process(_));
    if needs_folder && (record.origin.is_empty() || !folder.is_dir()) {
        return tracing::warn!(agent, folder = record.origin, "not served here: its folder is not on this machine");
    }
    let version = spec.version.clone();
    match worker.add_agent(spec).await {
        Ok(_) => {}
        // There is no other worker here: a run that waits for one would never say why.
        Err(kapelle_worker::Error::Refused(why)) => {
            tracing::warn!(agent, code = %why.code, error = why.message, hint = why.hint, "the agent fails until that is mended");
            let refused = AgentSpec::new(version, RuntimeSpec::Refused(why));
            if let Err(error) = worker.add_agent(refused).await {
                tracing::warn!(agent, %error, "the agent cannot be served");
            }
        }
        Err(error) => tracing::warn!(agent, %error, "the agent cannot be served"),
    }
}
