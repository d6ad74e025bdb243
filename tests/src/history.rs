//! Recorded run histories: logs that a released version wrote, and what its engine made of them, replayed for ever.
//!
//! ```text
//!   record  (once a release)   Stage: broker, coordinator, workers ──play a scenario──▶ run log ──┐
//!                                                                                                 ▼
//!                                              tests/histories/<version>/<scenario>.json = records + what was made of them
//!                                                                                                 │
//!   replay  (every `make test`)   Bench: manifests ──▶ plan ──▶ fold with today's engine ──▶ the same, or a test fails
//! ```
//!
//! A file is never changed and never written anew. Where today's engine decides otherwise on purpose, the new decision gets a
//! number in `shared/engine/src/behaviour.rs`, and the old one stays for runs that were submitted below it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test support: what fails here is the failure of a test")]

mod agent;
mod bench;
mod compare;
mod fold;
mod manifests;
mod record;
mod scenario;
mod scenarios;
mod stage;
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kapelle_bus::registry::Registered;
use kapelle_bus::runlog::RawRecord;
use kapelle_engine::{Channel, KeyId, Stamp};
use kapelle_types::{RunId, Sha256, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use bench::Bench;
pub use compare::differences;
pub use fold::{check_cuts, decode, fold};
pub use record::record;
pub use scenario::{Scenario, names};

/// One run as a version left it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// What it shows, in a sentence.
    pub shows: String,
    /// The run.
    pub run: RunId,
    /// The manifests behind its plan, as the registry had them.
    pub manifests: Vec<Registered>,
    /// Its log, as the broker had it, oldest first.
    pub records: Vec<Stored>,
    /// The JSON texts that the log refers to by their SHA-256. One that is not here was not to be found either.
    pub objects: BTreeMap<Sha256, String>,
    /// The signing keys of that broker in Base64, by number, so that the tokens in the log can be checked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signing_keys: BTreeMap<KeyId, String>,
    /// What the version's own engine made of it.
    pub made: Made,
}

/// One message of a run's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Its sequence in the partition's stream.
    pub seq: u64,
    /// When the broker stored it.
    pub at_unix_nanos: i64,
    /// `control` or `report`.
    pub channel: String,
    /// The message in Base64.
    pub payload: String,
}

/// Where a run stood at the end of its log, and how it came there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The behaviour that it was submitted under.
    pub behaviour: Option<u32>,
    /// Its status.
    pub status: String,
    /// Its output, if it has one.
    pub output: Option<Value>,
    /// The code of what it ended or stands still with.
    pub error_code: Option<String>,
    /// The sequence that decided its outcome.
    pub decided_seq: Option<u64>,
    /// Its steps, a line each.
    pub steps: Vec<String>,
    /// What came of each record.
    pub records: Vec<Turn>,
}

/// What came of one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Its sequence.
    pub seq: u64,
    /// Why it could not be read: `garbage` or `newer`.
    pub refused: Option<String>,
    /// Its entries, in order.
    pub entries: Vec<Answer>,
    /// The run's status behind it.
    pub status: String,
    /// What the run waits for behind it.
    pub outstanding: Vec<String>,
}

/// What the engine answered to one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The entry.
    pub entry: String,
    /// Why it changed nothing, if it did not.
    pub ignored: Option<String>,
    /// What shall be done.
    pub commands: Vec<String>,
}

impl Stored {
    /// A record as it is kept in a file.
    #[must_use]
    pub fn of(raw: &RawRecord) -> Self {
        let channel = match raw.channel {
            Channel::Control => "control",
            Channel::Report => "report",
        };
        Self {
            seq: raw.stamp.seq,
            at_unix_nanos: raw.stamp.at.nanos(),
            channel: channel.to_owned(),
            payload: STANDARD.encode(&raw.payload),
        }
    }

    /// The record as the broker had it.
    ///
    /// # Panics
    /// If it is none; [`all`] looks first.
    #[must_use]
    pub fn raw(&self, run: RunId) -> RawRecord {
        let channel = match self.channel.as_str() {
            "control" => Channel::Control,
            "report" => Channel::Report,
            other => panic!("seq {}: there is no channel `{other}`", self.seq),
        };
        let payload = STANDARD.decode(&self.payload).unwrap_or_else(|e| panic!("seq {}: {e}", self.seq));
        let stamp = Stamp { seq: self.seq, at: Timestamp::from_nanos(self.at_unix_nanos) };
        RawRecord { run, channel, stamp, payload: Bytes::from(payload) }
    }
}

impl History {
    /// What is wrong with the file itself.
    fn damage(&self) -> Option<String> {
        let channels = ["control", "report"];
        let unreadable = |r: &&Stored| !channels.contains(&r.channel.as_str()) || STANDARD.decode(&r.payload).is_err();
        let record = self.records.iter().find(unreadable).map(|r| format!("seq {}: channel or payload", r.seq));
        let broken = |(digest, text): &(&Sha256, &String)| {
            Sha256::of(text.as_bytes()) != **digest || serde_json::from_str::<Value>(text).is_err()
        };
        record.or_else(|| self.objects.iter().find(broken).map(|(digest, _)| format!("object {digest}")))
    }
}

/// The folder with one folder a version.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("histories")
}

/// Every recorded history, by `<version>/<scenario>`, in order.
///
/// # Panics
/// If there is none, if a version has none, or if something else lies between them.
#[must_use]
pub fn all() -> BTreeMap<String, History> {
    let versions = listed(&folder());
    assert!(!versions.is_empty(), "tests/histories has no version: recorded histories are never removed");
    let mut histories = BTreeMap::new();
    for version in versions {
        let files = listed(&version);
        let version = name(&version).to_owned();
        assert!(!files.is_empty(), "tests/histories/{version} is empty: recorded histories are never removed");
        for file in files {
            let what = format!("{version}/{}", name(&file));
            let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("tests/histories/{what}: {e}"));
            let history: History =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("tests/histories/{what}: {e}"));
            let damage = history.damage();
            assert!(damage.is_none(), "tests/histories/{what} is damaged: {damage:?}");
            histories.insert(what.trim_end_matches(".json").to_owned(), history);
        }
    }
    histories
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", name(folder)));
    let mut paths: Vec<_> = entries.map(|e| e.expect("a folder can be read").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).expect("names are text")
}
