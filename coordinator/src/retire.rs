//! Takes an agent version out of use, or puts it back.
//!
//! ```text
//!   in use ──nobody needs it──▶ DRAINING ──everybody follows, still nobody──▶ RETIRED
//!      ▲                           │                                             │
//!      └──── somebody needs it, ───┘                                             │
//!            or it took too long                                                 │
//!      └──────────────────────────────── reinstate ──────────────────────────────┘
//! ```
//!
//! A version is needed while a step of a current workflow would have nobody without it, or an open run is pinned to it. Asked
//! once, the answer is old when it comes: a job may be pinned to the version meanwhile. So it is asked twice.
//!
//! 1. Asked without disturbing anybody: most refusals come from here.
//! 2. The version is DRAINING: whoever hears of it resolves nothing to it any more, in no coordinator.
//! 3. Waited until every coordinator has heard of it and whatever it resolved before is recorded ([`crate::catalog::Ticket`]).
//!    One that is silent counts until its presence has expired; it records nothing then that it pinned before. One that comes
//!    announces itself first and reads the registry afterwards.
//! 4. Asked again, of owners that have read their logs as far as they were after that: nothing was missed now. Nothing of it is queued either.
//! 5. What was found is stated and signed ([`crate::certificate`]).
//! 6. RETIRED is written over the very DRAINING that was waited for. If that is another one by now, or gone, it is not.
//!
//! What is not known refuses. Whoever dies in between leaves DRAINING behind: any coordinator takes it back after
//! [`DRAINING_MAX`], and until then the same request goes on from there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Refusal;
use kapelle_bus::keys::Keys;
use kapelle_bus::registry::{Kind, Seen, Standing, Status};
use kapelle_manifest::Loss;
use kapelle_proto::stream;
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, AuditWhat, AuditWho, Code, Diagnosis, Namespace, Partition, Principal};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::audit::{Fact, Trail};
use crate::catalog::Catalog;
use crate::certificate::{self, Found, Signer, Statement};
use crate::followers::Followers;
use crate::partitions::Served;
use crate::pinned::{self, NAMED_MAX, Pinned, Wanted};

/// How long others may take to follow: longer than the presence of one that was killed.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(20);
/// How long owners may take to read what is in their logs.
const READ_PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a version stays DRAINING that nobody decides about: twice as long as deciding can take.
const DRAINING_MAX: Duration = Duration::from_secs(60);
/// How often is looked for those.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// Decides about agent versions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Retirement {
    pub(crate) followers: Followers,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) served: Served,
    pub(crate) trail: Arc<Trail>,
    pub(crate) namespace: Namespace,
}

/// Who needs an agent version.
struct Need {
    /// Whether it is current in its release, or ramping.
    released: bool,
    steps: Vec<Loss>,
    runs: Pinned,
    /// Partitions whose owner has not answered, or not for all of its log.
    silent: Vec<Partition>,
}

impl Retirement {
    /// Retires a version: its standing, and whether it stood like that before.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`, `AGENT_IN_USE`, `AGENT_USE_UNKNOWN`, `BROKER_UNAVAILABLE`; `WRONG_STATE` if somebody else decides
    /// about the version at the same time.
    pub(crate) async fn retire(
        &self,
        agent: &AgentVersion,
        by: Principal,
        why: String,
    ) -> Result<(Standing, bool), Diagnosis> {
        let seen = self.seen(agent).await?;
        if let Some(standing) = seen.standing.clone().filter(|it| it.status == Status::Retired) {
            return Ok((standing, true));
        }
        if let Some(standing) = seen.standing.filter(|it| it.status.stops()) {
            let message = format!("{agent} is {}", standing.status.as_str());
            return Err(Diagnosis::new(Code::WRONG_STATE, message)
                .hint("it stays stopped as long as it is; put it back into use before it is retired"));
        }
        self.need(agent, &BTreeMap::new()).await.refuse(agent)?;
        let draining = Standing { status: Status::Draining, by, at: clock::now(), why, certificate: None };
        let registry = self.catalog.registry();
        let revision = registry.stand(agent, &draining, seen.revision).await.map_err(|e| not_written(&e))?;
        let certified = async {
            let found = self.still_unneeded(agent, revision).await?;
            self.certificate(agent, &draining, found).await
        };
        let certificate = match certified.await {
            Ok(certificate) => Some(certificate),
            Err(refused) => {
                if let Err(error) = registry.restore(agent, revision).await {
                    tracing::warn!(%agent, %error, "it stays DRAINING until somebody takes that back");
                }
                return Err(refused);
            }
        };
        let retired = Standing { status: Status::Retired, at: clock::now(), certificate, ..draining };
        registry.stand(agent, &retired, revision).await.map_err(|e| not_written(&e))?;
        tracing::info!(%agent, by = %retired.by, why = retired.why, "retired");
        Ok((retired, false))
    }

