//! Makes what is declared be there, and says what differs. Idempotent; several may do it at once.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{GetStreamError, KeyValueErrorKind};
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{Context, kv};
use kapelle_proto::{bucket, stream, subject};
use kapelle_types::{AgentVersion, limits};

use crate::Error;
use crate::layout::{LAYOUT_VERSION, Layout, LayoutRecord};
use crate::leader::{self, Last};
use crate::tasks::QueueLimits;

/// The registry key that fixes the layout.
const LAYOUT_KEY: &str = "layout";

/// Creates what is missing. A run log that should exist and does not stops the start: it may be a wrong disk or key.
///
/// # Errors
/// [`Error::Unavailable`] while the broker is not ready; [`Error::Refused`] if what is there differs in what cannot be
/// changed, or if the layout was provisioned with another number of partitions.
pub async fn provision(jetstream: &Context, layout: &Layout) -> Result<LayoutRecord, Error> {
    for bucket in layout.buckets() {
        ensure_bucket(jetstream, bucket).await?;
    }
    let existing = settled_record(jetstream).await?;
    if let Some(record) = &existing {
        if record.version > LAYOUT_VERSION {
            return Err(too_new(record.version));
        }
        for partition in record.partitions.all() {
            let name = stream::runs(partition);
            if jetstream.get_stream(&name).await.is_err_and(|e| is_missing(&e)) {
                return Err(missing_log(&name));
            }
        }
    }
    let layout = Layout { partitions: existing.as_ref().map_or(layout.partitions, |r| r.partitions), ..layout.clone() };
    let version = existing.as_ref().map_or(LAYOUT_VERSION, |record| record.version);
    for config in layout.streams_of(version) {
        jetstream.get_or_create_stream(config).await.map_err(Error::unavailable)?;
    }
    ensure_consumer(jetstream, stream::SUBMIT, submit_consumer()).await?;
    jetstream.get_or_create_stream(layout.objects()).await.map_err(Error::unavailable)?;
    if existing.is_none() {
        write_record(jetstream, &layout.record()).await?;
    }
    settled_record(jetstream).await?.ok_or_else(missing_record)
}

fn missing_record() -> Error {
    Error::NotFound("the broker is not provisioned; start a coordinator first".into())
}

/// The record by the word of the leader: a replica that lags has none yet, and streams would be made anew that are gone.
async fn settled_record(jetstream: &Context) -> Result<Option<LayoutRecord>, Error> {
    let (stream, subject) = (format!("KV_{}", bucket::REGISTRY), format!("$KV.{}.{LAYOUT_KEY}", bucket::REGISTRY));
    let there = leader::last(jetstream, &stream, &subject).await?.and_then(Last::there);
    there.map(|message| parse(&message.payload)).transpose()
}

fn parse(bytes: &[u8]) -> Result<LayoutRecord, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Unreadable(format!("the layout record: {e}")))
}

fn too_new(version: u32) -> Error {
    let message = format!("the broker has layout {version}, this release knows {LAYOUT_VERSION}; use a newer one");
    Error::Refused { refusal: crate::Refusal::Other, message }
}

