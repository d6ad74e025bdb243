//! The broker child: started, watched, started again on the same port and store if it dies, stopped.

use std::path::PathBuf;
use std::time::Duration;

use kapelle_broker::{Binary, Config, Durability, Error, Server};
use kapelle_retry::{Delays, Policy};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::ports;
use crate::failure::Failure;

/// How to start the child.
#[derive(Debug, Clone)]
pub(crate) struct Embedded {
    /// The folder that its store lies in.
    pub(crate) folder: PathBuf,
    /// Its port on 127.0.0.1; `None` takes a free one.
    pub(crate) port: Option<u16>,
    /// What survives a power cut.
    pub(crate) durability: Durability,
    /// The nats-server to run; `None` finds one.
    pub(crate) binary: Option<PathBuf>,
}

/// The child and who watches it. Dropping it kills the child, which loses nothing that was acknowledged.
#[derive(Debug)]
pub(crate) struct Broker {
    url: String,
    version: semver::Version,
    stop: oneshot::Sender<()>,
    watcher: JoinHandle<()>,
}

impl Embedded {
    /// Finds a nats-server, starts it and watches it.
    pub(crate) async fn start(self) -> Result<Broker, Failure> {
        let binary = Binary::find(self.binary.as_deref(), None).await?;
        let version = binary.version.clone();
        let config = Config { port: self.port, durability: self.durability, ..Config::new(binary, self.folder) };
        let server = Server::start(config).await.map_err(|error| match error {
            Error::PortTaken { port } => ports::taken_nats(port),
            other => other.into(),
        })?;
        let (stop, stopped) = oneshot::channel();
        Ok(Broker { url: server.url(), version, stop, watcher: tokio::spawn(watch(server, stopped)) })
    }
}

impl Broker {
    /// Where clients connect; it stays the same when the child is started again.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The version of nats-server.
    pub(crate) fn version(&self) -> String {
        self.version.to_string()
    }

    /// Lets the child close its store.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(()); // it fails only if the watcher has ended
        let _ = self.watcher.await;
    }
}

/// Starts the child again whenever it ends by itself, until it is asked to stop.
async fn watch(mut server: Server, mut stopped: oneshot::Receiver<()>) {
    let policy = Policy { initial: Duration::from_millis(200), total: None, ..Policy::default() };
    let mut delays = Delays::new(&policy);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            ended = server.exited() => {
                let status = ended.map_or_else(|e| e.to_string(), |s| s.to_string());
                tracing::warn!(status, port = server.port(), "nats-server ended by itself; starting it again");
            }
        }
        delays.reset();
        while let Err(error) = server.restart().await {
            tracing::error!(code = %error.code(), %error, "nats-server does not start again; trying on");
            tokio::select! {
                _ = &mut stopped => return,
                () = sleep(delays.next()) => {}
            }
        }
        tracing::info!(url = server.url(), "nats-server is back, on the same port and store");
    }
    server.stop().await;
}
