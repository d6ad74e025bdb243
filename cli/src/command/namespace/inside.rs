//! What is inside a namespace, seen by whoever holds the operator's keys: a visit with a coordinator's credentials.

use kapelle_accounts::{Operator, Record};
use kapelle_bus::presence::Kind;
use kapelle_bus::{Bus, Connection, Error};
use kapelle_proto::stream;
use kapelle_telemetry::clock;
use kapelle_types::Code;
use serde::Serialize;

use super::Reach;
use crate::failure::Failure;

/// How much of its quotas a namespace uses.
#[derive(Debug, Serialize)]
pub(super) struct Used {
    pub(super) storage_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) streams: u64,
    pub(super) consumers: u64,
}

/// Asks the broker.
pub(super) async fn used(reach: &Reach, operator: &Operator, record: &Record) -> Result<Used, Failure> {
    let connection = visit(reach, operator, record).await?;
    let account = connection.jetstream().query_account().await.map_err(|e| Error::Unavailable(e.to_string()))?;
    Ok(Used {
        storage_bytes: account.storage,
        memory_bytes: account.memory,
        streams: account.streams as u64,
        consumers: account.consumers as u64,
    })
}

/// Whether the broker gives a namespace what it was told: quotas are reserved, and one that brings their sum beyond what the
/// server has switches the namespace's streams off; the server says so in its own log alone.
pub(super) async fn check(reach: &Reach, operator: &Operator, record: &Record) -> Result<(), Failure> {
    used(reach, operator, record).await.map(drop).map_err(|failure| {
        let message = format!("The broker gives the namespace `{}` no streams: {}", record.name, failure.message());
        let hint = "All quotas together may be beyond nats-server's own (max_file_store, max_memory_store), whose log says so; \
                    `kapelle namespace update` asks for less.";
        Failure::coded(Code::ACCOUNT_REFUSED, message, hint)
    })
}

/// Why a namespace should not be deleted now, a phrase each.
pub(super) async fn in_use(reach: &Reach, operator: &Operator, record: &Record) -> Result<Vec<String>, Failure> {
    let bus = match Bus::open(visit(reach, operator, record).await?).await {
        Ok(bus) => bus,
        Err(Error::NotFound(_)) => return Ok(Vec::new()), // no coordinator was ever there
        Err(error) => return Err(error.into()),
    };
    let present = bus.present().await?;
    let coordinators = present.iter().filter(|record| record.kind == Kind::Coordinator).count();
    let waiting = bus.stream_state(stream::SUBMIT).await?.messages;
    let open = kapelle_coordinator::open_runs(&bus).await?;
    let phrase = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let all = [
        phrase(coordinators, "coordinators are there"),
        phrase(open, "runs are open"),
        phrase(usize::try_from(waiting).unwrap_or(usize::MAX), "jobs wait to be submitted"),
    ];
    Ok(all.into_iter().flatten().collect())
}

async fn visit(reach: &Reach, operator: &Operator, record: &Record) -> Result<Connection, Failure> {
    let file = operator.visit(record, clock::now())?;
    let connection = reach.connect(file.clone()).await;
    // Connected or not, nobody needs it any more: a visit does not reconnect.
    std::fs::remove_file(file)?;
    connection
}
