//! Says until when agent versions are used, and tells those who depend on them.
//!
//! ```text
//!   in use ──deprecate──▶ DEPRECATED: runs get it, and whoever starts one is told ──sunset──▶ no new run gets it
//!      ▲                       │                                                                  │
//!      └───────── undo ────────┴──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Runs that are open keep it, also over its sunset. Every coordinator looks at its own clock for that
//! ([`crate::catalog::Snapshot`]); nothing has to happen at the moment itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::registry::{Deprecation, SeenDeprecation, Status};
use kapelle_manifest::Loss;
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::DEPRECATED_SUNSET;
use kapelle_types::{AgentVersion, Code, Diagnosis, Partition};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, Snapshot};
use crate::retire::{Retirement, not_written, unavailable};
use crate::turns::falls_to;

/// How often is looked whose time is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How late it is told that a time is over: whoever was away for longer tells no old news.
const NEWS_MAX: Duration = Duration::from_secs(300);

/// What was decided, and who depends on it.
#[derive(Debug)]
pub(crate) struct Deprecated {
    pub(crate) deprecation: Deprecation,
    /// The same was said before.
    pub(crate) existed: bool,
    /// The steps of current workflows that get the version now.
    pub(crate) steps: Vec<Loss>,
    /// Open runs that have it, as far as is known.
    pub(crate) open_runs: u64,
}

impl Retirement {
    /// Says until when a version is used, in place of what was said before.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`; `REQUEST_INVALID` if the time is over, or nothing takes its place that is in use; `WRONG_STATE` if it
    /// is retired, or somebody else decides about it at the same time; `BROKER_UNAVAILABLE`.
    pub(crate) async fn deprecate(&self, agent: &AgentVersion, wanted: Deprecation) -> Result<Deprecated, Diagnosis> {
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        if self.seen(agent).await?.standing.is_some_and(|it| it.status == Status::Retired) {
            return Err(Diagnosis::new(Code::WRONG_STATE, format!("{agent} is RETIRED")).hint("no run gets it anyway"));
        }
        if wanted.sunset <= clock::now() {
            let message = format!("{} is over; a sunset is in the future", wanted.sunset.rfc3339());
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message).hint(format!(
                "to take it out of use now: `kapelle agent retire {agent}`, or `suspend` or `quarantine` in an emergency"
            )));
        }
        self.takes_its_place(agent, &wanted)?;
        let registry = self.catalog.registry();
        let SeenDeprecation { deprecation, revision } =
            registry.deprecation(agent).await.map_err(|e| unavailable(&e))?;
        let same =
            |it: &Deprecation| (it.sunset, &it.successor, &it.why) == (wanted.sunset, &wanted.successor, &wanted.why);
        let (deprecation, existed) = match deprecation.filter(same) {
            Some(deprecation) => (deprecation, true),
            None => {
                registry.deprecate(agent, Some(&wanted), revision).await.map_err(|e| not_written(&e))?;
                tracing::info!(%agent, sunset = %wanted.sunset.rfc3339(), by = %wanted.by, "deprecated");
                (wanted, false)
            }
        };
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        let (steps, known) = (self.catalog.snapshot().who_gets(agent), self.pinned(agent).await);
        let open_runs = known.values().flat_map(|it| it.workflows.values()).sum();
        let deprecated = Deprecated { deprecation, existed, steps, open_runs };
        if !existed {
            let id = format!("deprecated-{agent}-{}", deprecated.deprecation.at.nanos());
            tell(&self.followers.bus, "agent.deprecated", agent, &id, &news(agent, &deprecated)).await;
        }
        Ok(deprecated)
    }

    /// Takes that back; says whether nothing was said.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`, `BROKER_UNAVAILABLE`; `WRONG_STATE` if somebody else decides about it at the same time.
    pub(crate) async fn undeprecate(&self, agent: &AgentVersion) -> Result<bool, Diagnosis> {
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        self.seen(agent).await?;
        let registry = self.catalog.registry();
        let SeenDeprecation { deprecation, revision } =
            registry.deprecation(agent).await.map_err(|e| unavailable(&e))?;
        if deprecation.is_none() {
            return Ok(true);
        }
        registry.deprecate(agent, None, revision).await.map_err(|e| not_written(&e))?;
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        tracing::info!(%agent, "deprecated no more");
        Ok(false)
    }

    fn takes_its_place(&self, agent: &AgentVersion, wanted: &Deprecation) -> Result<(), Diagnosis> {
        let Some(successor) = &wanted.successor else { return Ok(()) };
        let invalid = |message: String| Diagnosis::new(Code::REQUEST_INVALID, message);
        if *successor == agent.version {
            return Err(invalid(format!("{agent} cannot take its own place")));
        }
        let successor = AgentVersion { name: agent.name.clone(), version: successor.clone() };
        let snapshot = self.catalog.snapshot();
        if snapshot.agent(&successor).is_none() {
            return Err(Diagnosis::new(Code::UNKNOWN_AGENT, format!("there is no agent {successor}"))
                .hint("register what takes its place first"));
        }
        if snapshot.is_out(&successor) {
            return Err(invalid(format!("{successor} is out of use itself")).hint("name a version that runs get"));
        }
        Ok(())
    }
}

