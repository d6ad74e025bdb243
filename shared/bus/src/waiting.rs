//! Tasks that wait for their turn: of agent versions whose tasks take turns, attempts stand here before they are queued.
//!
//! ```text
//!   dispatch ──flow in a header──▶ WAITING ──headers──▶ whoever gives out turns ──delete: taken──▶ TASKS ──▶ workers
//! ```
//!
//! Whoever deletes a message has taken the task: of two who want to queue it one can. A task that was taken and not queued,
//! because whoever did so is gone, is missing in the queue and found as such, like any that a broker lost.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kapelle_proto::stream;
use kapelle_proto::subject::{TaskSubject, task_filter, waiting_filter};
use kapelle_types::{AgentVersion, Fairness, Flow, KeyLimit, Priority};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::direct::header;
use crate::publish::Acknowledgement;
use crate::tail::{Source, Tail};
use crate::tasks::queue_name;
use crate::{Bus, Error, leader};

/// The header that says how a task stands among those that wait.
const FLOW_HEADER: &str = "Kapelle-Flow";
/// How long a deletion may take.
const DELETE_WAIT_MAX: Duration = Duration::from_secs(3);
/// The broker's code for "there is no such message".
const NO_MESSAGE: u64 = 10_037;
/// The same of a sequence that was there once.
const DELETE_FAILED: u64 = 10_057;

/// A task that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its place in the stream.
    pub seq: u64,
    /// The mark of the attempt, see [`mark`].
    pub attempt: u64,
    /// How it stands among the others; one whose header cannot be read stands as one that says nothing.
    pub flow: Flow,
}

/// A task that waits, with what it carries.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Which.
    pub task: TaskSubject,
    /// What is queued when its turn comes.
    pub message: Bytes,
}

/// What of a flow is written into a header.
#[derive(Serialize, Deserialize)]
struct Written {
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limited: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
}

/// The text of a flow; encoded, since keys may hold what headers may not.
fn written(flow: &Flow) -> String {
    let (fairness, limit) = (flow.fairness.as_ref(), flow.limit.as_ref());
    let written = Written {
        priority: flow.priority.get(),
        key: fairness.map(|it| it.key.clone()),
        weight: fairness.map(|it| it.weight),
        limited: limit.map(|it| it.key.clone()),
        concurrency: limit.and_then(|it| it.concurrency),
        rate: limit.and_then(|it| it.rate).map(|it| it.to_string()),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&written).unwrap_or_default())
}

fn read(text: &str) -> Option<Flow> {
    let written: Written = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let Written { priority, key, weight, limited, concurrency, rate } = written;
    let rate = rate.map(|it| it.parse()).transpose().ok()?;
    Some(Flow {
        priority: Priority::new(priority)?,
        fairness: key.map(|key| Fairness { key, weight: weight.unwrap_or(1) }),
        limit: limited.map(|key| KeyLimit { key, concurrency, rate }),
    })
}

/// The mark of an attempt by the subject at which it waits: enough to know it again within one process.
#[must_use]
pub fn mark(subject: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish()
}

/// The consumer that nobody reads: the broker counts by it how many tasks of an agent version wait.
fn counter(agent: &AgentVersion) -> String {
    format!("count-{}", queue_name(agent))
}

