//! The worker's part of the floor: pull, publish the report, wait for its acknowledgement, ack the task.

use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::args::Part;
use crate::floor::{TASKS, connect, messages};

pub(crate) async fn run(part: &Part) -> anyhow::Result<()> {
    let context = connect(&part.nats_url).await?;
    let mut incoming = messages(&context, TASKS, part.slots).await?;
    let slots = Arc::new(Semaphore::new(part.slots));
    crate::machine::say_ready()?;
    while let Some(message) = incoming.next().await {
        let message = message?;
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (context, partitions) = (context.clone(), usize::from(part.partitions));
        tokio::spawn(async move {
            let result = work(&context, &message, partitions).await;
            drop(slot);
            if let Err(error) = result {
                eprintln!("floor worker: {error:#}");
            }
        });
    }
    Ok(())
}

/// Reads the payload as JSON and writes it back, as any agent would have to.
async fn work(
    context: &async_nats::jetstream::Context,
    message: &async_nats::jetstream::Message,
    partitions: usize,
) -> anyhow::Result<()> {
    // floor.task.<run>.<step>
    let mut tokens = message.subject.split('.').skip(2);
    let run: usize = tokens.next().context("no run")?.parse()?;
    let step = tokens.next().context("no step")?;
    let value: serde_json::Value = serde_json::from_slice(&message.payload)?;
    let report = serde_json::to_vec(&value)?;
    let subject = format!("floor.report.{}.{run}.{step}", run % partitions);
    context.publish(subject, report.into()).await?.await?;
    message.ack().await.map_err(anyhow::Error::from_boxed)
}
