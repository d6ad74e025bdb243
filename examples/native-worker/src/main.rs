//! A worker of one's own: one agent written in Rust, in the same process as the worker that serves it.
//!
//! ```text
//!   kapelle dev                                    a coordinator and a broker on this machine
//!   kapelle apply -f examples/native-worker/manifests
//!   cargo run -p native-worker                     this program, in another terminal
//!   echo '{"text":"now they play together"}' | kapelle run execute count-words --input - -o json
//! ```
//!
//! It finds the broker by `KAPELLE_NATS_URL` and drains on Ctrl-C and `SIGTERM`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_sdk::{Agent, AgentError, Output, Task, async_trait};
use kapelle_telemetry::logs;
use kapelle_worker::{Config, Worker};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// Where `kapelle dev` serves NATS unless it was told otherwise.
const NATS_URL_DEFAULT: &str = "nats://127.0.0.1:7422";

/// Counts the words of `input.text`, without regard to case.
struct WordCount;

#[async_trait]
impl Agent for WordCount {
    async fn run(&self, task: Task) -> Result<Output, AgentError> {
        let text = task.input["text"].as_str().ok_or_else(|| AgentError::new("bad_input", "`text` is missing"))?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        Ok(Output::new(json!({ "words": counts.values().sum::<u64>(), "counts": counts })))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    logs::init(logs::Format::Text, logs::DEFAULT_FILTER)?;
    let url = std::env::var("KAPELLE_NATS_URL").unwrap_or_else(|_| NATS_URL_DEFAULT.to_owned());
    let credentials = std::env::var_os("KAPELLE_NATS_CREDS").map(PathBuf::from);
    let connect = ConnectConfig { url, credentials, name: "native-worker".into(), ..ConnectConfig::default() };
    let connection = Connection::open(&connect, Duration::from_secs(30)).await?;
    let mut config = Config::new().native("word-count@1.0.0".parse()?, WordCount);
    // What a worker may do at the broker goes by the name in its credentials.
    config.id = connection.user().map_or(config.id, str::to_owned);
    let bus = Bus::open(connection).await.context("is a coordinator running on this broker?")?;
    let worker = Worker::start(config, bus).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    worker.drain().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_are_counted_without_regard_to_case() {
        let output = WordCount.run(Task::of(json!({ "text": "Now, now. They play" }))).await.unwrap();
        assert_eq!(output.value, json!({ "words": 4, "counts": { "now": 2, "play": 1, "they": 1 } }));
        assert_eq!(WordCount.run(Task::of(json!({}))).await.unwrap_err().code, "bad_input");
    }

    #[test]
    fn the_manifests_can_be_applied() {
        let files = [include_str!("../manifests/word-count.yaml"), include_str!("../manifests/count-words.yaml")];
        for text in files {
            assert_eq!(kapelle_manifest::parse("manifest", text).unwrap().len(), 1);
        }
    }
}
