//! Words of models, told to whoever reads along: over core NATS, so nothing keeps them, and nobody who does not listen hears
//! of them.

use async_nats::connection::State;
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use kapelle_proto::Words;
use kapelle_proto::subject::WordsSubject;
use kapelle_types::{AgentVersion, RunId, printed};
use tokio::task::unconstrained;

use crate::{Bus, Error};

/// A piece that was heard.
#[derive(Debug)]
pub struct Heard {
    /// Whose words it says they are; the broker holds workers to their own agents where it knows who they are.
    pub agent: AgentVersion,
    /// The piece.
    pub words: Words,
}

impl Bus {
    /// Tells a piece, and never waits to do so: false if there is no connection now, or so much to send that there is no room.
    pub fn tell_words(&self, subject: &WordsSubject, message: Bytes) -> bool {
        if self.client().connection_state() != State::Connected {
            return false;
        }
        // It hands the message to the connection's own task: done at its first poll, or not before there is room.
        let sent = unconstrained(self.client().publish(printed(subject), message)).now_or_never();
        sent.is_some_and(|sent| sent.is_ok())
    }

    /// What the models of a run's agents write from now on. What cannot be read is passed over.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is closed.
    pub async fn words(&self, run: RunId) -> Result<impl Stream<Item = Heard> + use<>, Error> {
        let messages = self.client().subscribe(WordsSubject::of_run(run)).await.map_err(Error::unavailable)?;
        let heard = move |message: async_nats::Message| {
            let subject: WordsSubject = message.subject.as_str().parse().ok()?;
            let words = Words::decode(&message.payload)
                .inspect_err(|error| tracing::debug!(%run, agent = %subject.agent, %error, "words cannot be read"))
                .ok()?;
            Some(Heard { agent: subject.agent, words })
        };
        Ok(messages.filter_map(move |message| std::future::ready(heard(message))))
    }
}
