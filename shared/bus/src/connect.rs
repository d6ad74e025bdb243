//! A connection to the broker, and a bus once the streams are known.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{Client, ConnectOptions, Event};
use kapelle_telemetry::metrics::NATS_SERVER_ERRORS;
use kapelle_types::Partitions;
use tokio::sync::watch;

use crate::Error;
use crate::layout::LayoutRecord;
use crate::payloads::Payloads;
use crate::publish::Publisher;

/// How long an answer of JetStream's own API may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent connection is probed; a dead peer is noticed after two.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Where the broker is and who we are.
#[derive(Debug, Clone)]
pub struct ConnectConfig {
    /// `nats://host:port`, several separated by commas.
    pub url: String,
    /// A NATS credentials file.
    pub credentials: Option<PathBuf>,
    /// The name that the broker's monitoring shows.
    pub name: String,
}

/// A connection that reconnects by itself for ever.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    jetstream: Context,
    publisher: Arc<Publisher>,
    epochs: watch::Receiver<u64>,
}

impl Connection {
    /// Connects, waiting up to `patience` for a broker that is not there yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nothing answered in time or the credentials were refused.
    pub async fn open(config: &ConnectConfig, patience: Duration) -> Result<Self, Error> {
        let (sender, epochs) = watch::channel(0);
        let count = Arc::new(AtomicU64::new(0));
        let mut options = ConnectOptions::new()
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
                observe(&event, &count, &sender);
                async {}
            });
        if let Some((user, password)) = userinfo(&config.url) {
            if let Some(inbox) = inbox(&user) {
                options = options.custom_inbox_prefix(inbox);
            }
            options = options.user_and_password(user, password);
        }
        if let Some(file) = &config.credentials {
            options = options.credentials_file(file).await.map_err(Error::unavailable)?;
        }
        let urls: Vec<String> = config.url.split(',').map(|u| u.trim().to_owned()).collect();
        let policy = kapelle_retry::Policy {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(1),
            total: Some(patience),
            ..kapelle_retry::Policy::default()
        };
        let client = kapelle_retry::retry(
            &policy,
            |_: &async_nats::ConnectError| kapelle_retry::Verdict::Retry,
            |_| options.clone().connect(urls.clone()),
        )
        .await
        .map_err(|e| Error::Unavailable(format!("{} ({})", e, config.url)))?;
        let jetstream = ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client.clone());
        let publisher = Arc::new(Publisher::open(client.clone()).await?);
        Ok(Self { client, jetstream, publisher, epochs })
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

/// Says in logs and metrics what happens to the connection.
fn observe(event: &Event, count: &AtomicU64, epochs: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            let epoch = count.fetch_add(1, Ordering::Relaxed) + 1;
            epochs.send_replace(epoch);
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
        other => tracing::debug!(event = %other, "broker event"),
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
        let payloads = Payloads::new(connection.jetstream.clone());
        Ok(Self(Arc::new(Inner { connection, record, payloads })))
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
