//! The floor: the least that a durable queue with durable results can cost on JetStream, and nothing else.
//!
//! For each step one message on a TASKS work queue (file) and one on a REPORTS stream (file), over as many REPORTS streams
//! as the product has partitions. Both are pulled in batches and acknowledged; publishing is pipelined. This process is
//! client and would-be coordinator in one: it publishes the next task of a run when the report of the last one comes. There
//! is no run log, no submission, no engine, no contract, no gRPC: whatever the product does beyond this is its own cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::args::{Kind, Workload};
use crate::measure::Timings;

/// The queue of tasks.
pub(crate) const TASKS: &str = "FLOOR_TASKS";
/// Messages pulled at once.
const BATCH: usize = 500;
/// Nothing takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The layout, for the printed result.
pub(crate) fn layout(partitions: u16) -> String {
    format!(
        "floor: work queue {TASKS} (file, acked), {partitions} streams FLOOR_REPORTS_<p> (file, acked), \
         publishes pipelined, pulled in batches of {BATCH}"
    )
}

/// Connects as both parts of the floor do.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Context> {
    let client = async_nats::connect(url).await.context("connecting to the broker")?;
    let mut context = jetstream::new(client);
    context.set_timeout(Duration::from_secs(30));
    Ok(context)
}

/// Makes the streams anew and empty.
pub(crate) async fn provision(context: &Context, partitions: u16) -> anyhow::Result<()> {
    let mut streams = vec![(TASKS.to_owned(), "floor.task.>".to_owned())];
    streams.extend((0..partitions).map(|p| (reports(p), format!("floor.report.{p}.>"))));
    for (name, subject) in streams {
        let _ = context.delete_stream(&name).await;
        let config = Config {
            name: name.clone(),
            subjects: vec![subject],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            ..Config::default()
        };
        let stream = context.create_stream(config).await?;
        let consumer = pull::Config {
            durable_name: Some("floor".into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 20_000,
            ..pull::Config::default()
        };
        stream.create_consumer(consumer).await?;
    }
    Ok(())
}

/// Removes the streams.
pub(crate) async fn remove(context: &Context, partitions: u16) {
    let _ = context.delete_stream(TASKS).await;
    for partition in 0..partitions {
        let _ = context.delete_stream(reports(partition)).await;
    }
}

fn reports(partition: u16) -> String {
    format!("FLOOR_REPORTS_{partition}")
}

/// Opens a consumer's stream of messages.
pub(crate) async fn messages(context: &Context, stream: &str, batch: usize) -> anyhow::Result<pull::Stream> {
    let consumer: PullConsumer = context.get_consumer_from_stream("floor", stream).await?;
    Ok(consumer.stream().max_messages_per_batch(batch).expires(Duration::from_secs(30)).messages().await?)
}

/// A report that came: which run, which step.
struct Report {
    run: usize,
}

/// A run that is under way.
struct Underway {
    started: Instant,
    left: usize,
}

/// Works through the workload once.
pub(crate) async fn drive(
    context: &Context,
    workload: &Workload,
    partitions: u16,
    payload: Bytes,
) -> anyhow::Result<Timings> {
    let (sender, mut reports_in) = mpsc::channel(4_096);
    let mut readers = Vec::new();
    for partition in 0..partitions {
        let incoming = messages(context, &reports(partition), BATCH).await?;
        readers.push(tokio::spawn(read(incoming, sender.clone())));
    }
    let publisher = Publisher::start(context.clone(), payload);
    let mut underway: HashMap<usize, Underway> = HashMap::new();
    let mut latencies = Vec::with_capacity(workload.runs);
    let begun = Instant::now();
    let mut next = 0;
    while latencies.len() < workload.runs {
        while underway.len() < workload.in_flight && next < workload.runs {
            underway.insert(next, Underway { started: Instant::now(), left: workload.steps });
            let first = if workload.kind == Kind::Fanout { workload.steps } else { 1 };
            for step in 0..first {
                publisher.task(next, step).await?;
            }
            next += 1;
        }
        let report = tokio::time::timeout(PATIENCE, reports_in.recv()).await.context("the floor stands still")?;
        let Some(Report { run }) = report else { bail!("the readers ended") };
        let Some(of_run) = underway.get_mut(&run) else { continue };
        of_run.left -= 1;
        if of_run.left == 0 {
            latencies.push(of_run.started.elapsed());
            underway.remove(&run);
        } else if workload.kind != Kind::Fanout {
            publisher.task(run, workload.steps - of_run.left).await?;
        }
    }
    let elapsed = begun.elapsed();
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(Timings { elapsed, latencies })
}

/// Reads reports and acks each.
async fn read(mut incoming: pull::Stream, reports: mpsc::Sender<Report>) -> anyhow::Result<()> {
    while let Some(message) = incoming.next().await {
        let message = message?;
        // floor.report.<p>.<run>.<step>
        let run = message.subject.split('.').nth(3).and_then(|t| t.parse().ok()).context("a foreign report")?;
        if reports.send(Report { run }).await.is_err() {
            return Ok(());
        }
        message.ack().await.map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}

/// Publishes without waiting for one acknowledgement before the next, and insists that each comes.
struct Publisher {
    context: Context,
    payload: Bytes,
    acks: mpsc::Sender<jetstream::context::PublishAckFuture>,
    failed: Arc<std::sync::atomic::AtomicBool>,
}

impl Publisher {
    fn start(context: Context, payload: Bytes) -> Self {
        let (acks, mut pending) = mpsc::channel::<jetstream::context::PublishAckFuture>(8_192);
        let failed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        tokio::spawn(async move {
            while let Some(ack) = pending.recv().await {
                if ack.await.is_err() {
                    flag.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            }
        });
        Self { context, payload, acks, failed }
    }

    async fn task(&self, run: usize, step: usize) -> anyhow::Result<()> {
        if self.failed.load(std::sync::atomic::Ordering::Relaxed) {
            bail!("a task of the floor was not acknowledged");
        }
        let ack = self.context.publish(format!("floor.task.{run}.{step}"), self.payload.clone()).await?;
        self.acks.send(ack).await.context("the publisher ended")
    }
}
