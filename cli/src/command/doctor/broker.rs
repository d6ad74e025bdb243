//! The broker: does it answer, is it new enough, is what is declared there, do the clocks agree?

use std::time::Duration;

use kapelle_broker::FLOOR;
use kapelle_bus::layout::{LAYOUT_VERSION, Layout, TaskStorage};
use kapelle_bus::{Connection, Error, provision};
use kapelle_proto::stream;
use kapelle_telemetry::clock;
use kapelle_types::Timestamp;
use semver::Version;
use serde_json::Value;

use super::Check;
use crate::stack::Address;

/// The check that fails when nobody answers.
pub(super) const REACHABLE: &str = "broker";
/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clocks further apart than this make ages and deadlines look odd.
const SKEW_MAX: Duration = Duration::from_secs(2);
/// A store fuller than this, in percent, should be looked at: at 80 starts are refused.
const STORE_PERCENT_WARN: u64 = 70;

/// Everything about the broker.
pub(super) async fn checks(address: &Address) -> Vec<Check> {
    let url = &address.nats_url;
    let connection = match address.connect("kapelle-doctor", PATIENCE).await {
        Ok(connection) => connection,
        Err(failure) => {
            let hint = "Start one with `kapelle dev`, or name a running one with `--nats-url` or KAPELLE_NATS_URL.";
            return vec![Check::fail(REACHABLE, failure.message(), hint)];
        }
    };
    let info = connection.client().server_info();
    let mut checks = vec![version(url, &info.version), sync(&info.server_name)];
    checks.extend(provisioned(&connection).await);
    checks.extend(store(&connection).await);
    checks.extend(skew(&connection).await);
    checks
}

fn version(url: &str, text: &str) -> Check {
    let found = format!("nats-server {text} at {url}");
    match Version::parse(text) {
        Ok(version) if version >= FLOOR => Check::ok(REACHABLE, found),
        _ => Check::fail("broker version", found, format!("Kapelle needs nats-server {FLOOR} or newer.")),
    }
}

/// The sync policy decides what a power cut costs, and the protocol does not tell it.
fn sync(server_name: &str) -> Check {
    if server_name.starts_with("kapelle-") {
        return Check::ok("sync policy", "set by Kapelle: every 100 ms, or each write with `--durability power`");
    }
    Check::warn(
        "sync policy",
        format!("{server_name} does not tell its sync_interval"),
        "Look into its nats.conf: `sync_interval: always` or `100ms`. Its default of two minutes loses acknowledged work \
         in a power cut.",
    )
}

async fn provisioned(connection: &Connection) -> Vec<Check> {
    const NAME: &str = "streams";
    let record = match provision::read_record(connection.jetstream()).await {
        Ok(record) => record,
        Err(error @ Error::NotFound(_)) => {
            return vec![Check::fail(NAME, error.to_string(), "Start `kapelle dev` or `kapelle coordinator start`.")];
        }
        Err(error) => return vec![Check::fail(NAME, error.to_string(), "The broker has no JetStream, or no leader.")],
    };
    if record.version > LAYOUT_VERSION {
        let message = format!("the layout has version {}, this release knows {LAYOUT_VERSION}", record.version);
        return vec![Check::fail(NAME, message, "Use the release that provisioned it, or a newer one.")];
    }
    let (replicas, tasks) = observed(connection).await;
    let layout = Layout { partitions: record.partitions, replicas, tasks };
    match provision::differences(connection.jetstream(), &layout).await {
        Ok(none) if none.is_empty() => {
            let message = format!("{} partitions, replication {replicas}, as declared", record.partitions.count());
            let old =
                format!("layout {}, in which a worker's headers can write to run logs and erase them", record.version);
            let hint = "Where workers are not to be trusted, make a new installation; these streams cannot be changed.";
            let current = record.version == LAYOUT_VERSION;
            vec![if current { Check::ok(NAME, message) } else { Check::warn(NAME, format!("{message}; {old}"), hint) }]
        }
        Ok(differences) => {
            let hint = "A coordinator creates what is missing when it starts; what differs was changed by hand.";
            differences.into_iter().map(|d| Check::fail(NAME, d, hint)).collect()
        }
        Err(error) => vec![Check::fail(NAME, error.to_string(), "The broker has no leader right now; try again.")],
    }
}

