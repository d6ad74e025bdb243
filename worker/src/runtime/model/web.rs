//! Requests over HTTP that a model agent causes, held to the hosts that it is granted.
//!
//! What is held here: the host and its port stand in the agent's access; a public name does not lead to an address inside a
//! private network (whoever keeps the name would choose what of ours is asked); redirects are not followed; no answer is
//! read beyond a bound. TLS trusts what this machine trusts.

use std::error::Error as _;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use kapelle_manifest::Model;
use kapelle_types::limits::PAYLOAD_BYTES_MAX;
use kapelle_types::{Code, Diagnosis, Host, WebUrl};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tower::util::ServiceFn;

/// How long a connection may take: a host that is not there is named before the attempt's time is over.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What servers know us as.
const USER_AGENT: &str = concat!("kapelle/", env!("CARGO_PKG_VERSION"));

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Addresses = vec::IntoIter<SocketAddr>;
type Resolver = ServiceFn<fn(Name) -> BoxFuture<'static, Result<Addresses, BoxError>>>;
type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// Makes the requests of one agent version.
pub(super) struct Web {
    hosts: Vec<Host>,
    client: Client<Connector, Full<Bytes>>,
}

/// A request.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a WebUrl,
    /// What comes behind the URL: more of its path, or its query.
    pub(super) behind: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Vec<u8>>,
}

/// An answer, whose body is still to be read.
pub(super) struct Answered<B = Incoming> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: B,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The request may not go there.
    Denied(String),
    /// There was no way to the host, or the connection broke off.
    Broken(String),
    /// The answer is longer than any answer may be.
    TooLong,
}

/// A public name that leads into a private network.
#[derive(Debug)]
struct Private(String);

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is a public name and leads to an address inside a private network", self.0)
    }
}

impl std::error::Error for Private {}

impl Web {
    /// # Errors
    /// Something is to be encrypted, and this machine's certificate authorities cannot be read.
    pub(super) fn new(hosts: &[Host], model: &Model) -> Result<Self, Diagnosis> {
        let mut urls = std::iter::once(&model.endpoint).chain(model.tools.iter().map(|tool| &tool.http.url));
        let unusable = |why: &dyn fmt::Display| {
            let message = format!("The model cannot be asked over TLS: {why}.");
            Diagnosis::new(Code::TLS_INVALID, message)
                .hint("Install the certificate authorities, or set SSL_CERT_FILE.")
        };
        let tls = HttpsConnectorBuilder::new();
        let tls = if urls.any(WebUrl::is_encrypted) {
            tls.with_provider_and_native_roots(default_provider()).map_err(|error| unusable(&error))?
        } else {
            // Nobody is trusted, so a machine without any certificate authorities can do without.
            let config =
                ClientConfig::builder_with_provider(default_provider().into()).with_safe_default_protocol_versions();
            let config = config.map_err(|error| unusable(&error))?;
            tls.with_tls_config(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        };
        let resolver: fn(Name) -> BoxFuture<'static, Result<Addresses, BoxError>> = |name| Box::pin(resolve(name));
        let mut connector = HttpConnector::new_with_resolver(tower::service_fn(resolver));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        Ok(Self { hosts: hosts.to_vec(), client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, asked: Asked<'_>) -> Result<Answered, Failed> {
        let host = asked.url.host();
        if !self.hosts.contains(host) {
            return Err(Failed::Denied(format!("the agent's access does not name `{host}`")));
        }
        let mut request = Request::builder().method(asked.method).uri(format!("{}{}", asked.url, asked.behind));
        request = request.header("user-agent", USER_AGENT);
        if asked.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in asked.headers {
            request = request.header(name, value);
        }
        let body = Full::new(asked.body.unwrap_or_default().into());
        let request = request.body(body).map_err(|error| Failed::Broken(format!("this is no request: {error}")))?;
        let answer = self.client.request(request).await.map_err(|error| broken(host, &error))?;
        let (head, body) = answer.into_parts();
        if head.status.is_redirection() {
            let to = head.headers.get("location").and_then(|it| it.to_str().ok()?.parse::<http::Uri>().ok());
            let to = to.as_ref().and_then(http::Uri::host).unwrap_or("another place of its own");
            return Err(Failed::Denied(format!("`{host}` sends on to `{to}`, and redirects are not followed")));
        }
        Ok(Answered { status: head.status, headers: head.headers, body })
    }
}

impl<B> Answered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    /// The next piece of the body; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failed::Broken(format!("the answer broke off: {}", innermost(&error)))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The next piece of a body that has begun to come, and whose server may be silent for so long.
    pub(super) async fn piece_within(&mut self, silence: Duration) -> Result<Option<Bytes>, Failed> {
        tokio::time::timeout(silence, self.piece()).await.unwrap_or_else(|_| {
            Err(Failed::Broken(format!("the answer broke off: its server said nothing more for {silence:?}")))
        })
    }

    /// The beginning of the body, and whether there is more of it.
    pub(super) async fn head(&mut self, bytes_max: usize) -> Result<(Vec<u8>, bool), Failed> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            let room = bytes_max - text.len();
            text.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                return Ok((text, true));
            }
        }
        Ok((text, false))
    }

    /// The whole body.
    pub(super) async fn all(&mut self) -> Result<Vec<u8>, Failed> {
        match self.head(PAYLOAD_BYTES_MAX).await? {
            (text, false) => Ok(text),
            (_, true) => Err(Failed::TooLong),
        }
    }
}

