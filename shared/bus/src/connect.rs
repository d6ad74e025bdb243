//! A connection to the broker, and a bus once the streams are known.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use kapelle_telemetry::metrics::NATS_SERVER_ERRORS;
use kapelle_types::Partitions;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Error;
use crate::credentials::Credentials;
use crate::layout::{LayoutRecord, TIMERS_PARTED};
use crate::payloads::Payloads;
use crate::publish::Publisher;

/// How long an answer of JetStream's own API may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent connection is probed; a dead peer is noticed after two.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// How long the broker may refuse our credentials, after it took them once, before that counts as final: time for a renewed
/// file to arrive, and for nodes of a cluster to hear of an account.
const REFUSED_MAX: Duration = Duration::from_secs(10);

/// Where the broker is and who we are.
#[derive(Debug, Clone, Default)]
pub struct ConnectConfig {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// A NATS credentials file. Read again for every connection, so that a renewed one is taken without a restart.
    pub credentials: Option<PathBuf>,
    /// Files for TLS, read again for every connection too.
    pub tls: TlsFiles,
    /// The name that the broker's monitoring shows.
    pub name: String,
}

/// Files in PEM for TLS to the broker; with any of them, nothing is said without TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Who signs the broker's certificate; `None` are the authorities of this machine.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for a broker that asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A connection that reconnects by itself for ever.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    jetstream: Context,
    publisher: Arc<Publisher>,
    epochs: watch::Receiver<u64>,
    refused: watch::Receiver<bool>,
    user: Option<String>,
    credentials: Option<PathBuf>,
}

impl Connection {
    /// Connects, waiting up to `patience` for a broker that is not there yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nothing answered in time; [`Error::Unauthorized`] if the credentials were refused, or cannot be
    /// read.
    pub async fn open(config: &ConnectConfig, patience: Duration) -> Result<Self, Error> {
        let (observer, epochs, refused) = Observer::new();
        let (options, user) = identified(config)?;
        let options = secured(options, &config.tls)
            .name(&config.name)
            .max_reconnects(None)
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(Duration::from_secs(3)))
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(64 * 1024)
            .client_capacity(8 * 1024)
            // Floor of 50 ms: a server that accepts and at once refuses must not be hammered.
            .reconnect_delay_callback(|n| Duration::from_millis((50 << n.min(5)).min(1_500)))
            .event_callback(move |event| {
                observer.observe(&event);
                async {}
            });
        let urls: Vec<String> = config.url.split(',').map(|u| u.trim().to_owned()).collect();
        let policy = kapelle_retry::Policy {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(1),
            total: Some(patience),
            ..kapelle_retry::Policy::default()
        };
        let client = kapelle_retry::retry(
            &policy,
            |e: &ConnectError| if is_refusal(e) { kapelle_retry::Verdict::Stop } else { kapelle_retry::Verdict::Retry },
            |_| options.clone().connect(urls.clone()),
        )
        .await
        .map_err(|e| match &config.credentials {
            _ if !is_refusal(&e.error) => Error::Unavailable(format!("{} ({})", e, config.url)),
            Some(file) => Credentials::refused(file),
            None => Error::Unauthorized(format!("{} ({})", e.error, config.url)),
        })?;
        let jetstream = ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client.clone());
        let publisher = Arc::new(Publisher::open(client.clone()).await?);
        let credentials = config.credentials.clone();
        Ok(Self { client, jetstream, publisher, epochs, refused, user, credentials })
    }

    /// Who we are at the broker, if it was said: the name in the credentials, or the user of the address.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Waits until the broker does not take our credentials any more, and says why as well as that can be known. It never
    /// ends while they are taken, or while the broker is just silent.
    pub async fn refused(&self) -> Error {
        if self.refused.clone().wait_for(|refused| *refused).await.is_err() {
            std::future::pending::<()>().await; // closed in order: nobody refuses anything
        }
        match &self.credentials {
            Some(file) => Credentials::refused(file),
            None => Error::Unauthorized("user and password of the address are refused".into()),
        }
    }

    /// The plain client.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The JetStream context.
    #[must_use]
    pub const fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Counts connections: a change means that what was asked before may never be answered.
    #[must_use]
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epochs.clone()
    }
}

/// User and password of the first address that has them: the client library reads them from nowhere else.
fn userinfo(urls: &str) -> Option<(String, String)> {
    urls.split(',').find_map(|url| {
        let authority = url.trim().split_once("://").map_or(url, |(_, rest)| rest);
        let (userinfo, _) = authority.rsplit_once('@')?;
        let (user, password) = userinfo.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    })
}

/// What the inboxes of a user begin with, so that the broker can keep them apart: with the client library's own prefix, whoever
/// may read their answers may read everybody's. `None` for a name that cannot be a part of a subject.
fn inbox(user: &str) -> Option<String> {
    let is_token = !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    is_token.then(|| format!("_INBOX_{user}"))
}