fn missing_log(name: &str) -> Error {
    Error::Refused {
        refusal: crate::Refusal::Other,
        message: format!(
            "stream {name} was provisioned and is not there; is this the right data folder, disk and key?"
        ),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    error.to_string().contains("not found")
}

async fn ensure_bucket(jetstream: &Context, config: kv::Config) -> Result<(), Error> {
    if jetstream.get_key_value(&config.bucket).await.is_ok() {
        return Ok(());
    }
    jetstream.create_key_value(config).await.map(drop).map_err(Error::unavailable)
}

async fn ensure_consumer(jetstream: &Context, stream: &str, config: pull::Config) -> Result<(), Error> {
    jetstream.create_consumer_on_stream(config, stream).await.map(drop).map_err(Error::unavailable)
}

/// Reads what was provisioned, from any replica: everybody may.
///
/// # Errors
/// [`Error::NotFound`] if nothing was.
pub async fn read_record(jetstream: &Context) -> Result<LayoutRecord, Error> {
    let bucket = jetstream.get_key_value(bucket::REGISTRY).await.map_err(|e| match e.kind() {
        // The client says this of a bucket that is not there as well as of a broker that is not ready.
        KeyValueErrorKind::GetBucket if !e.to_string().contains("not found") => Error::unavailable(e),
        KeyValueErrorKind::GetBucket | KeyValueErrorKind::InvalidStoreName | KeyValueErrorKind::JetStream => {
            missing_record()
        }
    })?;
    let bytes = bucket.get(LAYOUT_KEY).await.map_err(Error::unavailable)?.ok_or_else(missing_record)?;
    parse(&bytes)
}

async fn write_record(jetstream: &Context, record: &LayoutRecord) -> Result<(), Error> {
    let bucket = jetstream.get_key_value(bucket::REGISTRY).await.map_err(Error::unavailable)?;
    let bytes = serde_json::to_vec(record).map_err(|e| Error::Unreadable(e.to_string()))?;
    // Whoever is first fixes it; the others read theirs.
    let _ = bucket.create(LAYOUT_KEY, bytes.into()).await;
    Ok(())
}

/// Makes the streams of tasks anew that the broker lost: they are derived from the run logs, so what stood in them is queued
/// again. Says whether one was lost.
///
/// # Errors
/// [`Error::Unavailable`] while the broker is not ready.
pub async fn ensure_tasks(jetstream: &Context, layout: &Layout) -> Result<bool, Error> {
    let mut lost = false;
    for config in [layout.tasks(), layout.waiting()] {
        match jetstream.get_stream(&config.name).await {
            Ok(_) => {}
            Err(e) if is_missing(&e) => {
                jetstream.get_or_create_stream(config).await.map_err(Error::unavailable)?;
                lost = true;
            }
            Err(e) => return Err(Error::unavailable(e)),
        }
    }
    Ok(lost)
}

/// When a queue that is stopped goes on by itself: after everybody who could be asked.
fn for_ever() -> Result<async_nats::datetime::DateTime, Error> {
    async_nats::datetime::parse_rfc3339("2222-02-22T00:00:00Z").map_err(Error::unavailable)
}

/// Creates or widens the queue of one agent version, stops it, or lets it go on. Its concurrency is enforced over the whole fleet
/// by the broker itself, and so is that nothing is given out of one that is stopped; what else the fleet has to keep, it tells the workers.
///
/// # Errors
/// [`Error::Unavailable`] while the broker is not ready.
pub async fn ensure_queue(jetstream: &Context, agent: &AgentVersion, limits: QueueLimits) -> Result<(), Error> {
    let name = crate::tasks::queue_name(agent);
    let config = pull::Config {
        durable_name: Some(name.clone()),
        description: Some(format!("tasks of {agent}")),
        filter_subject: subject::task_filter(agent),
        ack_policy: AckPolicy::Explicit,
        ack_wait: limits::LEASE,
        max_deliver: -1,
        max_ack_pending: i64::from(limits.concurrency),
        metadata: limits.metadata(),
        max_waiting: 4096,
        // Of a new one. The broker leaves one that is there as it is in this.
        pause_until: if limits.stopped { Some(for_ever()?) } else { None },
        ..pull::Config::default()
    };
    let queue = jetstream.create_consumer_on_stream(config, stream::TASKS).await.map_err(Error::unavailable)?;
    if queue.cached_info().paused != limits.stopped {
        let tasks = jetstream.get_stream_no_info(stream::TASKS).await.map_err(Error::unavailable)?;
        let set = if limits.stopped {
            tasks.pause_consumer(&name, for_ever()?).await
        } else {
            tasks.resume_consumer(&name).await
        };
        set.map_err(Error::unavailable)?;
    }
    Ok(())
}

/// The durable consumer that all coordinators share for direct submissions.
pub const SUBMIT_CONSUMER: &str = "coordinators";

fn submit_consumer() -> pull::Config {
    pull::Config {
        durable_name: Some(SUBMIT_CONSUMER.into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: limits::LEASE,
        max_ack_pending: 4096,
        ..pull::Config::default()
    }
}

/// Compares what is there with what is declared; each line names one difference. Empty means all is well.
///
/// # Errors
/// [`Error::Unavailable`] while the broker is not ready.
pub async fn differences(jetstream: &Context, layout: &Layout) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let version = read_record(jetstream).await.map_or(LAYOUT_VERSION, |record| record.version);
    for want in layout.streams_of(version) {
        match jetstream.get_stream(&want.name).await {
            Ok(stream) => compare(&want, &stream.cached_info().config, &mut found),
            Err(e) if is_missing(&e) => found.push(format!("stream {} is missing", want.name)),
            Err(e) => return Err(Error::unavailable(e)),
        }
    }
    for want in layout.buckets() {
        if jetstream.get_key_value(&want.bucket).await.is_err() {
            found.push(format!("bucket {} is missing", want.bucket));
        }
    }
    if jetstream.get_object_store(bucket::PAYLOADS).await.is_err() {
        found.push(format!("object store {} is missing", bucket::PAYLOADS));
    }
    Ok(found)
}

fn compare(want: &Config, have: &Config, found: &mut Vec<String>) {
    let mut differ = |what: &str, want: String, have: String, name: &str| {
        if want != have {
            found.push(format!("stream {name}: {what} is {have}, declared is {want}"));
        }
    };
    let made = |c: &Config| if c.sources.is_some() { "taken over" } else { "not taken over" };
    if want.sources.is_some() {
        differ("what timers bring", made(want).to_owned(), made(have).to_owned(), &want.name);
    }
    let mut want_subjects = want.subjects.clone();
    let mut have_subjects = have.subjects.clone();
    want_subjects.sort();
    have_subjects.sort();
    differ("subjects", want_subjects.join(" "), have_subjects.join(" "), &want.name);
    differ("retention", format!("{:?}", want.retention), format!("{:?}", have.retention), &want.name);
    differ("storage", format!("{:?}", want.storage), format!("{:?}", have.storage), &want.name);
    differ("replicas", want.num_replicas.to_string(), have.num_replicas.to_string(), &want.name);
    differ("deny_purge", want.deny_purge.to_string(), have.deny_purge.to_string(), &want.name);
    differ("deny_delete", want.deny_delete.to_string(), have.deny_delete.to_string(), &want.name);
    let limits = |c: &Config| format!("{} messages a subject, {:?}", c.max_messages_per_subject.max(0), c.discard);
    differ("limits", limits(want), limits(have), &want.name);
}
