//! The coordinator and the workers: does the API serve, and is every agent served by somebody?

use std::collections::{BTreeMap, BTreeSet};

use kapelle_proto::v1;
use semver::Version;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Check;
use crate::client::{Client, Target};

/// The check that fails when nobody answers.
pub(super) const REACHABLE: &str = "coordinator";

/// Everything about coordinator and workers.
pub(super) async fn checks(target: &Target) -> Vec<Check> {
    let client = match Client::connect(target).await {
        Ok(client) => client,
        Err(failure) => return vec![Check::fail(REACHABLE, failure.message(), failure.advice())],
    };
    let mut checks = vec![health(&client, &target.address).await];
    match agents(&client).await {
        Ok(more) => checks.extend(more),
        Err(status) => {
            let failure = client.failure(status);
            checks.push(Check::fail("workers", failure.message(), failure.advice()));
        }
    }
    checks
}

async fn health(client: &Client, address: &str) -> Check {
    let hint = "It is starting, stopping, or has lost the broker; its log says which.";
    match HealthClient::new(client.channel()).check(HealthCheckRequest::default()).await {
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Check::ok(REACHABLE, format!("serves at {address}")),
            other => Check::fail(REACHABLE, format!("answers at {address}, and is {}", other.as_str_name()), hint),
        },
        Err(status) => Check::fail(REACHABLE, client.failure(status).message(), hint),
    }
}

async fn agents(client: &Client) -> Result<Vec<Check>, Status> {
    let mut fleet = client.fleet();
    let there = fleet.list_coordinators(v1::ListCoordinatorsRequest {}).await?.into_inner().coordinators;
    let workers = fleet.list_workers(v1::ListWorkersRequest {}).await?.into_inner().workers;
    let queues = fleet.list_queues(v1::ListQueuesRequest {}).await?.into_inner().queues;
    let request = v1::ListManifestsRequest { kind: "Agent".into() };
    let registered = client.registry().list_manifests(request).await?.into_inner().manifests;
    let mut checks = vec![Check::ok("coordinators", format!("{} there", there.len()))];
    checks.extend(served(&registered, &workers, &queues));
    Ok(checks)
}

/// The highest version of each agent that is in use needs a worker; another one only while tasks wait for it.
fn served(registered: &[v1::ManifestView], workers: &[v1::WorkerView], queues: &[v1::QueueView]) -> Vec<Check> {
    const NAME: &str = "workers";
    let serving: BTreeSet<&str> =
        workers.iter().filter(|w| !w.draining).flat_map(|w| w.agents.iter().map(String::as_str)).collect();
    let mut highest: BTreeMap<&str, Version> = BTreeMap::new();
    for agent in registered.iter().filter(|it| it.standing.is_none()) {
        let Ok(version) = Version::parse(&agent.version) else { continue };
        let best = highest.entry(&agent.name).or_insert_with(|| version.clone());
        *best = version.max(best.clone());
    }
    let hint =
        "Start one with `kapelle worker start --agents DIR`, or apply the agent again from a folder of this machine.";
    let mut checks = Vec::new();
    for agent in registered {
        let name = format!("{}@{}", agent.name, agent.version);
        if serving.contains(name.as_str()) {
            continue;
        }
        let queue = queues.iter().find(|q| q.agent == agent.name && q.version == agent.version);
        let waiting = queue.map_or(0, |q| q.pending + q.in_flight);
        let is_highest = highest.get(agent.name.as_str()).is_some_and(|v| v.to_string() == agent.version);
        if is_highest || waiting > 0 {
            checks.push(Check::fail(NAME, format!("nobody serves {name}; {waiting} tasks wait for it"), hint));
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, format!("{} there; each of {} agents is served", workers.len(), highest.len())));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn agent(version: &str) -> v1::ManifestView {
        v1::ManifestView { name: "a".into(), version: version.into(), ..Default::default() }
    }

    fn verdicts(agents: &[&str], pending_on_first: u64) -> Vec<Verdict> {
        let worker = v1::WorkerView { agents: agents.iter().map(|a| (*a).to_owned()).collect(), ..Default::default() };
        let queue = v1::QueueView {
            agent: "a".into(),
            version: "1.9.0".into(),
            pending: pending_on_first,
            ..Default::default()
        };
        served(&[agent("1.9.0"), agent("1.10.0")], &[worker], &[queue]).iter().map(|c| c.status).collect()
    }

    #[test]
    fn the_highest_version_and_waiting_tasks_need_a_worker() {
        assert_eq!(verdicts(&["a@1.10.0"], 0), [Verdict::Ok]);
        assert_eq!(verdicts(&["a@1.9.0"], 0), [Verdict::Fail]);
        assert_eq!(verdicts(&["a@1.10.0"], 3), [Verdict::Fail]);
        assert_eq!(verdicts(&["a@1.10.0", "a@1.9.0"], 3), [Verdict::Ok]);
    }
}
