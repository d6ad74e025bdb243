//! What becomes of an agent version while its manifest stays as it is: a record of its own beside it, under
//! `status.agent.<name>.<version>`. It is on its way out, or stopped in an emergency.
//!
//! A version without a record is in use. A record is only written over the one that its writer has seen, so that of two who
//! decide at once one hears of it; a record that is taken away leaves a marker, so that no watch misses it.

use kapelle_types::{AgentVersion, Principal, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::Registry;
use crate::Error;

/// What stands before the agent in a key.
const PREFIX: &str = "status.agent.";

/// How an agent version stands that is not in use as others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Somebody is looking whether it can be retired: no new run gets it meanwhile.
    Draining,
    /// No new run gets it.
    Retired,
    /// None of its tasks is worked at until somebody lets it go on; new runs get it, and wait.
    Suspended,
    /// None of its tasks is worked at, and no new run gets it, until somebody puts it back into use.
    Quarantined,
}

impl Status {
    /// As people see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "DRAINING",
            Self::Retired => "RETIRED",
            Self::Suspended => "SUSPENDED",
            Self::Quarantined => "QUARANTINED",
        }
    }

    /// Whether none of its tasks is worked at.
    #[must_use]
    pub const fn stops(self) -> bool {
        matches!(self, Self::Suspended | Self::Quarantined)
    }

    /// Whether the broker gives nothing out of its queue, whoever asks with whatever credentials.
    #[must_use]
    pub const fn closes_queue(self) -> bool {
        matches!(self, Self::Suspended | Self::Quarantined | Self::Retired)
    }

    /// Whether no new run gets it.
    #[must_use]
    pub const fn is_out(self) -> bool {
        !matches!(self, Self::Suspended)
    }
}

/// The record of an agent version that is on its way out, or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How it stands.
    pub status: Status,
    /// Who wanted it.
    pub by: Principal,
    /// Since when.
    pub at: Timestamp,
    /// What they said to it; may be empty.
    pub why: String,
    /// Of a retired one, what was found before it was retired: a signed statement (JWS, RFC 7515).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// The record of a version, or that there is none, with the revision that the next one has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The record; `None` is a version in use.
    pub standing: Option<Standing>,
    /// Its revision, or that of the marker; 0 if there was never one.
    pub revision: u64,
}

impl Registry {
    /// The standing of an agent version, by the word of the leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is none.
    pub async fn standing(&self, agent: &AgentVersion) -> Result<Seen, Error> {
        let (bytes, revision) = self.beside(&key(agent)).await?;
        Ok(Seen { standing: bytes.as_deref().map(read).transpose()?, revision })
    }

    /// Writes a record over what was seen, and gives its revision.
    ///
    /// # Errors
    /// Refused with `NotFirst` if there is another one by now; [`Error::Unavailable`] while the broker is not ready.
    pub async fn stand(&self, agent: &AgentVersion, standing: &Standing, seen: u64) -> Result<u64, Error> {
        let bytes = serde_json::to_vec(standing).map_err(|e| Error::Unreadable(e.to_string()))?;
        self.write_beside(&key(agent), Some(bytes), seen).await
    }

    /// Takes away the record that was seen: the version is in use again.
    ///
    /// # Errors
    /// As [`Registry::stand`].
    pub async fn restore(&self, agent: &AgentVersion, seen: u64) -> Result<(), Error> {
        self.write_beside(&key(agent), None, seen).await.map(drop)
    }
}

fn key(agent: &AgentVersion) -> String {
    format!("{PREFIX}{}.{}", agent.name, agent.version.token())
}

/// Whose standing a key holds; `None` for other keys.
pub(super) fn subject(key: &str) -> Option<AgentVersion> {
    let (name, version) = key.strip_prefix(PREFIX)?.split_once('.')?;
    Some(AgentVersion { name: name.parse().ok()?, version: Version::from_token(version).ok()? })
}

pub(super) fn read(bytes: &[u8]) -> Result<Standing, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Unreadable(format!("a standing: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_agent() {
        for text in ["read@1.4.0", "licence-review@2.0.0-rc.1"] {
            let agent: AgentVersion = text.parse().unwrap();
            assert_eq!(subject(&key(&agent)), Some(agent));
        }
        for other in ["agent.read.1_0_0", "status.agent.read", "status.agent.read.one", "layout"] {
            assert_eq!(subject(other), None, "{other}");
        }
    }

    #[test]
    fn records_are_written_as_people_name_them() {
        let at = Timestamp::from_nanos(0);
        let (by, why) = (Principal("ada".into()), "old".to_owned());
        let standing = Standing { status: Status::Retired, by, at, why, certificate: None };
        let text = serde_json::to_string(&standing).unwrap();
        assert!(text.starts_with(r#"{"status":"RETIRED","by":"ada","#), "{text}");
        assert_eq!(read(text.as_bytes()).unwrap(), standing);
        assert!(read(b"{}").is_err());
    }
}
