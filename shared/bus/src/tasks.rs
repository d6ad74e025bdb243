//! The task queue: publish an attempt, take it out, say how much waits.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kapelle_proto::stream;
use kapelle_proto::subject::TaskSubject;
use kapelle_types::{AgentVersion, printed};

use crate::publish::Acknowledgement;
use crate::{Bus, Error};

/// The name of the durable consumer that is the queue of an agent version.
#[must_use]
pub fn queue_name(agent: &AgentVersion) -> String {
    format!("{}-{}", agent.name, agent.version.token())
}

/// How much waits in the queue of one agent version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Whose queue.
    pub agent: AgentVersion,
    /// Tasks that no worker has.
    pub pending: u64,
    /// Tasks that workers have.
    pub in_flight: u64,
    /// Of these, the ones that were delivered more than once.
    pub redelivered: u64,
    /// Tasks that the fleet may have at once.
    pub max_in_flight: u64,
}

/// Where workers of an agent version hear what is withdrawn: a core subject, since it is news and no fact.
fn withdrawn(agent: &AgentVersion) -> String {
    format!("kapelle.withdrawn.{}.{}", agent.name, agent.version.token())
}

impl Bus {
    /// Sends an attempt to its queue; the future is the acknowledgement. `AlreadyThere` means that it is queued or running.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn queue_task(&self, task: &TaskSubject, message: Bytes) -> Result<Acknowledgement, Error> {
        self.publisher().publish(printed(task), None, message).await
    }

    /// Takes an attempt out of its queue, delivered or not, and tells the worker that may have it. Harmless if it is not
    /// there. The message to the worker may be lost: then the attempt runs to its end and its report is ignored.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn withdraw_task(&self, task: &TaskSubject) -> Result<(), Error> {
        let subject = task.to_string();
        self.purge(stream::TASKS, &subject).await?;
        self.client().publish(withdrawn(&task.agent), subject.into()).await.map_err(Error::unavailable)
    }

    /// The attempts of an agent version that are withdrawn from now on. Nothing else may be in flight for them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn withdrawals(&self, agent: &AgentVersion) -> Result<impl Stream<Item = TaskSubject> + use<>, Error> {
        let messages = self.client().subscribe(withdrawn(agent)).await.map_err(Error::unavailable)?;
        let subject = |message: async_nats::Message| {
            let text = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
            std::future::ready(text)
        };
        Ok(messages.filter_map(subject))
    }

    /// How much waits in the queue of an agent version.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready or the queue is not there.
    pub async fn queue_state(&self, agent: &AgentVersion) -> Result<QueueState, Error> {
        let name = crate::tasks::queue_name(agent);
        let stream = self.jetstream().get_stream_no_info(stream::TASKS).await.map_err(Error::unavailable)?;
        let info = stream.consumer_info(&name).await.map_err(Error::unavailable)?;
        Ok(QueueState {
            agent: agent.clone(),
            pending: info.num_pending,
            in_flight: info.num_ack_pending as u64,
            redelivered: info.num_redelivered as u64,
            max_in_flight: u64::try_from(info.config.max_ack_pending).unwrap_or(0),
        })
    }
}
