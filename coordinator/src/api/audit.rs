//! `AuditService`: the trail is read in its own order, page after page; watching is reading on.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use kapelle_bus::Bus;
use kapelle_bus::audit::From;
use kapelle_proto::subject::AuditWord;
use kapelle_proto::v1::{self, audit_service_server::AuditService};
use kapelle_types::{AuditDecision, AuditRecord, Code, Diagnosis, InvalidName, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::status::status;

/// Records of one page, where the request names none, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// Records that one page looks at: some tens of milliseconds. A page may end before it has found anything.
const SCANNED_MAX: usize = 20_000;
/// How often a watched trail is read.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Records that may wait for a client.
const WAITING_MAX: usize = 256;

pub(super) struct AuditApi {
    bus: Bus,
}

/// What is looked for.
struct Filter {
    component: Option<AuditWord>,
    verb: Option<AuditWord>,
    principal: String,
    decision: Option<AuditDecision>,
}

impl AuditApi {
    pub(super) const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    async fn page(&self, request: v1::ListAuditRequest) -> Result<v1::ListAuditResponse, Diagnosis> {
        let filter = Filter::read(request.filter)?;
        let limit = if request.limit == 0 { LIMIT_DEFAULT } else { (request.limit as usize).min(LIMIT_MAX) };
        let until = (request.until_unix_nanos != 0).then(|| Timestamp::from_nanos(request.until_unix_nanos));
        let mut from = match request.page {
            0 if request.since_unix_nanos > 0 => From::Time(Timestamp::from_nanos(request.since_unix_nanos)),
            seq => From::Seq(seq),
        };
        let (mut entries, mut scanned) = (Vec::new(), 0);
        loop {
            let read = self.bus.read_audit(from, filter.component.as_ref(), filter.verb.as_ref()).await;
            let read = read.map_err(|e| unavailable(&e))?;
            scanned += read.records.len();
            for (seq, at, record) in read.records {
                if until.is_some_and(|until| at >= until) {
                    return Ok(v1::ListAuditResponse { entries, next: 0 });
                }
                entries.extend(record.filter(|record| filter.matches(record)).map(|record| entry(seq, &record)));
                if entries.len() == limit {
                    return Ok(v1::ListAuditResponse { entries, next: seq + 1 });
                }
            }
            match read.next {
                None => return Ok(v1::ListAuditResponse { entries, next: 0 }),
                Some(next) if scanned >= SCANNED_MAX => return Ok(v1::ListAuditResponse { entries, next }),
                Some(next) => from = From::Seq(next),
            }
        }
    }
}

impl Filter {
    fn read(wire: Option<v1::AuditFilter>) -> Result<Self, Diagnosis> {
        let v1::AuditFilter { component, verb, principal, decision } = wire.unwrap_or_default();
        let invalid = |what: String| Diagnosis::new(Code::REQUEST_INVALID, what);
        let word = |text: &str| {
            let word = Some(text).filter(|text| !text.is_empty()).map(str::parse::<AuditWord>).transpose();
            word.map_err(|e: InvalidName| invalid(e.to_string()))
        };
        let decision = match v1::AuditDecision::try_from(decision) {
            Ok(v1::AuditDecision::Unspecified) => None,
            Ok(v1::AuditDecision::Allow) => Some(AuditDecision::Allow),
            Ok(v1::AuditDecision::Deny) => Some(AuditDecision::Deny),
            Err(_) => return Err(invalid("there are the decisions allow and deny".into())),
        };
        Ok(Self { component: word(&component)?, verb: word(&verb)?, principal, decision })
    }

    fn matches(&self, record: &AuditRecord) -> bool {
        (self.principal.is_empty() || record.who.principal.0 == self.principal)
            && self.decision.is_none_or(|decision| record.decision == decision)
    }
}

fn entry(seq: u64, record: &AuditRecord) -> v1::AuditEntry {
    v1::AuditEntry { seq, record: Some(record.into()) }
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("the audit trail cannot be read: {error}"))
}

type Entries = Pin<Box<dyn Stream<Item = Result<v1::AuditEntry, Status>> + Send>>;

#[tonic::async_trait]
impl AuditService for AuditApi {
    type WatchStream = Entries;

    async fn list(&self, request: Request<v1::ListAuditRequest>) -> Result<Response<v1::ListAuditResponse>, Status> {
        self.page(request.into_inner()).await.map(Response::new).map_err(|e| status(&e))
    }

    async fn watch(&self, request: Request<v1::WatchAuditRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let filter = Filter::read(request.into_inner().filter).map_err(|e| status(&e))?;
        let fill = self.bus.audit_fill().await.map_err(|e| status(&unavailable(&e)))?;
        let (sender, entries) = mpsc::channel(WAITING_MAX);
        tokio::spawn(read_on(self.bus.clone(), filter, fill.last_seq + 1, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(entries))))
    }
}

/// Sends what comes until the client leaves. A broker that does not answer is asked again: nothing is left out.
async fn read_on(bus: Bus, filter: Filter, mut next: u64, sender: mpsc::Sender<Result<v1::AuditEntry, Status>>) {
    loop {
        match bus.read_audit(From::Seq(next), filter.component.as_ref(), filter.verb.as_ref()).await {
            Ok(read) => {
                for (seq, _, record) in read.records {
                    next = seq + 1;
                    let Some(record) = record.filter(|record| filter.matches(record)) else { continue };
                    if sender.send(Ok(entry(seq, &record))).await.is_err() {
                        return;
                    }
                }
                if read.next.is_some() {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%error, "the audit trail is read again"),
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}
