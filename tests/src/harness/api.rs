//! The gRPC API over several coordinators: what one does not answer, the next is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use kapelle_proto::v1;
use kapelle_proto::v1::approval_service_client::ApprovalServiceClient;
use kapelle_proto::v1::audit_service_client::AuditServiceClient;
use kapelle_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use kapelle_proto::v1::fleet_service_client::FleetServiceClient;
use kapelle_proto::v1::policy_service_client::PolicyServiceClient;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::token_service_client::TokenServiceClient;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::wait::{PATIENCE, eventually};

/// The longest that one answer may take: longer than a coordinator tries to record a run.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long until the same request is made again.
const AGAIN: Duration = Duration::from_millis(50);
/// One message at most.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// A client of all coordinators of a fleet. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Api {
    coordinators: Arc<RwLock<Vec<Known>>>,
    next: Arc<AtomicUsize>,
    token: Arc<RwLock<Option<MetadataValue<Ascii>>>>,
}

/// A connection whose calls bring the token.
type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the token into every call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A coordinator as its clients know it.
#[derive(Debug)]
struct Known {
    address: String,
    channel: Channel,
    /// Killed: asked only while there is no other, as by a client that waits for it to come back.
    gone: bool,
}

/// A submission.
#[must_use]
pub fn job(workflow: &str, key: Option<&str>, input: &Value) -> v1::SubmitRequest {
    v1::SubmitRequest {
        workflow: workflow.to_owned(),
        input: input.to_string().into(),
        idempotency_key: key.map(str::to_owned),
        ..v1::SubmitRequest::default()
    }
}

impl Api {
    /// Shows this token from now on. Without one, calls are the development identity's.
    ///
    /// # Panics
    /// If it is no token, or another thread has.
    pub fn show(&self, token: &str) {
        *self.token.write().unwrap() = Some(format!("Bearer {token}").parse().expect("a token"));
    }

    fn bearer(&self) -> Bearer {
        Bearer(self.token.read().unwrap().clone())
    }

    /// Asks this coordinator too from now on.
    ///
    /// # Panics
    /// If it is no address.
    pub fn add(&self, address: &str) {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy();
        let mut coordinators = self.coordinators.write().unwrap();
        coordinators.retain(|c| !c.gone);
        coordinators.push(Known { address: address.to_owned(), channel, gone: false });
    }

    /// Asks this coordinator no more, unless there is no other.
    ///
    /// # Panics
    /// If another thread has.
    pub fn remove(&self, address: &str) {
        let mut coordinators = self.coordinators.write().unwrap();
        coordinators.iter_mut().filter(|c| c.address == address).for_each(|c| c.gone = true);
    }

    /// Closes all connections.
    ///
    /// # Panics
    /// If another thread has.
    pub fn close(&self) {
        self.coordinators.write().unwrap().clear();
    }

    /// The next coordinator in turn.
    ///
    /// # Panics
    /// If none was ever known.
    #[must_use]
    pub fn channel(&self) -> Channel {
        let coordinators = self.coordinators.read().unwrap();
        assert!(!coordinators.is_empty(), "no coordinator is known");
        let there: Vec<&Known> = coordinators.iter().filter(|c| !c.gone).collect();
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        there.get(next % there.len().max(1)).copied().unwrap_or(&coordinators[0]).channel.clone()
    }

    /// Runs, at the next coordinator.
    #[must_use]
    pub fn runs(&self) -> RunServiceClient<Authorized> {
        RunServiceClient::with_interceptor(self.channel(), self.bearer())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Manifests, at the next coordinator.
    #[must_use]
    pub fn registry(&self) -> RegistryServiceClient<Authorized> {
        RegistryServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// Dead letters, at the next coordinator.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterServiceClient<Authorized> {
        DeadLetterServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// Workers, queues and coordinators, at the next coordinator.
    #[must_use]
    pub fn fleet(&self) -> FleetServiceClient<Authorized> {
        FleetServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// API tokens, at the next coordinator.
    #[must_use]
    pub fn tokens(&self) -> TokenServiceClient<Authorized> {
        TokenServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// The served policies, at the next coordinator.
    #[must_use]
    pub fn policies(&self) -> PolicyServiceClient<Authorized> {
        PolicyServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// What waits for people, at the next coordinator.
    #[must_use]
    pub fn approvals(&self) -> ApprovalServiceClient<Authorized> {
        ApprovalServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// The audit trail, at the next coordinator.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Authorized> {
        AuditServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// Submits a keyed job until somebody acknowledges it, as a client does that must not lose it.
    ///
    /// # Panics
    /// If it is refused for good, or nobody acknowledges it in time.
    pub async fn submit_surely(&self, request: &v1::SubmitRequest) -> v1::SubmitResponse {
        assert!(request.idempotency_key.is_some(), "only a keyed job may be submitted again");
        let begun = Instant::now();
        loop {
            let answer = timeout(ANSWER_WAIT_MAX, self.runs().submit(request.clone())).await;
            let status = match answer {
                Ok(Ok(submitted)) => return submitted.into_inner(),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer"),
            };
            assert!(is_transient(&status), "refused for good: {status:?}");
            assert!(begun.elapsed() < PATIENCE, "nobody acknowledges it: {status:?}");
            sleep(AGAIN).await;
        }
    }

    /// Submits once.
    ///
    /// # Errors
    /// What the coordinator answers.
    pub async fn submit(&self, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, Status> {
        self.runs().submit(request).await.map(tonic::Response::into_inner)
    }

    /// A run as it stands now, from whoever answers.
    pub async fn get(&self, run: &str) -> v1::RunView {
        eventually(&format!("a view of {run}"), || async {
            let answer = self.runs().get(v1::GetRunRequest { run_id: run.to_owned() }).await;
            answer.ok().map(tonic::Response::into_inner)
        })
        .await
    }

    /// A run once it is over or STALLED.
    pub async fn settled(&self, run: &str) -> v1::RunView {
        eventually(&format!("the end of {run}"), || async {
            let view = self.get(run).await;
            let settled = view.finished_at_unix_nanos != 0 || view.status() == v1::RunStatus::Stalled;
            settled.then_some(view)
        })
        .await
    }

    /// A run's log, from whoever answers.
    pub async fn history(&self, run: &str) -> Vec<v1::HistoryEntry> {
        eventually(&format!("the history of {run}"), || async {
            let answer = self.runs().history(v1::HistoryRequest { run_id: run.to_owned() }).await;
            answer.ok().map(|a| a.into_inner().entries)
        })
        .await
    }

    /// The Kapelle code that a refusal carries; empty if it carries none.
    #[must_use]
    pub fn code(status: &Status) -> String {
        status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
    }
}

/// Whether asking again may help.
fn is_transient(status: &Status) -> bool {
    let refused = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::FailedPrecondition,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::Unimplemented,
    ];
    !refused.contains(&status.code())
}
