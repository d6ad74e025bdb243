//! Everything that is provisioned on the broker, declared in one place.

use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, Source, StorageType, SubjectTransform,
};
use kapelle_proto::{bucket, stream, subject};
use kapelle_types::limits::AUDIT_BYTES_MAX;
use kapelle_types::{Partition, Partitions};
use serde::{Deserialize, Serialize};

use crate::audit::REPEATS_KNOWN;

/// Consumers per stream; set explicitly since the broker's own default of 1,000 counts every short-lived reader.
const CONSUMERS_MAX: i32 = 10_000;
/// How long presence outlives the last sign of life. Longer than a fail-over of the broker.
pub const PRESENCE_TTL: Duration = Duration::from_secs(15);
/// How long events are kept.
const EVENTS_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of events kept.
const EVENTS_BYTES_MAX: i64 = 1 << 30;
/// How long the sums of a day are kept: two months and some, for whoever asks what last month cost.
const SPEND_AGE_MAX: Duration = Duration::from_secs(70 * 24 * 3600);
/// Bytes of direct submissions that may wait; beyond it publishers are refused.
const SUBMIT_BYTES_MAX: i64 = 1 << 30;

/// What may differ between installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Fixed when the streams are created.
    pub partitions: Partitions,
    /// Copies of every stream: 1 embedded, 3 in production.
    pub replicas: usize,
    /// Where queued tasks live. They are derived from the log, so losing them costs time and no work.
    pub tasks: TaskStorage,
}

/// Where queued tasks live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStorage {
    /// A file that is written behind the acknowledgement: the default on one node.
    AsyncFile,
    /// A file that is written before the acknowledgement, for backlogs that outgrow memory in a cluster.
    File,
    /// Memory, replicated: the default in a cluster.
    Memory,
}

/// What is written down at the first provisioning and read by everybody afterwards. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutRecord {
    /// The number of partitions.
    pub partitions: Partitions,
    /// The version of the layout itself.
    pub version: u32,
}

/// The version of the layout that this build provisions.
pub const LAYOUT_VERSION: u32 = 2;
/// The first version in which timers have a stream of their own.
pub(crate) const TIMERS_PARTED: u32 = 2;

impl Layout {
    /// The record that fixes what may never change.
    #[must_use]
    pub const fn record(&self) -> LayoutRecord {
        LayoutRecord { partitions: self.partitions, version: LAYOUT_VERSION }
    }

    /// All streams: the timers first, since the run logs take from them.
    #[must_use]
    pub fn streams(&self) -> Vec<Config> {
        self.streams_of(LAYOUT_VERSION)
    }

    /// The same as a layout of some version has them.
    pub(crate) fn streams_of(&self, version: u32) -> Vec<Config> {
        let parted = version >= TIMERS_PARTED;
        let mut all: Vec<_> = parted.then(|| self.timers()).into_iter().collect();
        all.extend(self.partitions.all().map(|p| if parted { self.runs(p) } else { self.runs_with_timers(p) }));
        all.extend([
            self.tasks(),
            self.waiting(),
            self.submit(),
            self.dead(),
            self.spend(),
            self.events(),
            self.audit(),
        ]);
        all.push(self.of_workers(bucket::PRESENCE, PRESENCE_TTL));
        all.push(self.of_workers(bucket::PACE, Duration::ZERO));
        all
    }

    /// The run logs of layout 1, with their timers beside them. What such a stream was made able to do cannot be taken from it
    /// again, and it may not take from another one either: so it stays as it is.
    fn runs_with_timers(&self, partition: Partition) -> Config {
        Config {
            subjects: vec![subject::runs_filter(partition), format!("kapelle.timer.{partition}.>")],
            allow_message_schedules: true,
            allow_message_ttl: true,
            sources: None,
            ..self.runs(partition)
        }
    }

    /// One partition's run logs. Kept without limit of age, size or count: open runs may be old.
    ///
    /// Workers publish here, and headers are theirs to choose. So what a header could do to the others' entries is off: no
    /// rollups, which erase; no schedules, which write elsewhere; no times to live. Timers, which need all that, have a stream
    /// of their own, and those that went off are taken over from it by the broker itself.
    #[must_use]
    pub fn runs(&self, partition: Partition) -> Config {
        let (source, destination) = subject::fired_to_control(partition);
        let fired = SubjectTransform { source, destination };
        Config {
            subjects: vec![subject::runs_filter(partition)],
            description: Some("run logs".into()),
            allow_direct: true,
            deny_delete: true,
            duplicate_window: Duration::from_secs(10),
            sources: Some(vec![Source {
                name: stream::TIMERS.to_owned(),
                subject_transforms: vec![fired],
                ..Source::default()
            }]),
            ..self.base(stream::runs(partition))
        }
    }

    /// Durable timers. They are derived from the run logs: one that is lost is found overdue.
    #[must_use]
    pub fn timers(&self) -> Config {
        let behind = matches!(self.tasks, TaskStorage::AsyncFile).then_some(PersistenceMode::Async);
        Config {
            subjects: vec![subject::timers_all().to_owned(), subject::fired_all().to_owned()],
            description: Some("timers, derived from the run logs".into()),
            allow_direct: true,
            allow_message_schedules: true,
            allow_message_ttl: true,
            persist_mode: behind,
            ..self.base(stream::TIMERS.to_owned())
        }
    }

