//! Which partitions are ours: rendezvous hashing over the coordinators that are alive.
//!
//! Everybody announces itself twice a second on a core NATS subject; one that is silent for two seconds is presumed gone. A
//! wrong presumption means two owners for a while, which is harmless: both read the same log in the same order and decide
//! the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kapelle_bus::Bus;
use kapelle_engine::behaviour;
use kapelle_telemetry::metrics::ENTRIES_REFUSED;
use kapelle_types::{Partition, Partitions, Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;

/// The subject on which coordinators announce themselves.
pub(crate) const ALIVE: &str = "kapelle.coordinator.alive";
/// How often.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(500);
/// How long silence means absence.
const PRESUMED_GONE: Duration = Duration::from_secs(2);
/// Coordinators beyond which announcements are not kept: a broken client must not fill our memory.
const PEERS_MAX: usize = 1_000;

/// What a coordinator says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its id.
    pub id: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// What it serves.
    pub partitions: BTreeSet<Partition>,
    /// Open runs of these.
    pub open_runs: u64,
    /// The newest engine behaviour that it knows.
    pub behaviour: u32,
    /// Up to which sequence of the registry nothing on its way there was resolved as before. 0 from one that does not say.
    #[serde(default)]
    pub catalog: u64,
    /// It is about to leave: do not count on it.
    pub leaving: bool,
}

/// The living coordinators, ourselves included.
pub type Peers = BTreeMap<String, Announcement>;

/// Announces us, listens to the others and says which partitions are ours.
pub struct Ownership {
    /// Partitions that we should serve.
    pub ours: watch::Receiver<BTreeSet<Partition>>,
    /// Who is alive.
    pub peers: watch::Receiver<Arc<Peers>>,
    /// What we say of ourselves.
    pub own: watch::Sender<(BTreeSet<Partition>, u64)>,
    announced: watch::Receiver<bool>,
}

impl Ownership {
    /// Starts announcing and listening until `stop`.
    #[must_use]
    pub fn start(bus: Bus, id: String, started_at: Timestamp, catalog: Arc<Catalog>, stop: CancellationToken) -> Self {
        let alone = assign(bus.partitions(), &[id.as_str()], &id);
        let (ours_out, ours) = watch::channel(alone);
        let (peers_out, peers) = watch::channel(Arc::new(Peers::new()));
        let (own, own_in) = watch::channel((BTreeSet::new(), 0));
        let (said, announced) = watch::channel(false);
        let service = Service { bus, id, started_at, catalog, own: own_in, ours: ours_out, peers: peers_out, said };
        tokio::spawn(service.run(stop));
        Self { ours, peers, own, announced }
    }

    /// Waits until we have announced ourselves: what is sent over the connection from here on comes behind it.
    pub(crate) async fn announced(&mut self) {
        let _ = self.announced.wait_for(|announced| *announced).await; // it fails only if the service has ended
    }
}

struct Service {
    bus: Bus,
    id: String,
    started_at: Timestamp,
    catalog: Arc<Catalog>,
    own: watch::Receiver<(BTreeSet<Partition>, u64)>,
    ours: watch::Sender<BTreeSet<Partition>>,
    peers: watch::Sender<Arc<Peers>>,
    said: watch::Sender<bool>,
}

impl Service {
    async fn run(self, stop: CancellationToken) {
        let mut heard: BTreeMap<String, (Instant, Announcement)> = BTreeMap::new();
        let mut ticks = interval(ANNOUNCE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Ok(mut alive) = self.bus.client().subscribe(ALIVE).await else {
                tokio::time::sleep(ANNOUNCE_EVERY).await;
                continue;
            };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return self.announce(true).await,
                    message = alive.next() => match message {
                        Some(message) => hear(&mut heard, &message.payload),
                        None => break,
                    },
                    _ = ticks.tick() => {
                        self.announce(false).await;
                        self.decide(&mut heard);
                    }
                }
            }
        }
    }

    async fn announce(&self, leaving: bool) {
        let (partitions, open_runs) = self.own.borrow().clone();
        let (id, started_at) = (self.id.clone(), self.started_at);
        let behaviour = behaviour::CURRENT;
        let catalog = self.catalog.settled();
        let announcement = Announcement { id, started_at, partitions, open_runs, behaviour, catalog, leaving };
        if let Ok(body) = serde_json::to_vec(&announcement)
            && self.bus.client().publish(ALIVE, body.into()).await.is_ok()
        {
            self.said.send_replace(true);
        }
    }

    fn decide(&self, heard: &mut BTreeMap<String, (Instant, Announcement)>) {
        heard.retain(|_, (at, said)| at.elapsed() < PRESUMED_GONE && !said.leaving);
        let mut ids: Vec<&str> = heard.keys().map(String::as_str).collect();
        if !ids.contains(&self.id.as_str()) {
            ids.push(&self.id);
        }
        let ours = assign(self.bus.partitions(), &ids, &self.id);
        self.ours.send_if_modified(|before| {
            let changed = *before != ours;
            if changed {
                tracing::info!(coordinators = ids.len(), partitions = ours.len(), "partitions are assigned anew");
                *before = ours;
            }
            changed
        });
        let peers: Peers = heard.iter().map(|(id, (_, said))| (id.clone(), said.clone())).collect();
        self.peers.send_replace(Arc::new(peers));
    }
}

fn hear(heard: &mut BTreeMap<String, (Instant, Announcement)>, payload: &[u8]) {
    match serde_json::from_slice::<Announcement>(payload) {
        Ok(said) if heard.len() < PEERS_MAX || heard.contains_key(&said.id) => {
            heard.insert(said.id.clone(), (Instant::now(), said));
        }
        Ok(_) => tracing::warn!("too many coordinators announce themselves; one is not counted"),
        Err(_) => ENTRIES_REFUSED.counter(&["bad_announcement"]).increment(1),
    }
}

/// The partitions that fall to `id`: each goes to the coordinator whose hash with it is the highest, but none takes more
/// than its share, so that no coordinator is without work while another has two.
fn assign(partitions: Partitions, ids: &[&str], id: &str) -> BTreeSet<Partition> {
    let share = usize::from(partitions.count()).div_ceil(ids.len().max(1));
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ours = BTreeSet::new();
    for partition in partitions.all() {
        let mut ranked: Vec<(&str, Sha256)> =
            ids.iter().map(|i| (*i, Sha256::of(format!("{i}/{partition}").as_bytes()))).collect();
        ranked.sort_by_key(|(_, hash)| std::cmp::Reverse(*hash));
        let owner = ranked.iter().map(|(i, _)| *i).find(|i| taken.get(i).copied().unwrap_or(0) < share);
        if let Some(owner) = owner {
            *taken.entry(owner).or_default() += 1;
            if owner == id {
                ours.insert(partition);
            }
        }
    }
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_and_shares_are_even() {
        for count in [1, 4, 16] {
            for n in 1..=5 {
                let names: Vec<String> = (0..n).map(|i| format!("c{i}")).collect();
                let ids: Vec<&str> = names.iter().map(String::as_str).collect();
                let partitions = Partitions::new(count).unwrap();
                let mut all = BTreeSet::new();
                for id in &ids {
                    let ours = assign(partitions, &ids, id);
                    assert!(ours.len() <= usize::from(count).div_ceil(n));
                    assert!(ours.iter().all(|p| all.insert(*p)), "two owners");
                }
                assert_eq!(all.len(), usize::from(count));
            }
        }
    }
}
