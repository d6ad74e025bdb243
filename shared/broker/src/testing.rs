//! A real nats-server per test: own store, own port, gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Binary, Config, Durability, Server};

/// A server on a temporary folder. Every method panics with the reason when it cannot do what it says.
#[derive(Debug)]
pub struct TestServer {
    server: Server, // before the folder: fields drop in order, and the child must be gone before its store is
    folder: TempDir,
}

#[allow(clippy::expect_used, reason = "test support: a test without its broker has failed, and says why")]
impl TestServer {
    /// Finds a binary, starts it with [`Durability::Standard`] on a free port and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(Durability::Standard).await
    }

    /// The same with a sync policy of one's choice.
    pub async fn start_with(durability: Durability) -> Self {
        let binary = Binary::find(None, None).await.expect("a nats-server can be found or fetched");
        let folder = tempfile::Builder::new().prefix("kapelle-nats-").tempdir().expect("a temporary folder");
        let config = Config { durability, name: "test".into(), own_group: false, ..Config::new(binary, folder.path()) };
        let server = Server::start(config).await.expect("the test broker starts");
        Self { server, folder }
    }

    /// Where clients connect. It stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The child's process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server as an operator does.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// Kills the server with SIGKILL and waits until it is gone. [`TestServer::restart`] brings it back.
    pub async fn kill9(&mut self) {
        self.server.kill().await;
    }

    /// Stops the server if it runs, and starts it again on the same port and store.
    pub async fn restart(&mut self) {
        self.server.restart().await.expect("the test broker starts again");
    }

    /// Removes the files of one stream, as a lost disk does. The server must be down.
    pub fn delete_stream_store(&self, stream: &str) {
        assert!(self.pid().is_none(), "stop or kill the server before its files are removed");
        fs::remove_dir_all(self.stream_store(stream)).expect("the stream's folder can be removed");
    }

    /// The folder that holds the files of one stream.
    #[must_use]
    pub fn stream_store(&self, stream: &str) -> PathBuf {
        self.data_dir().join("jetstream/$G/streams").join(stream)
    }
}
