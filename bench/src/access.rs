//! Who the client is: the coordinator is measured as it runs elsewhere, so every call brings a token and is checked.

use std::time::Duration;

use anyhow::Context as _;
use kapelle_bus::tokens::{Tokens, Wanted};
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_telemetry::clock;
use kapelle_types::{Namespace, Principal, Role};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a broker that was just started is waited for.
const BROKER_PATIENCE: Duration = Duration::from_secs(30);
/// No benchmark takes longer.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A connection whose calls bring the token.
pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the token into every call, if there is one.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Makes a token straight at the broker, which a coordinator has provisioned.
    pub(crate) async fn at_the_broker(url: &str) -> anyhow::Result<Self> {
        let config = ConnectConfig { url: url.to_owned(), name: "kapelle-bench".into(), ..ConnectConfig::default() };
        let bus = Bus::open(Connection::open(&config, BROKER_PATIENCE).await?).await?;
        let wanted = Wanted {
            name: "bench".parse()?,
            roles: [Role::Operator].into(),
            namespace: Namespace::default(),
            sees_payloads: true,
            person: None,
            life: LIFE,
            created_by: Principal("bench".into()),
        };
        let (secret, _) = Tokens::open(&bus).await?.create(wanted, clock::now()).await?;
        let value = format!("Bearer {}", secret.reveal()).parse().context("a token is a header")?;
        Ok(Self(Some(value)))
    }

    /// For a coordinator that takes everybody for the development identity.
    pub(crate) const fn nobody() -> Self {
        Self(None)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}
