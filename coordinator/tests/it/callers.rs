//! Coordinators that take no call without a credential, and callers of every kind.

use std::collections::BTreeSet;
use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::tokens::{Record, Tokens, Wanted};
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_coordinator::{Accepted, Config, Coordinator, Handle};
use kapelle_proto::v1::approval_service_client::ApprovalServiceClient;
use kapelle_proto::v1::audit_service_client::AuditServiceClient;
use kapelle_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use kapelle_proto::v1::policy_service_client::PolicyServiceClient;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::token_service_client::TokenServiceClient;
use kapelle_proto::v1::{ApplyRequest, AuditRecord, ListAuditRequest, ManifestSource};
use kapelle_telemetry::clock;
use kapelle_types::{Principal, Role};
use serde_json::{Value, json};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// The longest that any condition is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// A broker and coordinators that serve it.
pub(crate) struct Place {
    pub(crate) server: TestServer,
    pub(crate) bus: Bus,
    coordinators: Vec<Handle>,
    config: Config,
}

/// A connection that shows one credential.
pub(crate) type Shown = InterceptedService<Channel, Bearer>;

/// Puts the credential into every call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A client with one credential at one coordinator.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) Shown);

impl Client {
    pub(crate) fn runs(&self) -> RunServiceClient<Shown> {
        RunServiceClient::new(self.0.clone())
    }

    pub(crate) fn tokens(&self) -> TokenServiceClient<Shown> {
        TokenServiceClient::new(self.0.clone())
    }

    pub(crate) fn dead_letters(&self) -> DeadLetterServiceClient<Shown> {
        DeadLetterServiceClient::new(self.0.clone())
    }

    pub(crate) fn policies(&self) -> PolicyServiceClient<Shown> {
        PolicyServiceClient::new(self.0.clone())
    }

    pub(crate) fn approvals(&self) -> ApprovalServiceClient<Shown> {
        ApprovalServiceClient::new(self.0.clone())
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Shown> {
        AuditServiceClient::new(self.0.clone())
    }

    /// Everything on record, in order.
    pub(crate) async fn trail(&self) -> Vec<AuditRecord> {
        let all = self.audit().list(ListAuditRequest { limit: 1_000, ..Default::default() }).await.unwrap();
        all.into_inner().entries.into_iter().filter_map(|entry| entry.record).collect()
    }

    /// The first record of a component and a verb of which something is true.
    pub(crate) async fn on_record(
        &self,
        component: &str,
        verb: &str,
        is: impl Fn(&AuditRecord) -> bool,
    ) -> AuditRecord {
        let fits = |record: &AuditRecord| record.component == component && record.verb == verb && is(record);
        eventually(&format!("{component} {verb} on record"), || async { self.trail().await.into_iter().find(&fits) })
            .await
    }

    pub(crate) async fn apply(&self, manifest: &Value) -> Result<(), Status> {
        let source = ManifestSource { json: manifest.to_string().into(), origin: String::new() };
        let request = ApplyRequest { manifests: vec![source], dry_run: false, ..ApplyRequest::default() };
        RegistryServiceClient::new(self.0.clone()).apply(request).await.map(drop)
    }
}

impl Place {
    pub(crate) async fn start(coordinators: usize) -> Self {
        Self::accepting(coordinators, &Accepted::default()).await
    }

    pub(crate) async fn accepting(coordinators: usize, accepted: &Accepted) -> Self {
        Self::with(coordinators, Config { accepted: accepted.clone(), ..Config::default() }).await
    }

    /// Coordinators that are set up alike.
    pub(crate) async fn with(coordinators: usize, config: Config) -> Self {
        let server = TestServer::start().await;
        let mut started = Vec::new();
        for _ in 0..coordinators {
            started.push(coordinator(&server, &config).await);
        }
        let connection = connect(&server.url()).await;
        kapelle_bus::provision::provision(connection.jetstream(), &Config::default().layout).await.unwrap();
        let bus = Bus::open(connection).await.unwrap();
        Self { server, bus, coordinators: started, config }
    }

