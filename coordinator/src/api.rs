//! The gRPC server: health, reflection and the eight services, behind the gate.

mod again;
mod approvals;
mod audit;
mod bulk;
mod dead_letters;
mod execute;
mod fleet;
mod gate;
mod paced;
mod policies;
mod query;
mod registry;
mod releases;
mod rollout;
mod runs;
mod schedules;
mod signal;
mod standing;
mod status;
mod steer;
mod text;
mod tokens;
mod update;
mod visible;

use std::net::SocketAddr;
use std::sync::Arc;

use kapelle_bus::Bus;
use kapelle_bus::schedules::Schedules;
use kapelle_expression::nearest;
use kapelle_proto::v1::approval_service_server::ApprovalServiceServer;
use kapelle_proto::v1::audit_service_server::AuditServiceServer;
use kapelle_proto::v1::dead_letter_service_server::DeadLetterServiceServer;
use kapelle_proto::v1::fleet_service_server::FleetServiceServer;
use kapelle_proto::v1::policy_service_server::PolicyServiceServer;
use kapelle_proto::v1::registry_service_server::RegistryServiceServer;
use kapelle_proto::v1::release_service_server::ReleaseServiceServer;
use kapelle_proto::v1::run_service_server::RunServiceServer;
use kapelle_proto::v1::schedule_service_server::ScheduleServiceServer;
use kapelle_proto::v1::token_service_server::TokenServiceServer;
use kapelle_types::{Code, Diagnosis, WorkflowVersion, limits};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;

pub(crate) use gate::Gate;

use crate::access::Access;
use crate::catalog::Catalog;
use crate::ownership::Peers;
use crate::partitions::Served;
use crate::plans::PlanStore;
use crate::policies::Desk;
use crate::retire::Retirement;
use crate::rollout::Outcomes;
use crate::runs::Waiters;
use crate::schedules::Known;
use crate::submit::Submitter;
use crate::tls::Certificates;
use crate::turns::Takers;

/// A message may hold the largest payload and what is around it.
const MESSAGE_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX + 1024 * 1024;

/// A set of policies and what is around it.
const POLICIES_BYTES_MAX: usize = limits::POLICY_SET_BYTES_MAX + 64 * 1024;

/// What the services work with.
pub(crate) struct Context {
    pub(crate) id: String,
    pub(crate) bus: Bus,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) plans: Arc<PlanStore>,
    pub(crate) submitter: Arc<Submitter>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) served: Served,
    pub(crate) peers: tokio::sync::watch::Receiver<Arc<Peers>>,
    pub(crate) access: Arc<Access>,
    pub(crate) policies: Arc<Desk>,
    pub(crate) retirement: Retirement,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) schedules: Schedules,
    pub(crate) known_schedules: Arc<Known>,
    pub(crate) takers: Arc<Takers>,
    pub(crate) approvals: kapelle_bus::approvals::Approvals,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds and serves until `stop`.
    ///
    /// # Errors
    /// `PORT_TAKEN`.
    pub(crate) async fn start(
        address: SocketAddr,
        context: Arc<Context>,
        (gate, certificates): (Gate, Option<Arc<Certificates>>),
        stop: CancellationToken,
    ) -> Result<Self, Diagnosis> {
        let taken = |e: std::io::Error| {
            Diagnosis::new(Code::PORT_TAKEN, format!("cannot listen on {address}: {e}"))
                .hint("choose another address with --grpc-address, or stop what listens there")
        };
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(kapelle_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|e| Diagnosis::new(Code::REQUEST_INVALID, format!("the API's own descriptors are broken: {e}")))?;
        let runs = RunServiceServer::new(runs::Runs::new(context.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let dead = DeadLetterServiceServer::new(dead_letters::DeadLetters::new(context.clone()))
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let registry = RegistryServiceServer::new(registry::RegistryApi::new(context.clone()));
        let fleet = FleetServiceServer::new(fleet::Fleet::new(context.clone()));
        let audit = AuditServiceServer::new(audit::AuditApi::new(context.bus.clone()));
        let policies = PolicyServiceServer::new(policies::PoliciesApi::new(Arc::clone(&context.policies)))
            .max_decoding_message_size(POLICIES_BYTES_MAX);
        let schedules = ScheduleServiceServer::new(schedules::SchedulesApi::new(context.clone()));
        let releases = ReleaseServiceServer::new(releases::ReleasesApi::new(context.clone()));
        let approvals = ApprovalServiceServer::new(approvals::Approvals::new(context.clone()))
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let access = Arc::clone(&context.access);
        let tokens = TokenServiceServer::new(tokens::TokensApi::new(Arc::clone(gate.tokens()), access));
        let router = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(4 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .layer(MapResponseLayer::new(status::with_code))
            .layer(gate)
            .add_service(health_service)
            .add_service(reflection)
            .add_service(runs)
            .add_service(dead)
            .add_service(registry)
            .add_service(fleet)
            .add_service(approvals)
            .add_service(audit)
            .add_service(policies)
            .add_service(releases)
            .add_service(schedules)
            .add_service(tokens);
        let task = tokio::spawn(async move {
            let stopped = stop.clone().cancelled_owned();
            let served = match certificates {
                None => router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped).await,
                Some(tls) => router.serve_with_incoming_shutdown(tls.accept(listener, stop), stopped).await,
            };
            if let Err(error) = served {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
        Ok(Self { address, task })
    }

    /// Waits until the server has ended, but not for clients that stay.
    pub(crate) async fn ended(self, patience: std::time::Duration) {
        let abort = self.task.abort_handle();
        if tokio::time::timeout(patience, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// What is said of a name that a run's workflow does not declare, with what was probably meant: it is one of `kind`, and those are
/// declared in the field.
fn undeclared<'a>(
    code: Code,
    workflow: &WorkflowVersion,
    (kind, field, name): (&str, &str, &str),
    declared: impl Iterator<Item = &'a str>,
) -> Diagnosis {
    let declared: Vec<&str> = declared.collect();
    let hint = match (nearest(name, declared.iter().copied()), declared.as_slice()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => format!("it declares none; `{field}` of a workflow does"),
        (None, _) => format!("it declares `{}`", declared.join("`, `")),
    };
    Diagnosis::new(code, format!("{workflow} declares no {kind} `{name}`")).hint(hint)
}