    /// Queued tasks: one message a subject, so that a task that is queued or running cannot be queued again.
    #[must_use]
    pub fn tasks(&self) -> Config {
        let description = Some("tasks, derived from the run logs".into());
        let retention = RetentionPolicy::WorkQueue;
        self.derived(Config { description, retention, ..self.base(stream::TASKS.to_owned()) }, subject::tasks_all())
    }

    /// Tasks that wait for their turn to be queued, of agent versions whose tasks take turns. Whoever deletes one there has
    /// taken it: of two who want to queue it, one can.
    #[must_use]
    pub fn waiting(&self) -> Config {
        let description = Some("tasks that wait for their turn, derived from the run logs".into());
        self.derived(Config { description, ..self.base(stream::WAITING.to_owned()) }, subject::waiting_all())
    }

    /// A stream of attempts, one message a subject.
    fn derived(&self, config: Config, subjects: &str) -> Config {
        let mut config = Config {
            subjects: vec![subjects.to_owned()],
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: 1,
            allow_direct: true,
            ..config
        };
        match self.tasks {
            TaskStorage::AsyncFile => config.persist_mode = Some(PersistenceMode::Async),
            TaskStorage::File => {}
            TaskStorage::Memory => config.storage = StorageType::Memory,
        }
        config
    }

    fn submit(&self) -> Config {
        Config {
            subjects: vec![subject::submit_all().to_owned()],
            description: Some("jobs published straight to the broker".into()),
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_bytes: SUBMIT_BYTES_MAX,
            ..self.base(stream::SUBMIT.to_owned())
        }
    }

    fn dead(&self) -> Config {
        Config {
            subjects: vec![subject::dead_all().to_owned()],
            description: Some("steps that gave up".into()),
            max_messages_per_subject: 1,
            allow_direct: true,
            ..self.base(stream::DEAD.to_owned())
        }
    }

    /// Counters: what was counted is added up by the broker, and only the sums are kept.
    fn spend(&self) -> Config {
        Config {
            subjects: vec![subject::spend_all().to_owned()],
            description: Some("what agents with a daily limit have spent".into()),
            allow_message_counter: true,
            max_messages_per_subject: 1,
            max_age: SPEND_AGE_MAX,
            allow_direct: true,
            ..self.base(stream::SPEND.to_owned())
        }
    }

    fn events(&self) -> Config {
        Config {
            subjects: vec![subject::events_all().to_owned()],
            description: Some("CloudEvents for anyone".into()),
            max_age: EVENTS_AGE_MAX,
            max_bytes: EVENTS_BYTES_MAX,
            allow_direct: true,
            ..self.base(stream::EVENTS.to_owned())
        }
    }

    /// The audit trail: nothing in it can be deleted or purged, and what does not fit any more is refused.
    fn audit(&self) -> Config {
        Config {
            subjects: vec![subject::audit_all().to_owned()],
            description: Some("who did, or was denied, what".into()),
            discard: DiscardPolicy::New,
            max_bytes: AUDIT_BYTES_MAX.cast_signed(),
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            duplicate_window: REPEATS_KNOWN,
            ..self.base(stream::AUDIT.to_owned())
        }
    }

    /// A bucket as the client library would make it but for the rollups: workers write here, and one header of theirs could
    /// erase what others wrote.
    fn of_workers(&self, bucket: &str, max_age: Duration) -> Config {
        Config {
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            max_age,
            discard: DiscardPolicy::New,
            deny_delete: true,
            allow_direct: true,
            // No markers of what expired: nobody watches, and the server would allow rollups for their sake.
            allow_message_ttl: true,
            ..self.base(format!("KV_{bucket}"))
        }
    }

    /// All key-value buckets but those that workers write, which are among the streams.
    #[must_use]
    pub fn buckets(&self) -> Vec<kv::Config> {
        let bucket = |name: &str, history, max_age| kv::Config {
            bucket: name.to_owned(),
            history,
            max_age,
            storage: StorageType::File,
            num_replicas: self.replicas,
            limit_markers: Some(Duration::from_secs(60)),
            ..kv::Config::default()
        };
        vec![
            bucket(bucket::REGISTRY, 1, Duration::ZERO),
            bucket(bucket::KEYS, 1, Duration::ZERO),
            bucket(bucket::CURSORS, 1, Duration::ZERO),
            bucket(bucket::TOKENS, 1, Duration::ZERO),
            bucket(bucket::POLICIES, 1, Duration::ZERO),
            bucket(bucket::SCHEDULES, 1, Duration::ZERO),
            bucket(bucket::APPROVALS, 1, Duration::ZERO),
            bucket(bucket::TURNS, 1, Duration::ZERO),
        ]
    }

    /// The object store of payloads, as the client library would make it but for the rollups: workers publish here, and one
    /// header of theirs could erase everything.
    #[must_use]
    pub fn objects(&self) -> Config {
        let bucket = bucket::PAYLOADS;
        Config {
            subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
            description: Some("payloads above the inline limit, by SHA-256".into()),
            discard: DiscardPolicy::New,
            allow_direct: true,
            ..self.base(format!("OBJ_{bucket}"))
        }
    }

    fn base(&self, name: String) -> Config {
        Config {
            name,
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_consumers: CONSUMERS_MAX,
            ..Config::default()
        }
    }
}