    /// Puts a version back into use; says whether it was in use.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`, `BROKER_UNAVAILABLE`; `WRONG_STATE` if somebody else decides about the version at the same time.
    pub(crate) async fn reinstate(&self, agent: &AgentVersion) -> Result<bool, Diagnosis> {
        let seen = self.seen(agent).await?;
        if seen.standing.is_none() {
            return Ok(true);
        }
        self.catalog.registry().restore(agent, seen.revision).await.map_err(|e| not_written(&e))?;
        tracing::info!(%agent, "in use again");
        self.go_on(std::slice::from_ref(agent)).await?;
        Ok(false)
    }

    pub(crate) async fn seen(&self, agent: &AgentVersion) -> Result<Seen, Diagnosis> {
        if !self.catalog.agent_versions().contains(agent) {
            return Err(Diagnosis::new(Code::UNKNOWN_AGENT, format!("there is no agent {agent}"))
                .hint("`kapelle agent list` shows what is registered"));
        }
        self.catalog.registry().standing(agent).await.map_err(|e| unavailable(&e))
    }

    /// Waits until nothing can be pinned to the version any more, and asks again; gives what was found.
    async fn still_unneeded(&self, agent: &AgentVersion, revision: u64) -> Result<Found, Diagnosis> {
        self.followed(agent, revision).await?;
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        let ends = self.ends().await.map_err(|e| unavailable(&e))?;
        let patience = Instant::now() + READ_PATIENCE;
        loop {
            let need = self.need(agent, &ends).await;
            // What ended runs had queued is withdrawn when they end, and not before.
            let tasks = self.tasks(agent).await.map_err(|e| unavailable(&e))?;
            if (need.silent.is_empty() && tasks == 0) || Instant::now() >= patience {
                let found = need.found(tasks, &ends);
                need.refuse(agent)?;
                return if tasks == 0 { Ok(found) } else { Err(queued(agent, tasks)) };
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The tasks of a version that wait, or that workers hold.
    async fn tasks(&self, agent: &AgentVersion) -> Result<u64, kapelle_bus::Error> {
        let bus = &self.followers.bus;
        let queue = bus.queue_state(agent).await?;
        Ok(queue.pending + queue.in_flight + bus.waiting_count(agent).await?)
    }

    /// States what was found, signed.
    async fn certificate(&self, agent: &AgentVersion, asked: &Standing, found: Found) -> Result<String, Diagnosis> {
        let snapshot = self.catalog.snapshot();
        let record = snapshot.record(Kind::Agent, agent.name.as_str(), Some(&agent.version));
        let record = record.ok_or_else(|| Diagnosis::new(Code::UNKNOWN_AGENT, format!("there is no agent {agent}")))?;
        let now = clock::now();
        let statement = Statement {
            iss: format!("kapelle:{}", self.namespace),
            sub: format!("agent:{agent}"),
            iat: now.millis() / 1_000,
            manifest: record.digest,
            registered: certificate::act(
                &Principal(record.applied_by.clone()),
                record.applied_at,
                &record.force_reason,
            ),
            retired: certificate::act(&asked.by, now, &asked.why),
            deprecated: snapshot.deprecation(agent).cloned(),
            found,
        };
        self.signer().await?.sign(&statement)
    }

    /// What certificates are signed with.
    ///
    /// # Errors
    /// `BROKER_UNAVAILABLE`; `CERTIFICATE_INVALID` if the key is gone or another one than it was.
    pub(crate) async fn signer(&self) -> Result<Signer, Diagnosis> {
        let keys = Keys::open(&self.followers.bus).await.map_err(|e| unavailable(&e))?;
        let seed = keys.certificates().await.map_err(|error| match error {
            kapelle_bus::Error::Refused { .. } => Diagnosis::new(Code::CERTIFICATE_INVALID, error.to_string()),
            error => unavailable(&error),
        })?;
        Signer::new(&seed)
    }

    /// Waits until every coordinator that may be alive follows the registry up to this revision.
    async fn followed(&self, agent: &AgentVersion, revision: u64) -> Result<(), Diagnosis> {
        let behind = self.followers.behind(revision, FOLLOW_PATIENCE).await.map_err(|e| unavailable(&e))?;
        if behind.is_empty() {
            return Ok(());
        }
        let message = format!(
            "it is not known whether {agent} is in use: {} did not follow within {} s",
            behind.join(", "),
            FOLLOW_PATIENCE.as_secs()
        );
        Err(Diagnosis::new(Code::AGENT_USE_UNKNOWN, message)
            .hint("`kapelle coordinator list` shows who is there; all of them have to be of this release"))
    }

    /// Where the log of each partition ends now.
    async fn ends(&self) -> Result<BTreeMap<Partition, u64>, kapelle_bus::Error> {
        let mut ends = BTreeMap::new();
        let bus = &self.followers.bus;
        for partition in bus.partitions().all() {
            ends.insert(partition, bus.stream_state(&stream::runs(partition)).await?.last_seq);
        }
        Ok(ends)
    }

    /// Who needs the version, as far as owners have read their logs to these ends at least.
    async fn need(&self, agent: &AgentVersion, ends: &BTreeMap<Partition, u64>) -> Need {
        let snapshot = self.catalog.snapshot();
        let mut steps = snapshot.who_gets(agent);
        steps.retain(|it| it.then.is_err());
        let released = snapshot.is_released(agent);
        let known = self.pinned(agent).await;
        let has_read = |it: &Partition| known.get(it).is_some_and(|a| a.read_to >= ends.get(it).copied().unwrap_or(0));
        let silent = self.followers.bus.partitions().all().filter(|it| !has_read(it)).collect();
        let mut runs = Pinned::default();
        known.into_values().for_each(|it| runs.merge(it));
        Need { steps, runs, silent, released }
    }

    /// The open runs that have a version, by partition, of the owners that answer.
    pub(crate) async fn pinned(&self, agent: &AgentVersion) -> BTreeMap<Partition, Pinned> {
        let wanted = Wanted { kind: Kind::Agent, name: agent.name.to_string(), version: Some(agent.version.clone()) };
        let Followers { bus, id, peers } = &self.followers;
        let peers = peers.borrow().clone();
        pinned::by_partition(bus, id, &self.served, &peers, wanted).await
    }

    /// Takes back what somebody left DRAINING, until `stop`. Each coordinator counts from when it saw it first: their clocks
    /// need not agree, and whoever is first does it.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        let mut seen: HashMap<AgentVersion, (Standing, Instant)> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(SWEEP_EVERY) => {}
            }
            let snapshot = self.catalog.snapshot();
            let draining: Vec<_> =
                snapshot.standings().iter().filter(|(_, it)| it.status == Status::Draining).collect();
            seen.retain(|agent, (standing, _)| draining.contains(&(agent, standing)));
            for (agent, standing) in draining {
                let (_, since) = seen.entry(agent.clone()).or_insert_with(|| (standing.clone(), Instant::now()));
                if since.elapsed() > DRAINING_MAX {
                    self.take_back(agent, standing).await;
                }
            }
        }
    }

