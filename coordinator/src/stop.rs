//! Stops agent versions in an emergency, and lets them go on.
//!
//! ```text
//!   in use ──suspend──▶ SUSPENDED: runs wait, new ones too ──resume──▶ in use
//!      │                    │ quarantine
//!      └──quarantine──▶ QUARANTINED: runs wait, no new one gets it ──reinstate──▶ in use
//! ```
//!
//! What is written in the registry holds. From there every coordinator has the broker give nothing more out of the version's queue,
//! which needs no worker's help, and tells its workers to look; those stop what they have begun and give it back. Whoever is
//! asked does so at once and waits a little for the workers; what one coordinator leaves undone, another does within seconds.

use std::time::Duration;

use kapelle_bus::registry::{Seen, Standing, Status};
use kapelle_telemetry::clock;
use kapelle_types::{AgentName, AgentVersion, Code, Diagnosis, Principal, Version};
use tokio::time::{Instant, sleep};

use crate::retire::{Retirement, not_written, unavailable};

/// How long is waited for workers to give back what they have begun.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What became of one version.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) agent: AgentVersion,
    pub(crate) standing: Standing,
    /// It was stopped like that before.
    pub(crate) existed: bool,
    /// Attempts that workers still hold: of workers that have not heard of it, or do not answer.
    pub(crate) in_flight: u64,
}

impl Retirement {
    /// The versions that are meant: one, or all that are not on their way out.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`, `BROKER_UNAVAILABLE`.
    pub(crate) async fn meant(
        &self,
        name: &AgentName,
        version: Option<Version>,
    ) -> Result<Vec<AgentVersion>, Diagnosis> {
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        let snapshot = self.catalog.snapshot();
        let of_name = snapshot.agent_versions().into_iter().filter(|it| it.name == *name);
        let found: Vec<_> = match &version {
            Some(version) => of_name.filter(|it| it.version == *version).collect(),
            None => {
                let goes = |it: &AgentVersion| snapshot.standing_of(it).is_none_or(|it| it.status.stops());
                of_name.filter(goes).collect()
            }
        };
        if found.is_empty() {
            let named = version.map_or_else(|| name.to_string(), |version| format!("{name}@{version}"));
            return Err(Diagnosis::new(Code::UNKNOWN_AGENT, format!("there is no agent {named} in use"))
                .hint("`kapelle agent list` shows what is registered"));
        }
        Ok(found)
    }

    /// Stops versions, all of them before any is waited for.
    ///
    /// # Errors
    /// `WRONG_STATE` of what is on its way out, or if somebody else decides about a version at the same time; `BROKER_UNAVAILABLE`.
    pub(crate) async fn stop(
        &self,
        agents: Vec<AgentVersion>,
        status: Status,
        (by, why): (Principal, String),
    ) -> Result<Vec<Stopped>, Diagnosis> {
        let mut stopped = Vec::with_capacity(agents.len());
        for agent in agents {
            let Seen { standing, revision } = self.seen(&agent).await?;
            let existed = standing.as_ref().is_some_and(|it| it.status == status || it.status == Status::Quarantined);
            let standing = match standing {
                Some(standing) if existed => standing,
                Some(standing) if !standing.status.stops() => {
                    let message = format!("{agent} is {}: it cannot be stopped besides", standing.status.as_str());
                    return Err(Diagnosis::new(Code::WRONG_STATE, message).hint(
                        "nothing new comes to it; end its runs with `kapelle run bulk cancel`, or reinstate it first",
                    ));
                }
                _ => {
                    let (by, why) = (by.clone(), why.clone());
                    let standing = Standing { status, by, at: clock::now(), why, certificate: None };
                    let registry = self.catalog.registry();
                    registry.stand(&agent, &standing, revision).await.map_err(|e| not_written(&e))?;
                    tracing::warn!(%agent, status = status.as_str(), by = %standing.by, "an agent is stopped");
                    standing
                }
            };
            stopped.push(Stopped { agent, standing, existed, in_flight: 0 });
        }
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        for it in &stopped {
            self.catalog.settle_queue(&it.agent).await.map_err(|e| unavailable(&e))?;
        }
        let until = Instant::now() + PATIENCE;
        for it in &mut stopped {
            it.in_flight = self.until_idle(&it.agent, until).await?;
        }
        Ok(stopped)
    }

    /// Waits until no worker holds a task of the version; how many are held when the time is over.
    async fn until_idle(&self, agent: &AgentVersion, until: Instant) -> Result<u64, Diagnosis> {
        loop {
            let held = self.followers.bus.queue_state(agent).await.map_err(|e| unavailable(&e))?.in_flight;
            if held == 0 || Instant::now() >= until {
                return Ok(held);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets suspended versions go on; those that did.
    ///
    /// # Errors
    /// `WRONG_STATE` of what is quarantined, or if somebody else decides about a version at the same time; `BROKER_UNAVAILABLE`.
    pub(crate) async fn resume(&self, agents: Vec<AgentVersion>) -> Result<Vec<AgentVersion>, Diagnosis> {
        let mut resumed = Vec::new();
        for agent in agents {
            let Seen { standing, revision } = self.seen(&agent).await?;
            match standing.map(|it| it.status) {
                Some(Status::Suspended) => {
                    self.catalog.registry().restore(&agent, revision).await.map_err(|e| not_written(&e))?;
                    tracing::info!(%agent, "a stopped agent goes on");
                    resumed.push(agent);
                }
                Some(Status::Quarantined) => {
                    let message = format!("{agent} is QUARANTINED");
                    return Err(Diagnosis::new(Code::WRONG_STATE, message).hint(format!(
                        "whoever registers agents puts it back into use: `kapelle agent reinstate {agent}`"
                    )));
                }
                Some(Status::Draining | Status::Retired) | None => {}
            }
        }
        self.go_on(&resumed).await?;
        Ok(resumed)
    }

    /// Has the queues of versions go on that are stopped no more.
    pub(crate) async fn go_on(&self, agents: &[AgentVersion]) -> Result<(), Diagnosis> {
        self.catalog.up_to_date().await.map_err(|e| unavailable(&e))?;
        for agent in agents {
            self.catalog.settle_queue(agent).await.map_err(|e| unavailable(&e))?;
        }
        Ok(())
    }
}
