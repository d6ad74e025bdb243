//! Signs that something happened to a run: when to look, never what there is. The run log is the truth; a sign may be lost.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::{Stream, StreamExt};
use kapelle_proto::{stream, subject};
use kapelle_types::RunId;

use crate::{Bus, Error};

/// Where those hear of a run's end or stall whose coordinator does not own it: a core subject, heard now or never.
fn settled(run: RunId) -> String {
    format!("kapelle.settled.{run}")
}

impl Bus {
    /// A sign for each record that comes to a run's log from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn news_of(&self, run: RunId) -> Result<impl Stream<Item = ()> + use<>, Error> {
        let partition = self.partitions().of(&run);
        let config = pull::OrderedConfig {
            filter_subject: subject::run_filter(partition, run),
            deliver_policy: DeliverPolicy::New,
            headers_only: true,
            ..pull::OrderedConfig::default()
        };
        let stream = stream::runs(partition);
        let consumer = self.jetstream().create_consumer_on_stream(config, &stream).await.map_err(Error::unavailable)?;
        Ok(consumer.messages().await.map_err(Error::unavailable)?.map(drop))
    }

    /// A sign each time that a run ends or stalls, from whoever owns it: the sequence of the entry that brought it there, or 0
    /// if the sign cannot be read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is closed.
    pub async fn settled(&self, run: RunId) -> Result<impl Stream<Item = u64> + use<>, Error> {
        let signs = self.client().subscribe(settled(run)).await.map_err(Error::unavailable)?;
        let seq = |m: async_nats::Message| std::str::from_utf8(&m.payload).ok()?.parse().ok();
        Ok(signs.map(move |message| seq(message).unwrap_or(0)))
    }

    /// Tells whoever listens that a run ended or stalled by the entry at `seq`.
    pub async fn tell_settled(&self, run: RunId, seq: u64) {
        if let Err(error) = self.client().publish(settled(run), seq.to_string().into()).await {
            tracing::debug!(%run, %error, "nobody is told; they look by themselves");
        }
    }
}