/// What a step gets when the time is over; nobody takes the place of what is released but what somebody releases.
pub(crate) fn then(snapshot: &Snapshot, agent: &AgentVersion, loss: &Loss) -> Option<AgentVersion> {
    loss.then.clone().ok().filter(|_| !snapshot.is_released(agent))
}

fn news(agent: &AgentVersion, deprecated: &Deprecated) -> Value {
    let Deprecation { sunset, successor, by, why, .. } = &deprecated.deprecation;
    let steps: Vec<String> =
        deprecated.steps.iter().map(|it| format!("{}/{}", it.used.workflow, it.used.step)).collect();
    json!({
        "agent": agent.to_string(), "sunset": sunset.rfc3339(), "successor": successor, "by": by, "why": why, "steps": steps,
        "open_runs": deprecated.open_runs,
    })
}

async fn tell(bus: &Bus, kind: &'static str, agent: &AgentVersion, id: &str, data: &Value) {
    bus.emit(kind, &agent.to_string(), id, clock::now(), data).await;
}

/// Shows until when versions are used, and tells when a time is over, of the names that fall to our partitions.
pub(crate) async fn watch(
    bus: Bus,
    catalog: Arc<Catalog>,
    ours: watch::Receiver<BTreeSet<Partition>>,
    stop: CancellationToken,
) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut shown, mut told) = (BTreeSet::new(), BTreeSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let snapshot = catalog.snapshot();
        show(&mut shown, &snapshot);
        told.retain(|agent| snapshot.is_over(agent));
        let now = clock::now();
        let over = snapshot
            .deprecations()
            .iter()
            .filter(|(agent, it)| it.sunset <= now && now.since(it.sunset) <= NEWS_MAX && snapshot.is_over(agent));
        for (agent, deprecation) in over {
            let is_ours = falls_to(bus.partitions(), agent.name.as_str()).is_some_and(|it| ours.borrow().contains(&it));
            if is_ours && told.insert(agent.clone()) {
                tracing::warn!(%agent, "its time is over: no new run gets it");
                let id = format!("sunset-{agent}-{}", deprecation.sunset.nanos());
                let data = json!({
                    "agent": agent.to_string(), "sunset": deprecation.sunset.rfc3339(), "successor": deprecation.successor,
                });
                tell(&bus, "agent.sunset", agent, &id, &data).await;
            }
        }
    }
}

/// A gauge for each that is deprecated; what is no more goes to 0, which is no time that anybody says.
#[allow(clippy::cast_precision_loss)] // seconds for people
fn show(shown: &mut BTreeSet<AgentVersion>, snapshot: &Snapshot) {
    let gauge = |agent: &AgentVersion| DEPRECATED_SUNSET.gauge(&[agent.name.as_str(), &agent.version.to_string()]);
    shown.retain(|agent| {
        let still = snapshot.deprecation(agent).is_some();
        if !still {
            gauge(agent).set(0.0);
        }
        still
    });
    for (agent, deprecation) in snapshot.deprecations() {
        gauge(agent).set(deprecation.sunset.millis() as f64 / 1_000.0);
        shown.insert(agent.clone());
    }
}
