//! That an agent version is to be used no more, and when its time is over: a record of its own beside the manifest, under
//! `deprecation.agent.<name>.<version>`. It stands beside how the version stands otherwise, so that one that is stopped for
//! an hour stays deprecated.

use kapelle_types::{AgentVersion, Principal, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::Registry;
use crate::Error;

/// What stands before the agent in a key.
const PREFIX: &str = "deprecation.agent.";

/// The record of an agent version that is to be used no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deprecation {
    /// From when on no new run gets it.
    pub sunset: Timestamp,
    /// What takes its place, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Version>,
    /// Who decided it.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// What they said to it; may be empty.
    pub why: String,
}

/// The record of a version, or that there is none, with the revision that the next one has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDeprecation {
    /// The record; `None` is a version that nobody has deprecated.
    pub deprecation: Option<Deprecation>,
    /// Its revision, or that of the marker; 0 if there was never one.
    pub revision: u64,
}

impl Registry {
    /// Whether an agent version is deprecated, by the word of the leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is no such record.
    pub async fn deprecation(&self, agent: &AgentVersion) -> Result<SeenDeprecation, Error> {
        let (bytes, revision) = self.beside(&key(agent)).await?;
        Ok(SeenDeprecation { deprecation: bytes.as_deref().map(read).transpose()?, revision })
    }

    /// Writes a record over what was seen, or takes it away, and gives its revision.
    ///
    /// # Errors
    /// Refused with `NotFirst` if there is another one by now; [`Error::Unavailable`] while the broker is not ready.
    pub async fn deprecate(
        &self,
        agent: &AgentVersion,
        deprecation: Option<&Deprecation>,
        seen: u64,
    ) -> Result<u64, Error> {
        let bytes = deprecation.map(serde_json::to_vec).transpose().map_err(|e| Error::Unreadable(e.to_string()))?;
        self.write_beside(&key(agent), bytes, seen).await
    }
}

fn key(agent: &AgentVersion) -> String {
    format!("{PREFIX}{}.{}", agent.name, agent.version.token())
}

/// Whose deprecation a key holds; `None` for other keys.
pub(super) fn subject(key: &str) -> Option<AgentVersion> {
    let (name, version) = key.strip_prefix(PREFIX)?.split_once('.')?;
    Some(AgentVersion { name: name.parse().ok()?, version: Version::from_token(version).ok()? })
}

pub(super) fn read(bytes: &[u8]) -> Result<Deprecation, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Unreadable(format!("a deprecation: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_agent_and_no_other_record() {
        for text in ["read@1.4.0", "licence-review@2.0.0-rc.1"] {
            let agent: AgentVersion = text.parse().unwrap();
            assert_eq!(subject(&key(&agent)), Some(agent));
        }
        for other in ["agent.read.1_0_0", "status.agent.read.1_0_0", "deprecation.agent.read", "layout"] {
            assert_eq!(subject(other), None, "{other}");
        }
    }

    #[test]
    fn records_are_written_as_people_name_them() {
        let (sunset, at) = (Timestamp::from_millis(86_400_000), Timestamp::from_nanos(0));
        let by = Principal("ada".into());
        let successor = Some("2.0.0".parse().unwrap());
        let deprecation = Deprecation { sunset, successor, by, at, why: "slower".into() };
        let text = serde_json::to_string(&deprecation).unwrap();
        assert!(text.contains(r#""successor":"2.0.0","by":"ada""#), "{text}");
        assert_eq!(read(text.as_bytes()).unwrap(), deprecation);
        assert!(read(b"{}").is_err());
    }
}
