//! What a coordinator is set up with.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_types::{Namespace, Partition, Partitions};
use tokio::sync::watch;

use crate::approvals::Destinations;
use crate::identity::Accepted;
use crate::tls;

/// The port that clients find the API on by default.
pub const GRPC_PORT: u16 = 7450;

/// A coordinator's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name; unique among those that live. Default: `c-` and a random part.
    pub id: String,
    /// The host's name, for people. Default: what the system says.
    pub host: String,
    /// Where the API listens. Default `127.0.0.1:7450`; port 0 takes a free one.
    pub grpc_address: SocketAddr,
    /// What is provisioned if nothing is. Default: 4 partitions, 1 replica, tasks in a file written behind.
    pub layout: Layout,
    /// Bytes of rebuilt runs kept in memory, over all partitions, by estimate. Default 64 MiB.
    pub cache_bytes_max: usize,
    /// Runs that may be open at once, over all coordinators; beyond it submissions are refused. Default 1,000,000.
    pub open_runs_max: u64,
    /// Overdue runs that the reconciler looks at per second and partition. Default 2,500.
    pub looks_per_second: usize,
    /// Whose calls the API takes. Default: those of the holders of tokens.
    pub accepted: Accepted,
    /// The certificates of the API. Default: none, and no TLS.
    pub tls: Option<tls::Files>,
    /// The namespace that is served; callers of others are denied. Default: `default`.
    pub namespace: Namespace,
    /// Whether OpenLineage events are published for the runs of our partitions: two a run. Default: no.
    pub openlineage: bool,
    /// Whom notices of approvals go to. Default: nobody; they are events for whoever listens.
    pub notify: Option<Destinations>,
    /// How partitions are assigned. Default: shared among the living.
    pub assignment: Assignment,
    /// Whether contracts, task tokens and policies hold. Default: they do.
    pub governance: Governance,
}

/// Whether what governs runs is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Governance {
    /// As Kapelle runs.
    On,
    /// New runs are submitted under behaviour 1, which has neither contracts of steps nor tokens, and no policy is asked.
    /// For measuring what they cost, and taken only together with [`Accepted::Development`], whom every policy permits
    /// everything anyway.
    Off,
}

/// Who says which partitions a coordinator serves.
#[derive(Debug, Clone)]
pub enum Assignment {
    /// The living coordinators share them.
    Shared,
    /// Whoever sends: for tests that force two owners, and for operators who pin.
    Given(watch::Receiver<BTreeSet<Partition>>),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: format!("c-{}", &uuid::Uuid::now_v7().simple().to_string()[20..]),
            host: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
            grpc_address: SocketAddr::from((Ipv4Addr::LOCALHOST, GRPC_PORT)),
            layout: Layout { partitions: FOUR, replicas: 1, tasks: TaskStorage::AsyncFile },
            cache_bytes_max: 64 * 1024 * 1024,
            open_runs_max: 1_000_000,
            looks_per_second: 2_500,
            accepted: Accepted::default(),
            tls: None,
            namespace: Namespace::default(),
            openlineage: false,
            notify: None,
            assignment: Assignment::Shared,
            governance: Governance::On,
        }
    }
}

/// The number of partitions on one node.
const FOUR: Partitions = match Partitions::new(4) {
    Some(partitions) => partitions,
    None => panic!("four is not zero"),
};
