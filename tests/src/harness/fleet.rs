//! A broker, coordinators and workers, each a process of its own.

use std::process::Command;
use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::tokens::{Tokens, Wanted};
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{Namespace, Principal, Role};
use serde_json::Value;

use super::api::Api;
use super::binary::{kapelle, scripted_worker};
use super::client::Cli;
use super::lab::Lab;
use super::wait::{PATIENCE, eventually};

/// A free port of one's own choosing.
const ANY: &str = "127.0.0.1:0";

/// One coordinator of a fleet.
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// Its process in the lab.
    pub name: String,
    /// Its id among the coordinators.
    pub id: String,
    /// Where its gRPC API is.
    pub address: String,
    /// Where its metrics are.
    pub metrics: String,
}

/// One worker of a fleet.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its process in the lab.
    pub name: String,
    /// Where its metrics are.
    pub metrics: String,
}

/// A running fleet. Dropping it ends everything.
#[derive(Debug)]
pub struct Fleet {
    /// The processes and their logs.
    pub lab: Lab, // before the broker: what is connected leaves first
    /// The broker.
    pub broker: TestServer,
    /// The API of all coordinators.
    pub api: Api,
    /// The token that tests call with: an administrator's that sees payloads. Empty until there is a coordinator.
    pub token: String,
    /// Those that run.
    pub coordinators: Vec<Coordinator>,
    /// Those that run.
    pub workers: Vec<Worker>,
}

impl Fleet {
    /// Starts a broker and so many coordinators.
    pub async fn start(coordinators: usize) -> Self {
        let _built = kapelle(); // before anything waits for it
        let broker = TestServer::start().await;
        let (lab, api) = (Lab::new(), Api::default());
        let mut fleet = Self { lab, broker, api, token: String::new(), coordinators: Vec::new(), workers: Vec::new() };
        for _ in 0..coordinators {
            fleet.start_coordinator().await;
        }
        fleet
    }

    /// Starts one more coordinator. The first provisions four partitions.
    pub async fn start_coordinator(&mut self) -> Coordinator {
        let url = self.broker.url();
        let arguments = ["coordinator", "start", "--nats-url", &url, "--partitions", "4"];
        let ports = ["--grpc-address", ANY, "--metrics-address", ANY];
        let (name, ready) = self.lab.start_role("coordinator", &[&arguments[..], &ports].concat()).await;
        let text = |key: &str| ready[key].as_str().expect("the line says where it listens").to_owned();
        let coordinator =
            Coordinator { name, id: text("id"), address: text("grpc_address"), metrics: text("metrics_address") };
        if self.token.is_empty() {
            self.token = token(&self.bus().await, &[Role::Admin], true).await;
            self.api.show(&self.token);
        }
        self.api.add(&coordinator.address);
        self.coordinators.push(coordinator.clone());
        coordinator
    }

    /// Starts one more worker for the scripted agent.
    pub async fn start_worker(&mut self, slots: usize) -> Worker {
        let mut command = Command::new(scripted_worker());
        command.args([&self.broker.url(), &slots.to_string(), ANY]);
        let (name, ready) = self.lab.start("worker", &mut command).await;
        let metrics = ready["metrics_address"].as_str().expect("the line says where it listens").to_owned();
        let worker = Worker { name, metrics };
        self.workers.push(worker.clone());
        worker
    }

    /// `kill -9` of the first of the workers.
    pub fn kill_worker(&mut self) {
        let worker = self.workers.remove(0);
        self.lab.process(&worker.name).kill9();
    }

    /// `kill -9` of the first of the coordinators.
    pub fn kill_coordinator(&mut self) {
        let coordinator = self.coordinators.remove(0);
        self.lab.process(&coordinator.name).kill9();
        self.api.remove(&coordinator.address);
    }

    /// Registers manifests.
    pub async fn register(&self, manifests: &[Value]) {
        register(&self.api, manifests).await;
    }

    /// The client commands against the first coordinator.
    #[must_use]
    pub fn cli(&self) -> Cli {
        self.cli_at(&self.coordinators[0].address)
    }

    /// The client commands against one of the coordinators.
    #[must_use]
    pub fn cli_at(&self, address: &str) -> Cli {
        self.lab.cli(address).with_token(&self.token)
    }

    /// A connection of the test's own.
    pub async fn bus(&self) -> Bus {
        bus(&self.broker.url()).await
    }

    /// Ends everything in order. Every process has to end well, and none may have panicked.
    pub async fn stop(mut self) {
        self.api.close(); // a coordinator waits a while for clients that stay
        let workers = self.workers.iter().map(|w| w.name.clone()).collect::<Vec<_>>();
        let coordinators = self.coordinators.iter().map(|c| c.name.clone()).collect();
        for names in [workers, coordinators] {
            names.iter().for_each(|name| self.lab.process(name).ask_to_end());
            for name in names {
                let status = self.lab.process(&name).end(Duration::from_secs(60)).await;
                assert!(status.success(), "{name} ends with {status}");
            }
        }
        self.lab.assert_no_panic();
        self.broker.stop().await;
    }
}

/// Connects to a provisioned broker.
///
/// # Panics
/// If it does not answer.
pub async fn bus(url: &str) -> Bus {
    let config = ConnectConfig { url: url.to_owned(), name: "e2e".into(), ..ConnectConfig::default() };
    let connection = Connection::open(&config, PATIENCE).await.expect("the broker answers");
    eventually("the broker is provisioned", || async { Bus::open(connection.clone()).await.ok() }).await
}

/// Makes a token straight at the broker, as whoever holds its credentials can.
///
/// # Panics
/// If it cannot be made.
pub async fn token(bus: &Bus, roles: &[Role], sees_payloads: bool) -> String {
    let wanted = Wanted {
        name: "e2e".parse().expect("a name"),
        roles: roles.iter().copied().collect(),
        namespace: Namespace::default(),
        sees_payloads,
        person: None,
        life: Duration::from_secs(24 * 3600),
        created_by: Principal("e2e".into()),
    };
    let tokens = Tokens::open(bus).await.expect("the bucket is provisioned");
    let (secret, _) = tokens.create(wanted, clock::now()).await.expect("a token can be made");
    secret.reveal().to_owned()
}

/// Registers manifests and waits until they can be used.
pub async fn register(api: &Api, manifests: &[Value]) {
    let source = |m: &Value| v1::ManifestSource { json: m.to_string().into(), origin: String::new() };
    let request = v1::ApplyRequest { manifests: manifests.iter().map(source).collect(), ..Default::default() };
    eventually("the manifests are registered", || async {
        api.registry().apply(request.clone()).await.inspect_err(|e| println!("apply: {e}")).ok()
    })
    .await;
}