    async fn take_back(&self, agent: &AgentVersion, left: &Standing) {
        let registry = self.catalog.registry();
        let done = async {
            match registry.standing(agent).await? {
                seen if seen.standing.as_ref() == Some(left) => {
                    // On record first, and once, whichever coordinators do it.
                    let id = format!("standing-{agent}-{}", seen.revision);
                    self.trail.once(id, taken_back(agent, left)).await?;
                    registry.restore(agent, seen.revision).await
                }
                _ => Ok(()),
            }
        };
        match done.await {
            Ok(()) => tracing::warn!(%agent, by = %left.by, "nobody went on retiring it; it is in use again"),
            Err(error) => tracing::debug!(%agent, %error, "it cannot be taken back right now"),
        }
    }
}

fn taken_back(agent: &AgentVersion, left: &Standing) -> Fact {
    Fact {
        component: "registry",
        verb: "taken-back",
        who: AuditWho { principal: left.by.clone(), ..AuditWho::default() },
        what: AuditWhat { kind: "agent".into(), name: agent.to_string(), ..AuditWhat::default() },
        policy: String::new(),
        code: Some(Code::AGENT_USE_UNKNOWN),
        reason: "nobody went on retiring it; it is in use again".to_owned(),
    }
}

impl Need {
    fn found(&self, tasks: u64, ends: &BTreeMap<Partition, u64>) -> Found {
        Found {
            dependants: self.steps.len() as u64,
            released: self.released,
            open_runs: self.runs.workflows.values().sum(),
            tasks,
            logs: ends.iter().map(|(partition, end)| (partition.to_string(), *end)).collect(),
        }
    }