/// Why a request was not answered, with the reason that lies deepest.
fn broken(host: &Host, error: &legacy::Error) -> Failed {
    let mut cause = error.source();
    while let Some(it) = cause {
        if let Some(private) = it.downcast_ref::<Private>() {
            return Failed::Denied(private.to_string());
        }
        cause = it.source();
    }
    let what = if error.is_connect() { "cannot be reached" } else { "did not answer" };
    Failed::Broken(format!("`{host}` {what}: {}", innermost(error)))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// The addresses of a name that it may lead to. Addresses that are named themselves do not come here.
async fn resolve(name: Name) -> Result<Addresses, BoxError> {
    let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
    Ok(may_lead_to(name.as_str(), found)?.into_iter())
}

fn may_lead_to(name: &str, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Private> {
    let some = !found.is_empty();
    if !name.parse::<Host>().is_ok_and(|host| host.may_be_private()) {
        found.retain(|it| is_public(it.ip()));
    }
    if some && found.is_empty() { Err(Private(name.to_owned())) } else { Ok(found) }
}

/// Whether an address is one of the internet's.
fn is_public(address: IpAddr) -> bool {
    let v6 = match address {
        IpAddr::V4(v4) => return is_public_v4(v4),
        IpAddr::V6(v6) => v6,
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    match v6.segments() {
        // Addresses of IPv4 behind a translator.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Tunnels and examples: what is behind the first cannot be known, and the others are nobody's.
        [0x2001, 0 | 0xdb8, ..] | [0x2002, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    // "This network", carriers' own, protocol assignments, benchmarks, and what is reserved.
    let special = a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240;
    !(special
        || v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// A body of this one piece, behind which nothing comes, not even its end.
    #[tokio::test]
    async fn a_server_that_falls_silent_in_the_middle_has_broken_off() {
        let said = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"half")))]);
        let body = StreamBody::new(said.chain(stream::pending()));
        let mut answered = Answered { status: StatusCode::OK, headers: HeaderMap::new(), body };
        assert_eq!(answered.piece().await.unwrap().unwrap(), "half");
        let failed = answered.piece_within(Duration::from_millis(5)).await.unwrap_err();
        assert!(matches!(&failed, Failed::Broken(why) if why.contains("nothing more for 5ms")), "{failed:?}");
    }

    #[test]
    fn addresses_of_private_networks_are_not_the_internets() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "2002:a00:1::",
            "2001::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn only_a_name_that_is_private_itself_leads_into_a_private_network() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|it| it.parse().unwrap()).collect() };
        let (inside, both) = (addresses(&["10.0.0.7:0", "[::1]:0"]), addresses(&["10.0.0.7:0", "1.1.1.1:0"]));
        assert!(may_lead_to("api.example.com", inside.clone()).is_err());
        assert_eq!(may_lead_to("api.example.com", both.clone()).unwrap(), addresses(&["1.1.1.1:0"]));
        for name in ["localhost", "vllm", "vllm.models.svc", "gpu.internal"] {
            assert_eq!(may_lead_to(name, inside.clone()).unwrap(), inside, "{name}");
        }
        assert_eq!(may_lead_to("api.example.com", vec![]).unwrap(), []);
        assert!(may_lead_to("127.0.0.1.nip.io", inside).is_err());
        // A resolver takes this for an address; a reader does not.
        assert!(may_lead_to("0x7f.1", addresses(&["127.0.0.1:0"])).is_err());
    }
}
