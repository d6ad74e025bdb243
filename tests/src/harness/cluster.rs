//! Three nats-servers that are one broker, each a process that can be killed and brought back.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use async_nats::jetstream::stream;
use kapelle_broker::Binary;
use kapelle_bus::{Bus, ConnectConfig, Connection};
use tempfile::TempDir;

use super::process::Process;
use super::wait::{PATIENCE, eventually};

/// Nodes of a cluster: as many as there are copies of everything.
pub const NODES: usize = 3;

/// Ports to pick from.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// A running cluster. Dropping it ends it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>, // before the folder: the processes must be gone before their stores are
    folder: TempDir,
    binary: Binary,
}

#[derive(Debug)]
struct Node {
    port: u16,
    route: u16,
    process: Option<Process>,
}

impl Cluster {
    /// Starts the nodes and waits until they have a leader among them.
    ///
    /// # Panics
    /// If there is no nats-server, or it does not come up.
    pub async fn start() -> Self {
        let binary = Binary::find(None, None).await.expect("a nats-server can be found or fetched");
        let folder = tempfile::Builder::new().prefix("kapelle-cluster-").tempdir().expect("a temporary folder");
        let ports = free_ports();
        let node = |two: &[u16]| Node { port: two[0], route: two[1], process: None };
        let mut cluster = Self { nodes: ports.chunks(2).map(node).collect(), folder, binary };
        for number in 0..NODES {
            cluster.bring_back(number);
        }
        let config = ConnectConfig { url: cluster.url(0), name: "e2e".into(), ..ConnectConfig::default() };
        let connection = Connection::open(&config, PATIENCE).await.expect("the cluster answers");
        eventually("the cluster has a leader", || async { connection.jetstream().query_account().await.ok() }).await;
        cluster
    }

    /// The addresses of all nodes, one of them first.
    #[must_use]
    pub fn url(&self, first: usize) -> String {
        let address = |n: usize| format!("nats://127.0.0.1:{}", self.nodes[n % NODES].port);
        (first..first + NODES).map(address).collect::<Vec<_>>().join(",")
    }

    /// `kill -9` of one node.
    ///
    /// # Panics
    /// If it is down already.
    pub fn kill9(&mut self, number: usize) {
        let mut process = self.nodes[number].process.take().expect("the node is up");
        assert!(!process.has_ended(), "node {number} ended by itself:\n{}", process.stderr());
        process.kill9();
    }

    /// Starts a node that is down, with the store that it had.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn bring_back(&mut self, number: usize) {
        let conf = self.folder.path().join(format!("{number}.conf"));
        std::fs::write(&conf, self.conf(number)).expect("a file can be written");
        let mut command = Command::new(&self.binary.path);
        command.arg("-c").arg(conf);
        self.nodes[number].process = Some(Process::start(self.folder.path(), &name(number), &mut command));
    }

    /// As `deploy/nats/cluster.conf` has it, but for passwords and sizes.
    fn conf(&self, number: usize) -> String {
        let Node { port, route, .. } = &self.nodes[number];
        let routes: Vec<String> = self.nodes.iter().map(|n| format!("\"nats://127.0.0.1:{}\"", n.route)).collect();
        format!(
            "server_name: \"{}\"\nlisten: \"127.0.0.1:{port}\"\n\
             cluster {{ name: kapelle, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n\
             jetstream {{ store_dir: \"{}/store-{number}\", sync_interval: always, \
             limits {{ default_max_consumers: -1 }} }}\n",
            name(number),
            routes.join(", "),
            self.folder.path().display(),
        )
    }

    /// The node that leads a stream.
    pub async fn leader(&self, bus: &Bus, stream: &str) -> usize {
        eventually(&format!("{stream} has a leader"), || async {
            let leader = self.info(bus, stream).await?.cluster?.leader?;
            (0..NODES).find(|n| name(*n) == leader)
        })
        .await
    }

    /// Waits until every node has all of these streams.
    pub async fn is_whole(&self, bus: &Bus, streams: &[String]) {
        for stream in streams {
            eventually(&format!("every node has all of {stream}"), || async {
                let cluster = self.info(bus, stream).await?.cluster?;
                let others = cluster.replicas;
                (cluster.leader.is_some()
                    && others.len() == NODES - 1
                    && others.iter().all(|r| r.current && !r.offline))
                .then_some(())
            })
            .await;
        }
    }

    async fn info(&self, bus: &Bus, stream: &str) -> Option<stream::Info> {
        Some(bus.jetstream().get_stream(stream).await.ok()?.cached_info().clone())
    }
}

/// What the nodes' logs say is what a failure is about.
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, process) in
                self.nodes.iter().enumerate().filter_map(|(n, node)| Some((n, node.process.as_ref()?)))
            {
                let log = process.stderr();
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                println!("---- {}\n{}", name(number), last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

/// Two ports for each node that nobody listens on, all held at once so that no two are the same. From below every system's
/// range for outgoing connections, so that no client's socket sits on one while its node is down.
fn free_ports() -> Vec<u16> {
    let from = rand::random::<u16>() % PORTS;
    let ports = (0..PORTS).map(|n| FIRST_PORT + (from + n) % PORTS);
    let bound = ports.filter_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)));
    let held: Vec<(u16, TcpListener)> = bound.take(2 * NODES).collect();
    held.iter().map(|(port, _)| *port).collect()
}
