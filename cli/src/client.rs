//! The coordinator's gRPC API as commands use it: one connection, and errors that say what mends them.

mod credential;
mod follow;
mod manifest;
mod status;
mod tls;

use std::time::Duration;

use kapelle_proto::v1::approval_service_client::ApprovalServiceClient;
use kapelle_proto::v1::audit_service_client::AuditServiceClient;
use kapelle_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use kapelle_proto::v1::fleet_service_client::FleetServiceClient;
use kapelle_proto::v1::policy_service_client::PolicyServiceClient;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::release_service_client::ReleaseServiceClient;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::schedule_service_client::ScheduleServiceClient;
use kapelle_proto::v1::token_service_client::TokenServiceClient;
use kapelle_types::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

pub(crate) use credential::{Bearer, Credential};
pub(crate) use follow::{Until, follow, follow_text};
pub(crate) use status::{failure, is_transient};
pub(crate) use tls::{Tls, unusable};

/// Where `kapelle dev` and `kapelle coordinator start` serve the API unless told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7450";
/// How long dialling may take.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(3);
/// A coordinator that answers no ping for as long is gone, even if its host still holds the connection.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// One answer at most: a run's history with its payloads is the largest.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where a coordinator is, and what it is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// With or without `http://`; with `https://` for TLS.
    pub(crate) address: String,
    /// Who we are.
    pub(crate) credential: Option<Credential>,
    /// Whom we trust, and what we show.
    pub(crate) tls: Tls,
}

/// A connection whose calls bring the credential.
type Authorized = InterceptedService<Channel, Bearer>;

/// A connection to a coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: String,
    channel: Channel,
    bearer: Bearer,
}

impl From<String> for Target {
    /// A coordinator of this process's own, which takes the development identity.
    fn from(address: String) -> Self {
        Self { address, ..Self::default() }
    }
}

impl Client {
    /// Dials a coordinator.
    pub(crate) async fn connect(target: &Target) -> Result<Self, Failure> {
        let bearer = Bearer::new(target.credential.as_ref())?;
        let address = &target.address;
        let address = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|e| {
            Failure::usage(format!("`{address}` is no address: {e}"), format!("It looks like {DEFAULT_ADDRESS}."))
        })?;
        let secure = endpoint.uri().scheme_str() == Some("https");
        if bearer.is_there() && !secure && !is_local(endpoint.uri().host().unwrap_or_default()) {
            tracing::warn!(address, "the token goes there unencrypted: use an https:// address");
        }
        let endpoint = if secure {
            endpoint.tls_config(target.tls.client()?).map_err(|e| tls::unusable(&status::root_cause(&e)))?
        } else {
            endpoint
        };
        let channel = endpoint
            .connect_timeout(CONNECT_WAIT_MAX)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .connect()
            .await
            .map_err(|e| unreachable(&address, &status::root_cause(&e)))?;
        Ok(Self { address, channel, bearer })
    }

    /// Runs.
    pub(crate) fn runs(&self) -> RunServiceClient<Authorized> {
        RunServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Dead letters.
    pub(crate) fn dead_letters(&self) -> DeadLetterServiceClient<Authorized> {
        DeadLetterServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// What waits for people.
    pub(crate) fn approvals(&self) -> ApprovalServiceClient<Authorized> {
        ApprovalServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Manifests.
    pub(crate) fn registry(&self) -> RegistryServiceClient<Authorized> {
        RegistryServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Workers, queues, coordinators.
    pub(crate) fn fleet(&self) -> FleetServiceClient<Authorized> {
        FleetServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// API tokens.
    pub(crate) fn tokens(&self) -> TokenServiceClient<Authorized> {
        TokenServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// The audit trail.
    pub(crate) fn audit(&self) -> AuditServiceClient<Authorized> {
        AuditServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The served policies.
    pub(crate) fn policies(&self) -> PolicyServiceClient<Authorized> {
        PolicyServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Releases.
    pub(crate) fn releases(&self) -> ReleaseServiceClient<Authorized> {
        ReleaseServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Schedules.
    pub(crate) fn schedules(&self) -> ScheduleServiceClient<Authorized> {
        ScheduleServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The connection itself, for services that are not ours (health).
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What an error status means here.
    pub(crate) fn failure(&self, status: tonic::Status) -> Failure {
        failure(&self.address, &status)
    }
}

/// Whether what is sent there stays on this machine.
fn is_local(host: &str) -> bool {
    let ip: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || ip.is_some_and(|ip| ip.is_loopback())
}

/// Nobody answers at the address.
fn unreachable(address: &str, why: &str) -> Failure {
    let message = format!("No coordinator answers at {address}: {why}.");
    let hint = "Start one with `kapelle dev`, or name a running one with `--address` or KAPELLE_ADDRESS.";
    Failure::coded(Code::COORDINATOR_UNAVAILABLE, message, hint)
}
