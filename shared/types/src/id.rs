//! Ids of runs and of whoever acts on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{InvalidName, TaskId, WorkflowName};

/// The namespace of run ids that are derived from an idempotency key (UUIDv5 of "kapelle.dev/run").
const KEYED_RUNS: Uuid = Uuid::from_u128(0x6b61_7065_6c6c_5e72_8a75_6e2e_6b65_7973);

/// The namespace of the ids of runs that other runs begin (UUIDv5 of "kapelle.dev/run/attempt"). It is another one, so that no
/// key that a client chooses gives such an id.
const RUNS_OF_ATTEMPTS: Uuid = Uuid::from_u128(0x6b61_7065_6c6c_5e72_8a75_6e2e_6368_696c);

/// One run. UUIDv7, or UUIDv5 of (namespace, workflow, key) where the client gave an idempotency key, or of the
/// attempt that it was begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// The run id that an idempotency key fixes: the same three values always give the same id.
    #[must_use]
    pub fn keyed(namespace: &str, workflow: &WorkflowName, key: &str) -> Self {
        let name = format!("{namespace}\u{0}{workflow}\u{0}{key}");
        Self(Uuid::new_v5(&KEYED_RUNS, name.as_bytes()))
    }

    /// The run that an attempt of another run's step begins: the same attempt always begins the same run.
    #[must_use]
    pub fn of_attempt(parent: Self, task: &TaskId) -> Self {
        Self(Uuid::new_v5(&RUNS_OF_ATTEMPTS, format!("{parent}\u{0}{task}").as_bytes()))
    }

    /// Wraps a UUID that the caller made (UUIDv7 for jobs without a key).
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The 16 bytes, for hashing and for the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// A seed for everything in this run that has to look random and be repeatable (jitter, ramp choice).
    #[must_use]
    pub fn seed(&self) -> u64 {
        crate::partition::fnv1a(self.as_bytes())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "a run id is a UUID in its hyphenated form, 36 characters";
        if text.len() != 36 {
            return Err(InvalidName::new("run id", text, rule));
        }
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidName::new("run id", text, rule))
    }
}

/// Who caused an entry: a person, a system, an agent or a part of Kapelle itself (`worker:…`, `coordinator:…`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(pub String);

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fixes_the_run() {
        let w: WorkflowName = "intake".parse().unwrap();
        assert_eq!(RunId::keyed("default", &w, "a"), RunId::keyed("default", &w, "a"));
        assert_ne!(RunId::keyed("default", &w, "a"), RunId::keyed("default", &w, "b"));
        assert_ne!(RunId::keyed("default", &w, "a"), RunId::keyed("other", &w, "a"));
        assert_eq!(RunId::keyed("default", &w, "a").to_string().len(), 36);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = RunId::keyed("default", &"w".parse().unwrap(), "k");
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
        for bad in ["", "x", "urn:uuid:00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