    /// One more coordinator, which is set up like this.
    pub(crate) async fn add(&mut self, config: &Config) {
        self.coordinators.push(coordinator(&self.server, config).await);
    }

    pub(crate) fn address(&self, coordinator: usize) -> String {
        format!("http://{}", self.coordinators[coordinator].grpc_address())
    }

    /// A client at the first coordinator.
    pub(crate) async fn client(&self, credential: &str) -> Client {
        self.client_at(0, credential).await
    }

    pub(crate) async fn client_at(&self, coordinator: usize, credential: &str) -> Client {
        let channel = Channel::from_shared(self.address(coordinator)).unwrap().connect().await.unwrap();
        let bearer = (!credential.is_empty()).then(|| format!("Bearer {credential}").parse().unwrap());
        Client(Shown::new(channel, Bearer(bearer)))
    }

    /// A token made at the broker; the coordinators know it when this returns.
    pub(crate) async fn token(&self, name: &str, roles: &[Role], change: impl FnOnce(&mut Wanted)) -> (String, Record) {
        let mut wanted = Wanted {
            name: name.parse().unwrap(),
            roles: roles.iter().copied().collect::<BTreeSet<_>>(),
            namespace: "default".parse().unwrap(),
            sees_payloads: false,
            person: None,
            life: Duration::from_secs(3600),
            created_by: Principal("test".into()),
        };
        change(&mut wanted);
        let (secret, record) = self.tokens().await.create(wanted, clock::now()).await.unwrap();
        for coordinator in 0..self.coordinators.len() {
            let client = self.client_at(coordinator, secret.reveal()).await;
            eventually("the coordinator knows the token", || async {
                let known = client.runs().list(kapelle_proto::v1::ListRunsRequest::default()).await;
                known.err().is_none_or(|e| code(&e) != "K0502").then_some(())
            })
            .await;
        }
        (secret.reveal().to_owned(), record)
    }

    pub(crate) async fn tokens(&self) -> Tokens {
        Tokens::open(&self.bus).await.unwrap()
    }

    /// One coordinator instead of all that there are, after something was done while there was none.
    pub(crate) async fn replace_with(&mut self, meanwhile: impl AsyncFnOnce(&Bus)) {
        for coordinator in std::mem::take(&mut self.coordinators) {
            coordinator.stop().await;
        }
        meanwhile(&self.bus).await;
        self.coordinators.push(coordinator(&self.server, &self.config).await);
    }

    pub(crate) async fn stop(self) {
        for coordinator in self.coordinators {
            coordinator.stop().await;
        }
        drop(self.server);
    }
}

async fn coordinator(server: &TestServer, config: &Config) -> Handle {
    let Config { id, .. } = Config::default();
    let config = Config { id, grpc_address: "127.0.0.1:0".parse().unwrap(), ..config.clone() };
    Coordinator::start(config, connect(&server.url()).await).await.unwrap()
}

async fn connect(url: &str) -> Connection {
    let config = ConnectConfig { url: url.to_owned(), name: "test".into(), ..ConnectConfig::default() };
    Connection::open(&config, PATIENCE).await.unwrap()
}

/// The Kapelle code of a refusal.
pub(crate) fn code(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn agent() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": "echo", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "role": {
                "purpose": "Is never asked.", "responsibilities": ["echo"], "capabilities": ["test.echo"],
                "limits": { "concurrency": 1, "timeout": "120s" },
            },
            "input": { "schema": {} }, "output": { "schema": {} }, "runtime": { "native": {} },
        },
    })
}

/// A run of it needs no worker: its one step is skipped, or waits for ever if the input says so.
pub(crate) fn workflow() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "say", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "input": { "schema": { "type": "object" } },
            "steps": [{ "id": "only", "agent": "echo@^1", "when": "${input.wait}", "with": "${input}" }],
            "queries": { "word": "${input.word}", "nothing": "${input.nothing}" },
            "output": "${input.word}",
        },
    })
}
