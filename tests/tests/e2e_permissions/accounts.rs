//! A broker with an operator, namespaces and credentials.

use std::time::Duration;

use kapelle_accounts::{Issued, Operator, Quotas, Record, Wanted};
use kapelle_bus::{ConnectConfig, Connection};
use kapelle_policy::Policies;
use kapelle_telemetry::clock;
use kapelle_tests::harness::PATIENCE;
use kapelle_types::{Partitions, Role, limits};

use crate::broker::Broker;

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) struct Accounts {
    system: Connection, // before the broker: what is connected leaves first
    pub(crate) broker: Broker,
    operator: Operator,
}

impl Accounts {
    /// Starts a server that trusts a new operator, with or without streams.
    pub(crate) async fn start(streams: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("operator");
        let operator = Operator::init(&dir, "test", &folder.path().join("accounts"), clock::now()).unwrap();
        let conf = std::fs::read_to_string(dir.join("broker.conf")).unwrap();
        let broker = Broker::configured(folder, &conf, streams).await;
        let config = ConnectConfig {
            url: broker.url("nobody"),
            credentials: Some(operator.system_credentials()),
            name: "operator".into(),
            ..ConnectConfig::default()
        };
        let system = Connection::open(&config, PATIENCE).await.unwrap();
        Self { system, broker, operator }
    }

    pub(crate) async fn namespace(&self, name: &str) -> Record {
        let partitions = Partitions::new(4).unwrap();
        // The server reserves quotas.
        let quotas = Quotas { storage_bytes: limits::NAMESPACE_STORAGE_MIN, ..Quotas::default() };
        let record = self.operator.create(name.parse().unwrap(), partitions, quotas, clock::now()).unwrap();
        self.push(&record).await;
        record
    }

    /// Tells the broker what a namespace is now.
    pub(crate) async fn push(&self, record: &Record) {
        let accounts = self.operator.accounts(record, &Policies::embedded().unwrap(), clock::now()).unwrap();
        kapelle_accounts::push(&self.system, &accounts).await.unwrap();
    }

    pub(crate) fn issue(&self, record: &mut Record, role: Role, user: &str) -> Issued {
        self.issue_for(record, role, user, LONG)
    }

    pub(crate) fn issue_for(&self, record: &mut Record, role: Role, user: &str, life: Duration) -> Issued {
        let agents = if role == Role::Worker { vec!["scripted@1.0.0".parse().unwrap()] } else { Vec::new() };
        self.give(record, Wanted { name: user.parse().unwrap(), role, agents, life })
    }

    /// Those of a worker of another agent.
    pub(crate) fn issue_worker(&self, record: &mut Record, user: &str, agent: &str) -> Issued {
        let agents = vec![agent.parse().unwrap()];
        self.give(record, Wanted { name: user.parse().unwrap(), role: Role::Worker, agents, life: LONG })
    }

    /// Makes credentials and puts them where the broker's connections look for them.
    fn give(&self, record: &mut Record, wanted: Wanted) -> Issued {
        let user = wanted.name.to_string();
        let (issued, file) = self.operator.issue(record, wanted, clock::now()).unwrap();
        std::fs::write(self.broker.credentials_file(&user), file).unwrap();
        issued
    }
}
