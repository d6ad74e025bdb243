//! Plans from recorded manifests, on the way that a coordinator takes: out of a real registry, by their digests.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kapelle_broker::testing::TestServer;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::provision::provision;
use kapelle_bus::registry::{Outcome, Registry};
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_coordinator::plans::PlanStore;
use kapelle_engine::Run;
use kapelle_manifest::Manifest;
use kapelle_proto::bucket;
use kapelle_types::Partitions;

use super::History;
use super::fold::{decode, submission};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry to compile plans from.
pub struct Bench {
    bus: Bus,
    registry: Registry,
    _server: TestServer, // last: whoever is connected leaves first
}

impl Bench {
    /// Starts a broker with an empty registry.
    pub async fn start() -> Self {
        let server = TestServer::start().await;
        let config = ConnectConfig { url: server.url(), name: "replay".into(), ..ConnectConfig::default() };
        let connection = Connection::open(&config, PATIENCE).await.expect("the broker answers");
        let partitions = Partitions::new(1).expect("one is not zero");
        let layout = Layout { partitions, replicas: 1, tasks: TaskStorage::AsyncFile };
        provision(connection.jetstream(), &layout).await.expect("the broker is provisioned");
        let bus = Bus::open(connection).await.expect("the broker is provisioned");
        let registry = Registry::open(&bus).await.expect("the registry is there");
        Self { bus, registry, _server: server }
    }

    /// The run of a history before its log: of the plan that its submission pins, with the key that it names.
    ///
    /// # Errors
    /// Why today's code cannot build it from the manifests as they were registered.
    pub async fn run(&self, history: &History) -> Result<Run, String> {
        self.forget().await;
        let keys = self.bus.jetstream().get_key_value(bucket::KEYS).await.expect("the keys are a bucket");
        for (number, key) in &history.signing_keys {
            let key = STANDARD.decode(key).map_err(|e| format!("signing key {number}: {e}"))?;
            keys.put(number.to_string(), key.into()).await.expect("the key is kept");
        }
        for record in &history.manifests {
            let what = format!("manifest {}@{}", record.name, record.version);
            let manifest: Manifest = serde_json::from_value(record.manifest.clone())
                .map_err(|e| format!("{what} was registered and cannot be read now: {e}"))?;
            if manifest.digest() != record.digest {
                return Err(format!(
                    "{what} has another digest now: who applies the same file again is refused (K0109). A field that came \
                     later must not be written where it has its default"
                ));
            }
            let outcome = self.registry.put(record).await.map_err(|e| format!("{what}: {e}"))?;
            assert_eq!(outcome, Outcome::Created, "{what}");
        }
        let log = decode(history);
        // A store of its own: another history's broker had another key of the same number.
        let plans = PlanStore::open(&self.bus).await.expect("the registry is there");
        plans.begin(history.run, submission(&log)?).await.map_err(|e| format!("no plan: {e}"))
    }

    /// Empties the registry: another version's manifests may bear the same names.
    async fn forget(&self) {
        let stream = format!("KV_{}", bucket::REGISTRY);
        let stream = self.bus.jetstream().get_stream(stream).await.expect("the registry is a stream");
        stream.purge().await.expect("the registry can be emptied");
    }
}
