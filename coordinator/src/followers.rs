//! Whether every coordinator follows the registry as far as is asked for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::{Bus, presence};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::ownership::Peers;

/// How often is looked while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// All coordinators, as this one sees them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Followers {
    pub(crate) bus: Bus,
    pub(crate) id: String,
    pub(crate) peers: watch::Receiver<Arc<Peers>>,
}

impl Followers {
    /// Waits until every coordinator that may be alive follows the registry up to this revision; gives those that do not by
    /// then. One that is silent counts until its presence has expired; one that comes announces itself first and reads the
    /// registry afterwards.
    pub(crate) async fn behind(&self, revision: u64, patience: Duration) -> Result<Vec<String>, kapelle_bus::Error> {
        let until = Instant::now() + patience;
        loop {
            let peers = self.peers.borrow().clone();
            let follows = |id: &String| peers.get(id).is_some_and(|peer| peer.catalog >= revision);
            let present = self.bus.present().await?;
            let present = present.into_iter().filter(|it| it.kind == presence::Kind::Coordinator).map(|it| it.id);
            let known: BTreeSet<String> = peers.keys().cloned().chain(present).chain([self.id.clone()]).collect();
            let behind: Vec<String> = known.into_iter().filter(|id| !follows(id)).collect();
            if behind.is_empty() || Instant::now() >= until {
                return Ok(behind);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