    /// Nobody needs it, and that is known.
    fn refuse(self, agent: &AgentVersion) -> Result<(), Diagnosis> {
        let open: u64 = self.runs.workflows.values().sum();
        let mut reasons: Vec<String> = self.steps.iter().take(NAMED_MAX).map(told).collect();
        if self.steps.len() > NAMED_MAX {
            reasons.push(format!("{} more steps", self.steps.len() - NAMED_MAX));
        }
        if self.released {
            reasons.push("its release, in which it is current or ramping".to_owned());
        }
        if open > 0 {
            let first: Vec<String> = self.runs.first.iter().map(|(_, run)| run.to_string()).collect();
            let runs = if open == 1 { "1 open run".to_owned() } else { format!("{open} open runs") };
            reasons.push(format!("{runs} ({})", first.join(", ")));
        }
        if !reasons.is_empty() {
            let message = format!("{agent} is needed by {}", reasons.join("; "));
            let hint = format!(
                "register another version that they may get, or change the workflows, and let the runs end; \
                 `kapelle agent impact {agent}` names all"
            );
            return Err(Diagnosis::new(Code::AGENT_IN_USE, message).hint(hint));
        }
        if self.silent.is_empty() && self.runs.unknown == 0 {
            return Ok(());
        }
        let silent: Vec<String> = self.silent.iter().map(ToString::to_string).collect();
        let why = match silent.as_slice() {
            [] => format!("{} open runs are not read yet", self.runs.unknown),
            silent => format!("nobody answers for all of partition {}", silent.join(", ")),
        };
        let message = format!("it is not known whether {agent} is in use: {why}");
        Err(Diagnosis::new(Code::AGENT_USE_UNKNOWN, message).hint("ask again in a minute"))
    }
}

fn queued(agent: &AgentVersion, tasks: u64) -> Diagnosis {
    Diagnosis::new(Code::AGENT_IN_USE, format!("{tasks} tasks of {agent} wait or are worked at"))
        .hint("they are of runs that have ended; ask again when its workers have given them back")
}

fn told(loss: &Loss) -> String {
    let why = loss.then.as_ref().err().map(ToString::to_string).unwrap_or_default();
    format!("step {} of {} ({why})", loss.used.step, loss.used.workflow)
}

pub(crate) fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, error.to_string()).hint("the same command may be given again")
}

pub(crate) fn not_written(error: &kapelle_bus::Error) -> Diagnosis {
    match error.refusal() {
        Some(Refusal::NotFirst) => Diagnosis::new(Code::WRONG_STATE, error.to_string())
            .hint("look with `kapelle agent list`, and decide again"),
        _ => unavailable(error),
    }
}
