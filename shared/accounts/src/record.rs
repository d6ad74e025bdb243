//! What is kept of a namespace beside its keys: quotas, and who was given credentials. No seed is in it.

use std::collections::BTreeMap;

use kapelle_types::{AgentVersion, Namespace, Partitions, Role, Timestamp, UserName, limits};
use serde::{Deserialize, Serialize};

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub name: Namespace,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many partitions its coordinators provision; permissions name each partition's stream.
    pub partitions: Partitions,
    /// How much of the broker it may use.
    pub quotas: Quotas,
    /// The public key of the account that has its streams.
    pub core: String,
    /// The public key of the account that publishers and people connect to.
    pub edge: String,
    /// The public key of the account that workers connect to.
    pub workers: String,
    /// The public keys that users are signed with, one a role.
    pub signers: BTreeMap<Role, String>,
    /// The credentials that were given out.
    pub credentials: Vec<Issued>,
}

/// How much of the broker a namespace may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Bytes of its streams on disk, every replica counted.
    pub storage_bytes: u64,
    /// Bytes of its streams in memory, every replica counted.
    pub memory_bytes: u64,
    /// Connections of coordinators, as many again of workers, and as many of all others.
    pub connections: u32,
    /// Streams.
    pub streams: u32,
    /// Consumers.
    pub consumers: u32,
}

/// Credentials that were given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Whose they are.
    pub name: UserName,
    /// What their holder may be.
    pub role: Role,
    /// The agents whose tasks a worker takes with them.
    pub agents: Vec<AgentVersion>,
    /// The public key of the user.
    pub public_key: String,
    /// When they were made.
    pub issued_at: Timestamp,
    /// When they end.
    pub expires_at: Timestamp,
    /// When they were revoked, if they were.
    pub revoked_at: Option<Timestamp>,
}

/// How it stands with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The broker takes them.
    Active,
    /// Their time is over.
    Expired,
    /// They were taken back.
    Revoked,
}

impl Issued {
    /// How it stands with them now.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        match self.revoked_at {
            Some(_) => State::Revoked,
            None if self.expires_at <= now => State::Expired,
            None => State::Active,
        }
    }
}

impl Record {
    /// Takes credentials back: those of a name, or those with a public key. Says how many were active.
    pub fn revoke(&mut self, whose: &str, now: Timestamp) -> usize {
        let meant = |c: &&mut Issued| c.name.as_str() == whose || c.public_key == whose;
        let active = self.credentials.iter_mut().filter(meant).filter(|c| c.state(now) == State::Active);
        active.map(|credentials| credentials.revoked_at = Some(now)).count()
    }

    /// Takes back the credentials of workers that are for an agent version alone. Says how many were active.
    pub fn revoke_of(&mut self, agent: &AgentVersion, now: Timestamp) -> usize {
        let alone = |c: &&mut Issued| c.role == Role::Worker && matches!(c.agents.as_slice(), [only] if only == agent);
        let active = self.credentials.iter_mut().filter(alone).filter(|c| c.state(now) == State::Active);
        active.map(|credentials| credentials.revoked_at = Some(now)).count()
    }

    /// Forgets what ended long ago: a JWT that has expired needs no revocation.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.credentials.retain(|c| c.expires_at.plus(limits::CREDENTIALS_KEPT) > now);
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            storage_bytes: 10 << 30,
            memory_bytes: 1 << 30,
            connections: 1_000,
            // Some twenty, and one a partition, of which 256 are possible.
            streams: 300,
            // One an agent version, and some for each coordinator.
            consumers: 10_000,
        }
    }
}