impl Bus {
    /// Lets an attempt wait for its turn; the future is the acknowledgement. `AlreadyThere` means that it waits already.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn wait_for_turn(
        &self,
        task: &TaskSubject,
        flow: &Flow,
        message: Bytes,
    ) -> Result<Acknowledgement, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(FLOW_HEADER, written(flow).as_str());
        self.publisher().publish(task.waiting(), Some(headers), message).await
    }

    /// Whether an attempt is queued or running, by the word of the leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the leader did not answer.
    pub async fn is_queued(&self, task: &TaskSubject) -> Result<bool, Error> {
        Ok(leader::last(self.jetstream(), stream::TASKS, &task.to_string()).await?.is_some())
    }

    /// Whether an attempt waits for its turn, and how; from whichever replica answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn flow_of_waiting(&self, task: &TaskSubject) -> Result<Option<Flow>, Error> {
        let answer = self.direct_get(stream::WAITING, &json!({ "multi_last": [task.waiting()] })).await?;
        let flow = |message| header(message, FLOW_HEADER).and_then(read).unwrap_or_default();
        Ok(answer.messages.first().map(flow))
    }

    /// Takes an attempt out of those that wait. Harmless if it is not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn wait_no_more(&self, task: &TaskSubject) -> Result<(), Error> {
        self.purge(stream::WAITING, &task.waiting()).await
    }

    /// The tasks of an agent version that wait, oldest first, then those that come.
    #[must_use]
    pub fn arrivals(&self, agent: &AgentVersion) -> Tail<Arrival> {
        let source = Source {
            stream: stream::WAITING.to_owned(),
            filter: waiting_filter(agent),
            headers_only: true,
            take: |message, info| {
                let flow = header(message, FLOW_HEADER).and_then(read).unwrap_or_default();
                Arrival { seq: info.stream_sequence, attempt: mark(&message.subject), flow }
            },
        };
        Tail::of(self.clone(), source, 0)
    }

    /// The task at a place of the stream; `None` if it is gone.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn waiting(&self, seq: u64) -> Result<Option<Waiting>, Error> {
        let message = self.at(stream::WAITING, seq).await?;
        Ok(message.and_then(|message| {
            let task = TaskSubject::from_waiting(header(&message, "Nats-Subject")?).ok()?;
            Some(Waiting { task, message: message.payload })
        }))
    }

    /// Takes the task at a place of the stream out, to queue it. False if somebody else did, or it was withdrawn.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer: it may or may not be taken.
    pub async fn take_waiting(&self, seq: u64) -> Result<bool, Error> {
        self.delete(stream::WAITING, seq).await
    }

    /// Takes a message out of a stream. False if it is not there any more.
    pub(crate) async fn delete(&self, stream: &str, seq: u64) -> Result<bool, Error> {
        // The client library's own call has the broker overwrite what is deleted on its disk: milliseconds instead of microseconds.
        let request = json!({ "seq": seq, "no_erase": true }).to_string();
        let to = format!("$JS.API.STREAM.MSG.DELETE.{stream}");
        let asked = tokio::time::timeout(DELETE_WAIT_MAX, self.client().request(to, request.into()));
        let answer = asked.await.map_err(|_| Error::Unavailable("no answer to a deletion".into()))?;
        taken(&answer.map_err(Error::unavailable)?.payload)
    }

    /// Makes the broker count how many tasks of an agent version wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn count_waiting(&self, agent: &AgentVersion) -> Result<(), Error> {
        let config = pull::Config {
            durable_name: Some(counter(agent)),
            description: Some(format!("counts the tasks of {agent} that wait for their turn; nobody reads it")),
            filter_subject: waiting_filter(agent),
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::All,
            ..pull::Config::default()
        };
        let created = self.jetstream().create_consumer_on_stream(config, stream::WAITING).await;
        created.map(drop).map_err(Error::unavailable)
    }

    /// How many tasks of an agent version wait, by the broker's count; 0 if nobody made it count.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn waiting_count(&self, agent: &AgentVersion) -> Result<u64, Error> {
        let stream = self.jetstream().get_stream_no_info(stream::WAITING).await.map_err(Error::unavailable)?;
        match stream.consumer_info(&counter(agent)).await {
            Ok(info) => Ok(info.num_pending),
            Err(error) if error.to_string().contains("not found") => Ok(0),
            Err(error) => Err(Error::unavailable(error)),
        }
    }

    /// The attempts of an agent version that are queued or running now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn queued_tasks(&self, agent: &AgentVersion) -> Result<Vec<TaskSubject>, Error> {
        use futures::TryStreamExt;
        let stream = self.jetstream().get_stream_no_info(stream::TASKS).await.map_err(Error::unavailable)?;
        let info = stream.info_with_subjects(task_filter(agent)).await.map_err(Error::unavailable)?;
        let subjects: Vec<(String, usize)> = info.try_collect().await.map_err(Error::unavailable)?;
        Ok(subjects.into_iter().filter_map(|(subject, _)| subject.parse().ok()).collect())
    }
}

/// What the broker says to a deletion.
#[derive(Deserialize)]
struct Deleted {
    #[serde(default)]
    success: bool,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

fn taken(answer: &[u8]) -> Result<bool, Error> {
    let answer: Deleted = serde_json::from_slice(answer).map_err(|e| Error::Unreadable(e.to_string()))?;
    match answer.error {
        None => Ok(answer.success),
        Some(Refused { err_code: NO_MESSAGE | DELETE_FAILED, .. }) => Ok(false),
        Some(Refused { description, .. }) => Err(Error::Unavailable(description)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_was_not_taken() {
        let read = |text: &str| taken(text.as_bytes());
        assert!(matches!(read(r#"{"type":"io.nats…","success":true}"#), Ok(true)));
        let error = |code: u64| format!(r#"{{"error":{{"code":404,"err_code":{code},"description":"gone"}}}}"#);
        assert!(matches!(read(&error(NO_MESSAGE)), Ok(false)) && matches!(read(&error(DELETE_FAILED)), Ok(false)));
        assert!(matches!(read(&error(10_009)), Err(Error::Unavailable(_))) && read("{").is_err());
    }

    #[test]
    fn flows_are_read_as_they_were_written_whatever_their_keys_hold() {
        let key = "a\r\nNats-Rollup: all ü \"{".to_owned();
        let limit = KeyLimit { key: key.clone(), concurrency: Some(2), rate: "10/s".parse().ok() };
        let full = Flow {
            priority: Priority::new(1).unwrap(),
            fairness: Some(Fairness { key, weight: 7 }),
            limit: Some(limit.clone()),
        };
        let half = Flow { limit: Some(KeyLimit { concurrency: None, ..limit }), ..Flow::default() };
        for flow in [full, half, Flow::default()] {
            let text = written(&flow);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            assert_eq!(read(&text), Some(flow));
        }
        for text in ["", "x", "e30", &URL_SAFE_NO_PAD.encode(r#"{"priority": 9}"#)] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
