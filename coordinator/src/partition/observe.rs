//! What the broker holds, seen once a second from beside the partition's loop.

use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_proto::stream;
use kapelle_types::{Partition, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use super::effect::TasksState;

/// How often the broker is asked what the task queue and the log look like.
const OBSERVE: Duration = Duration::from_secs(1);

/// What the broker was last seen to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed {
    pub(super) tasks: TasksState,
    pub(super) log_created: i64,
    /// The log's last sequence went back since it was seen before.
    pub(super) log_shrunk: bool,
}

/// Asks the broker once a second what the task queue and the log look like: the queue first, see `compare_tasks`.
pub(super) async fn observe(bus: Bus, partition: Partition, observed: watch::Sender<Option<Observed>>) {
    let log_name = stream::runs(partition);
    let mut log_end = 0;
    while !observed.is_closed() {
        sleep(OBSERVE).await;
        let Ok(tasks) = bus.stream_state(stream::TASKS).await else { continue };
        let Ok(waiting) = bus.stream_state(stream::WAITING).await else { continue };
        let Ok(log) = bus.stream_state(&log_name).await else { continue };
        // What waits for its turn is missed as little as what is queued.
        let streams = [tasks, waiting];
        let oldest: Option<Timestamp> = streams.iter().filter(|it| it.messages > 0).map(|it| it.first_at).min();
        let tasks = TasksState { created: streams.map(|it| it.created), oldest, log_end: log.last_seq };
        let log_shrunk = log.last_seq < log_end;
        log_end = log.last_seq;
        observed.send_replace(Some(Observed { tasks, log_created: log.created, log_shrunk }));
    }
}