/// Options that say who we are, and the name that was said.
fn identified(config: &ConnectConfig) -> Result<(ConnectOptions, Option<String>), Error> {
    let own_inbox = |options: ConnectOptions, user: &str| match inbox(user) {
        Some(inbox) => options.custom_inbox_prefix(inbox),
        None => options,
    };
    if let Some(file) = &config.credentials {
        let user = Credentials::read(file)?.name().to_owned();
        let (file, name) = (file.clone(), user.clone());
        let options = ConnectOptions::with_auth_callback(move |nonce| {
            let auth = Credentials::read(&file).and_then(|credentials| credentials.answer(&name, &nonce));
            async move { auth.map_err(AuthError::new) }
        });
        return Ok((own_inbox(options, &user), Some(user)));
    }
    Ok(match userinfo(&config.url) {
        Some((user, password)) => {
            (own_inbox(ConnectOptions::new(), &user).user_and_password(user.clone(), password), Some(user))
        }
        None => (ConnectOptions::new(), None),
    })
}

/// The client library reads these files again for every connection.
fn secured(mut options: ConnectOptions, tls: &TlsFiles) -> ConnectOptions {
    if let Some(ca) = &tls.ca {
        options = options.require_tls(true).add_root_certificates(ca.clone());
    }
    if let Some((cert, key)) = &tls.identity {
        options = options.require_tls(true).add_client_certificate(cert.clone(), key.clone());
    }
    options
}

/// Whether the broker, or what we have to show it, is at fault: asking again is of no use.
fn is_refusal(error: &ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}

/// Says in logs, metrics and to whoever listens what happens to the connection.
struct Observer {
    connections: AtomicU64,
    epochs: watch::Sender<u64>,
    /// Since when there have been refusals and no connection.
    refused_since: Mutex<Option<Instant>>,
    refused: watch::Sender<bool>,
}

impl Observer {
    fn new() -> (Self, watch::Receiver<u64>, watch::Receiver<bool>) {
        let ((epochs, epochs_seen), (refused, refused_seen)) = (watch::channel(0), watch::channel(false));
        let observer = Self { connections: AtomicU64::new(0), epochs, refused_since: Mutex::new(None), refused };
        (observer, epochs_seen, refused_seen)
    }

    fn observe(&self, event: &Event) {
        match event {
            Event::Connected => {
                *self.refused_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let epoch = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
                self.epochs.send_replace(epoch);
                if epoch > 1 {
                    tracing::info!(epoch, "connected to the broker again");
                }
            }
            Event::Disconnected => tracing::warn!("the connection to the broker is lost; reconnecting"),
            // A denied publish is silent but for this event.
            Event::ServerError(error) => {
                NATS_SERVER_ERRORS.counter(&[]).increment(1);
                tracing::warn!(%error, "the broker reports an error");
            }
            Event::ClientError(error) => {
                tracing::warn!(%error, "the broker cannot be connected to");
                self.refusal(&error.to_string());
            }
            other => tracing::debug!(event = %other, "broker event"),
        }
    }

    /// The client library gives the reason as text alone.
    fn refusal(&self, error: &str) {
        if !error.contains("authorization violation") && !error.contains("failed signing nonce") {
            return;
        }
        let mut since = self.refused_since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_MAX {
            self.refused.send_replace(true);
        }
    }
}

/// A connection to a broker that is provisioned. Cheap to clone: one reference count.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Connection,
    record: LayoutRecord,
    payloads: Payloads,
}

impl Bus {
    /// Reads what is provisioned, so that the number of partitions is never configured twice.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the broker was never provisioned.
    pub async fn open(connection: Connection) -> Result<Self, Error> {
        let record = crate::provision::read_record(connection.jetstream()).await?;
        Ok(Self::of(connection, record))
    }

    /// The same for whoever has provisioned it, and so knows what is.
    #[must_use]
    pub fn of(connection: Connection, record: LayoutRecord) -> Self {
        let payloads = Payloads::new(connection.client.clone(), connection.jetstream.clone());
        Self(Arc::new(Inner { connection, record, payloads }))
    }

    /// The plain client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.0.connection.client()
    }

    /// The JetStream context.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        self.0.connection.jetstream()
    }

    /// Publishes with acknowledgements.
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.0.connection.publisher
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// How many partitions are provisioned.
    #[must_use]
    pub fn partitions(&self) -> Partitions {
        self.0.record.partitions
    }

    /// Whether timers have a stream of their own: not at a broker that 0.1.0 provisioned.
    pub(crate) fn parts_timers(&self) -> bool {
        self.0.record.version >= TIMERS_PARTED
    }

    /// The object store for payloads above the inline limit.
    #[must_use]
    pub fn payloads(&self) -> &Payloads {
        &self.0.payloads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_inboxes_of_their_own() {
        assert_eq!(inbox("w-1").as_deref(), Some("_INBOX_w-1"));
        for no_token in ["", "a.b", "a*", ">", "ä", "a b"] {
            assert_eq!(inbox(no_token), None, "{no_token}");
        }
    }

    #[test]
    fn user_and_password_come_from_the_address() {
        assert_eq!(userinfo("nats://a:1,nats://u:p@b:2"), Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(userinfo("nats://127.0.0.1:4222"), None);
        assert_eq!(userinfo("u:p:q@host"), Some(("u".to_owned(), "p:q".to_owned())));
    }
}