/// What may differ between installations is taken from the first run log and the task queue, so that the others are
/// compared with them.
async fn observed(connection: &Connection) -> (usize, TaskStorage) {
    let of = |name: String| async move { connection.jetstream().get_stream(name).await.ok() };
    let first = of(stream::runs(kapelle_types::Partition(0))).await;
    let replicas = first.map_or(1, |s| s.cached_info().config.num_replicas);
    let tasks = of(stream::TASKS.to_owned()).await.map_or(TaskStorage::AsyncFile, |s| {
        let config = &s.cached_info().config;
        let in_memory = serde_json::to_value(config.storage).is_ok_and(|v| v == "memory");
        match (in_memory, config.persist_mode.is_some()) {
            (true, _) => TaskStorage::Memory,
            (false, true) => TaskStorage::AsyncFile,
            (false, false) => TaskStorage::File,
        }
    });
    (replicas, tasks)
}

async fn store(connection: &Connection) -> Option<Check> {
    const NAME: &str = "broker store";
    let account = connection.jetstream().query_account().await.ok()?;
    let used = account.storage;
    let mib = used >> 20;
    // Without a limit of the account, the server's own holds, which is not told; the disk's check speaks for it.
    let Some(limit) = account.limits.max_storage.and_then(|l| u64::try_from(l).ok()).filter(|l| *l > 0) else {
        return Some(Check::ok(NAME, format!("{mib} MiB used, no limit on the account")));
    };
    let percent = used.saturating_mul(100) / limit;
    let found = format!("{mib} of {} MiB used ({percent} %)", limit >> 20);
    Some(if percent < STORE_PERCENT_WARN {
        Check::ok(NAME, found)
    } else {
        Check::warn(NAME, found, "Give the account more storage: at 80 % new runs are refused.")
    })
}

/// The broker's clock is the log's; ours is the one that ages are shown by.
async fn skew(connection: &Connection) -> Option<Check> {
    let before = clock::now();
    let subject = format!("$JS.API.STREAM.INFO.{}", stream::TASKS);
    let answer = tokio::time::timeout(PATIENCE, connection.client().request(subject, "".into())).await.ok()?.ok()?;
    let after = clock::now();
    let answer: Value = serde_json::from_slice(&answer.payload).ok()?;
    let theirs = Timestamp::parse(answer["ts"].as_str()?)?;
    Some(compare(theirs, before, after))
}

/// Their time lies between the two of ours if the clocks agree.
fn compare(theirs: Timestamp, before: Timestamp, after: Timestamp) -> Check {
    const NAME: &str = "clock";
    let apart = before.since(theirs).max(theirs.since(after));
    let found = format!("{} ms apart from the broker's", apart.as_millis());
    if apart <= SKEW_MAX {
        return Check::ok(NAME, found);
    }
    Check::warn(NAME, found, "Synchronise both machines with NTP; times in logs and ages in lists are off by as much.")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn an_old_broker_fails() {
        assert_eq!(version("nats://x", "2.15.1").status, Verdict::Ok);
        assert_eq!(version("nats://x", "2.10.0").status, Verdict::Fail);
        assert_eq!(version("nats://x", "?").status, Verdict::Fail);
    }

    #[test]
    fn skew_is_what_the_round_trip_cannot_explain() {
        let at = Timestamp::from_millis;
        assert_eq!(compare(at(1_050), at(1_000), at(1_100)).message, "0 ms apart from the broker's");
        assert_eq!(compare(at(500), at(1_000), at(1_100)).message, "500 ms apart from the broker's");
        assert_eq!(compare(at(9_100), at(1_000), at(1_100)).status, Verdict::Warn);
    }
}
