//! Puts a coordinator together, starts it and stops it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::approvals::Approvals;
use kapelle_bus::keys::Keys;
use kapelle_bus::policies::PolicySets;
use kapelle_bus::provision::provision;
use kapelle_bus::schedules::Schedules;
use kapelle_bus::{Bus, Connection, presence};
use kapelle_engine::behaviour;
use kapelle_retry::{Policy, Verdict};
use kapelle_telemetry::clock;
use kapelle_types::{Code, Diagnosis, Namespace, Partition, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::admission::Admission;
use crate::api::{Context, Gate, Server};
use crate::approvals::{Watcher, deliver};
use crate::audit::Trail;
use crate::catalog::Catalog;
use crate::config::{Assignment, Config, Governance};
use crate::followers::Followers;
use crate::identity::{Accepted, Identity, TokenCache};
use crate::listing::Query;
use crate::ownership::Ownership;
use crate::partition::service::Shared;
use crate::partitions::{Served, Template};
use crate::pinned::Wanted;
use crate::plans::PlanStore;
use crate::policies::{Desk, Serving};
use crate::retire::Retirement;
use crate::rollout::{self, Outcomes, Rollouts};
use crate::schedules::Scheduler;
use crate::submit::Submitter;
use crate::tls::{self, Certificates};
use crate::turns::{Giver, Takers};
use crate::{deprecate, direct, listing, openlineage, pinned, questions, watchers};

/// How long the broker may take to be ready when a coordinator starts.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long clients that stay are waited for at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// The partitions of one coordinator, as they change.
type Ours = watch::Receiver<BTreeSet<Partition>>;

/// A coordinator that can be started.
pub struct Coordinator;

/// A running coordinator.
pub struct Handle {
    server: Server,
    served: Served,
    stop_api: CancellationToken,
    stop_all: CancellationToken,
    announcer: presence::Announcer,
    turns: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Coordinator {
    /// Provisions what is missing, takes its partitions and begins to answer.
    ///
    /// # Errors
    /// `PROVISIONING`, `BROKER_UNAVAILABLE`, `PORT_TAKEN`, `IDENTITY_INVALID`, `TLS_INVALID`; `REQUEST_INVALID` if others than this machine could be the
    /// development identity.
    pub async fn start(config: Config, connection: Connection) -> Result<Handle, Diagnosis> {
        let behaviour = admitted(&config)?;
        let bus = prepare(&config, connection).await?;
        let stop_all = CancellationToken::new();
        let stop_api = stop_all.child_token();
        let (trail, writer) = Trail::start(&bus, &config.id, stop_all.clone());
        let (access, policies) = judges(&bus, &config, &trail, &stop_all).await.inspect_err(|_| stop_all.cancel())?;
        let plans = Arc::new(PlanStore::open(&bus).await.map_err(|e| provisioning(&e))?);
        tokio::spawn(Arc::clone(&plans).follow_keys(stop_all.clone()));
        let catalog = Catalog::open(&bus, Arc::clone(&plans), stop_all.clone()).await.map_err(|e| unavailable(&e))?;
        let identity = Identity::open(&bus, &config.accepted, &stop_all).await.inspect_err(|_| stop_all.cancel())?;
        let (id, following, started_at) = (config.id.clone(), Arc::clone(&catalog), clock::now());
        let mut ownership = Ownership::start(bus.clone(), id, started_at, following, stop_all.clone());
        // Whoever retires a version has heard of us, or we know of it before we pin anything.
        ownership.announced().await;
        catalog.up_to_date().await.map_err(|e| unavailable(&e)).inspect_err(|_| stop_all.cancel())?;
        let admission = Admission::start(bus.clone(), ownership.peers.clone(), config.open_runs_max, stop_all.clone());
        let peers = ownership.peers.clone();
        let submitter = Arc::new(Submitter::new(bus.clone(), Arc::clone(&catalog), admission, peers, behaviour));
        let (schedules, approvals, takers) = stores(&bus, &stop_all).await.map_err(|e| provisioning(&e))?;
        let shared = Shared {
            bus: bus.clone(),
            plans: Arc::clone(&plans),
            waiters: Arc::default(),
            submitter: Arc::clone(&submitter),
            takers: Arc::clone(&takers),
            outcomes: Arc::default(),
            trail: Arc::clone(&trail),
            access: Arc::clone(&access),
        };
        let (waiters, outcomes) = (Arc::clone(&shared.waiters), Arc::clone(&shared.outcomes));
        let ours = assigned(&config, &ownership);
        let served = Served::start(template(&config), shared, ours.clone(), ownership.own.clone(), stop_all.clone());
        tokio::spawn(direct::take_jobs(bus.clone(), submitter.clone(), config.namespace.clone(), stop_api.clone()));
        answer_peers(&bus, &config.id, &served, &outcomes, &stop_all);
        let retirement = Retirement {
            followers: Followers { bus: bus.clone(), id: config.id.clone(), peers: ownership.peers.clone() },
            catalog: Arc::clone(&catalog),
            served: served.clone(),
            trail,
            namespace: config.namespace.clone(),
        };
        stand_by(&config, &retirement, &takers, &stop_all).inspect_err(|_| stop_all.cancel())?;
        let announcer = announce(&bus, &config, started_at, &served);
        let (certificates, tokens) = (certificates(config.tls, &stop_all)?, Arc::clone(identity.tokens()));
        let gate = Gate::new(Arc::new(identity), Arc::clone(&access));
        let context = Context {
            id: config.id,
            bus,
            catalog,
            plans,
            submitter,
            waiters,
            served: served.clone(),
            peers: ownership.peers.clone(),
            access,
            policies,
            retirement,
            outcomes,
            schedules,
            known_schedules: Arc::default(),
            takers,
            approvals,
        };
        let turns = tend(&context, (tokens, config.namespace, ours), &stop_api);
        let server = Server::start(config.grpc_address, Arc::new(context), (gate, certificates), stop_api.clone())
            .await
            .inspect_err(|_| stop_all.cancel())?;
        tracing::info!(address = %server.address, "the coordinator answers");
        Ok(Handle { server, served, stop_api, stop_all, announcer, turns, writer })
    }
}

impl Handle {
    /// Where the API listens.
    #[must_use]
    pub const fn grpc_address(&self) -> SocketAddr {
        self.server.address
    }

    /// Stops taking jobs, lets the partitions go with their cursors written, and leaves.
    pub async fn stop(self) {
        self.stop_api.cancel();
        self.served.stop().await;
        self.server.ended(STOP_PATIENCE).await;
        if tokio::time::timeout(STOP_PATIENCE, self.turns).await.is_err() {
            tracing::warn!("a task whose turn came is not queued; it will be missed");
        }
        self.announcer.stop().await;
        self.stop_all.cancel();
        // What was denied lately is still to be written.
        if tokio::time::timeout(STOP_PATIENCE, self.writer).await.is_err() {
            tracing::warn!("the audit trail does not take the last denials");
        }
    }
}

/// The newest behaviour that runs are submitted under. Refuses what would let others than this machine do everything.
fn admitted(config: &Config) -> Result<u32, Diagnosis> {
    if matches!(config.accepted, Accepted::Development) && !config.grpc_address.ip().is_loopback() {
        let message = format!("the development identity is for this machine alone, not for {}", config.grpc_address);
        return Err(Diagnosis::new(Code::REQUEST_INVALID, message).hint("listen on 127.0.0.1"));
    }
    match (config.governance, &config.accepted) {
        (Governance::On, _) => Ok(behaviour::CURRENT),
        (Governance::Off, Accepted::Development) => Ok(behaviour::CONTRACTS - 1),
        (Governance::Off, Accepted::Known(_)) => {
            Err(Diagnosis::new(Code::REQUEST_INVALID, "governance is off only for the development identity"))
        }
    }
}

/// Whoever says what callers may do, and where that is changed.
async fn judges(
    bus: &Bus,
    config: &Config,
    trail: &Arc<Trail>,
    stop: &CancellationToken,
) -> Result<(Arc<Access>, Arc<Desk>), Diagnosis> {
    let namespace = || config.namespace.clone();
    let serving = Serving::open(bus, Arc::clone(trail), stop.clone()).await.map_err(|e| unavailable(&e))?;
    let sets = PolicySets::open(bus).await.map_err(|e| unavailable(&e))?;
    let desk = Desk::new(sets, Arc::clone(&serving), Arc::clone(trail), namespace());
    let access = Access::new(serving, Arc::clone(trail), namespace()).with_governance(config.governance);
    Ok((Arc::new(access), Arc::new(desk)))
}

/// Provisions and opens the bus, waiting for a broker that is not ready yet.
async fn prepare(config: &Config, connection: Connection) -> Result<Bus, Diagnosis> {
    let policy = Policy {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(1),
        total: Some(START_PATIENCE),
        ..Policy::default()
    };
    let again = |e: &kapelle_bus::Error| if e.is_transient() { Verdict::Retry } else { Verdict::Stop };
    let jetstream = connection.jetstream();
    let record = kapelle_retry::retry(&policy, again, |_| provision(jetstream, &config.layout))
        .await
        .map_err(|gave_up| provisioning(&gave_up.error))?;
    let bus = Bus::of(connection.clone(), record);
    let ensured = async { Keys::open(&bus).await?.ensure().await };
    ensured.await.map_err(|e| provisioning(&e))?;
    Ok(bus)
}

/// What the owners of all partitions have of us.
fn template(config: &Config) -> Template {
    Template {
        coordinator: config.id.clone(),
        cache_bytes_max: config.cache_bytes_max,
        looks_per_second: config.looks_per_second,
    }
}

/// The partitions that are ours, as they change.
fn assigned(config: &Config, ownership: &Ownership) -> Ours {
    match &config.assignment {
        Assignment::Shared => ownership.ours.clone(),
        Assignment::Given(given) => given.clone(),
    }
}

/// Whoever looks after what people are asked in the runs of our partitions.
fn watcher(context: &Context) -> Watcher {
    Watcher {
        bus: context.bus.clone(),
        store: context.approvals.clone(),
        plans: Arc::clone(&context.plans),
        served: context.served.clone(),
    }
}

/// Whoever runs the schedules of the partitions that are ours, from what the API works with.
fn scheduler(context: &Context, tokens: Arc<TokenCache>, namespace: Namespace, ours: Ours) -> Scheduler {
    Scheduler {
        bus: context.bus.clone(),
        store: context.schedules.clone(),
        plans: Arc::clone(&context.plans),
        submitter: Arc::clone(&context.submitter),
        access: Arc::clone(&context.access),
        tokens,
        namespace,
        known: Arc::clone(&context.known_schedules),
        ours,
    }
}

/// The buckets that the API and whoever tends what is in them share.
async fn stores(
    bus: &Bus,
    stop: &CancellationToken,
) -> Result<(Schedules, Approvals, Arc<Takers>), kapelle_bus::Error> {
    let takers = Takers::open(bus).await?;
    tokio::spawn(Arc::clone(&takers).follow(stop.clone()));
    Ok((Schedules::open(bus).await?, Approvals::open(bus).await?, takers))
}

/// The certificates of the API, looked at again and again, until `stop`.
fn certificates(files: Option<tls::Files>, stop: &CancellationToken) -> Result<Option<Arc<Certificates>>, Diagnosis> {
    files.map(|files| Certificates::open(files, stop.clone()).inspect_err(|_| stop.cancel())).transpose()
}

/// Whoever gives out the turns of the agent versions that fall to our partitions.
fn giver(context: &Context, ours: Ours) -> Giver {
    Giver { bus: context.bus.clone(), takers: Arc::clone(&context.takers), ours }
}

/// Whoever brings in versions by themselves, of the partitions that are ours.
fn rollouts(context: &Context, ours: Ours) -> rollout::Tender {
    let Retirement { followers, catalog, trail, .. } = context.retirement.clone();
    let rollouts = Rollouts { followers, outcomes: Arc::clone(&context.outcomes) };
    rollout::Tender { rollouts, catalog, trail, ours }
}

/// Tends what belongs to the partitions that are ours, until `stop`. What is given out then is still brought into the queue.
fn tend(
    context: &Context,
    (tokens, namespace, ours): (Arc<TokenCache>, Namespace, Ours),
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let giver = giver(context, ours.clone());
    let (bus, catalog) = (context.bus.clone(), Arc::clone(&context.catalog));
    tokio::spawn(deprecate::watch(bus, catalog, ours.clone(), stop.clone()));
    tokio::spawn(watcher(context).run(stop.clone()));
    tokio::spawn(rollouts(context, ours.clone()).run(stop.clone()));
    tokio::spawn(scheduler(context, tokens, namespace, ours).run(stop.clone()));
    tokio::spawn(giver.run(stop.clone()))
}

/// What goes on beside the runs: the queues are watched, what nobody decides is taken back, and, if that is wanted, lineage is
/// published and people are told of approvals.
fn stand_by(
    config: &Config,
    retirement: &Retirement,
    takers: &Arc<Takers>,
    stop: &CancellationToken,
) -> Result<(), Diagnosis> {
    let Retirement { followers: Followers { bus, .. }, catalog, served, .. } = retirement.clone();
    let (layout, namespace) = (config.layout.clone(), config.namespace.clone());
    tokio::spawn(watchers::watch_queues(bus.clone(), Arc::clone(takers), Arc::clone(&catalog), layout, stop.clone()));
    tokio::spawn(retirement.clone().sweep(stop.clone()));
    if let Some(destinations) = &config.notify {
        deliver(&bus, destinations.clone(), stop)?;
    }
    if config.openlineage {
        tokio::spawn(openlineage::Publisher { bus, catalog, namespace }.run(served, stop.clone()));
    }
    Ok(())
}

/// Tells other coordinators what only we know, until `stop`.
fn answer_peers(bus: &Bus, id: &str, served: &Served, outcomes: &Arc<Outcomes>, stop: &CancellationToken) {
    let of = served.clone();
    let list = move |query: Query| {
        let served = of.clone();
        async move { served.list(&query).await }
    };
    tokio::spawn(questions::answer(bus.clone(), listing::subject(id), stop.clone(), list));
    let of = served.clone();
    let pinned = move |wanted: Wanted| {
        let served = of.clone();
        async move { pinned::own(&served, wanted).await }
    };
    tokio::spawn(questions::answer(bus.clone(), pinned::subject(id), stop.clone(), pinned));
    let outcomes = Arc::clone(outcomes);
    let counted = move |asked: rollout::Asked| std::future::ready(rollout::own(&outcomes, &asked));
    tokio::spawn(questions::answer(bus.clone(), rollout::subject(id), stop.clone(), counted));
}

/// Shows people that this coordinator is there. Ownership does not depend on it.
fn announce(bus: &Bus, config: &Config, started_at: Timestamp, served: &Served) -> presence::Announcer {
    let (id, host, served) = (config.id.clone(), config.host.clone(), served.clone());
    let record = move || presence::Record {
        id: id.clone(),
        kind: presence::Kind::Coordinator,
        agents: Vec::new(),
        slots: 0,
        slots_used: 0,
        partitions: served.partitions(),
        started_at,
        host: host.clone(),
        draining: false,
        held: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    presence::Announcer::start(bus.clone(), record)
}

fn provisioning(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::PROVISIONING, format!("the broker cannot be provisioned: {error}"))
        .hint("`kapelle doctor` compares what is there with what is declared")
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, error.to_string())
}
