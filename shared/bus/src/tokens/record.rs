//! What is stored of a token.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kapelle_proto::v1;
use kapelle_types::{Caller, InvalidName, Namespace, Principal, Role, Sha256, Timestamp, TokenName};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Secret;

/// The public part of a token: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let shaped = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let invalid = || InvalidName {
            what: "token id",
            // Somebody may have given the whole token: no part of it belongs into a message.
            value: text.chars().take(4).collect::<String>() + "…",
            rule: "16 hexadecimal digits, as `kapelle token list` shows them",
        };
        if shaped { Ok(Self(text.to_owned())) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for TokenId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

/// A token that somebody wants made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called. Tokens of one name are one principal, so that a token can be replaced by another.
    pub name: TokenName,
    /// What its holder may be.
    pub roles: BTreeSet<Role>,
    /// The namespace that its holder belongs to.
    pub namespace: Namespace,
    /// Whether its holder may read payloads.
    pub sees_payloads: bool,
    /// The person behind it, if there is one.
    pub person: Option<String>,
    /// How long it lives.
    pub life: Duration,
    /// Who makes it.
    pub created_by: Principal,
}

/// What is stored of a token: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which token.
    pub id: TokenId,
    /// SHA-256 of the whole token.
    hash: Sha256,
    /// What it is called.
    pub name: TokenName,
    /// What its holder may be.
    pub roles: BTreeSet<Role>,
    /// The namespace that its holder belongs to.
    pub namespace: Namespace,
    /// Whether its holder may read payloads.
    pub sees_payloads: bool,
    /// The person behind it, if there is one.
    pub person: Option<String>,
    /// Who made it.
    pub created_by: Principal,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was ended by somebody, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// Whether a token is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Active,
    /// It has ended by itself.
    Expired,
    /// Somebody has ended it.
    Revoked,
}

impl State {
    /// The state as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Record {
    pub(super) fn new(secret: &Secret, wanted: Wanted, now: Timestamp) -> Self {
        let Wanted { name, roles, namespace, sees_payloads, person, life, created_by } = wanted;
        Self {
            id: secret.id().clone(),
            hash: secret.hash(),
            name,
            roles,
            namespace,
            sees_payloads,
            person,
            created_by,
            created_at: now,
            expires_at: now.plus(life),
            revoked_at: None,
        }
    }

    /// Whether this is the record of exactly that token. How long it takes says nothing about how much of it is right.
    #[must_use]
    pub fn is_of(&self, secret: &Secret) -> bool {
        self.hash.0.ct_eq(&secret.hash().0).into()
    }

    /// Whether it is accepted.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.revoked_at.is_some() {
            State::Revoked
        } else if now >= self.expires_at {
            State::Expired
        } else {
            State::Active
        }
    }

    /// When it ended, if it has.
    pub(super) fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.revoked_at.or_else(|| (now >= self.expires_at).then_some(self.expires_at))
    }

    /// The record as people are shown it.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> v1::TokenView {
        v1::TokenView {
            id: self.id.to_string(),
            name: self.name.to_string(),
            roles: self.roles.iter().map(ToString::to_string).collect(),
            namespace: self.namespace.to_string(),
            sees_payloads: self.sees_payloads,
            person: self.person.clone().unwrap_or_default(),
            created_by: self.created_by.to_string(),
            created_at_unix_nanos: self.created_at.nanos(),
            expires_at_unix_nanos: self.expires_at.nanos(),
            revoked_at_unix_nanos: self.revoked_at.map_or(0, Timestamp::nanos),
            state: self.state(now).as_str().to_owned(),
        }
    }

    /// Who its holder is.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            principal: Principal(format!("token:{}", self.name)),
            person: self.person.clone(),
            roles: self.roles.clone(),
            namespace: Some(self.namespace.clone()),
            sees_payloads: self.sees_payloads,
            groups: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(secret: &Secret) -> Record {
        let wanted = Wanted {
            name: "ci".parse().unwrap(),
            roles: [Role::Publisher].into(),
            namespace: Namespace::default(),
            sees_payloads: false,
            person: Some("ada@example.com".into()),
            life: Duration::from_secs(60),
            created_by: Principal("broker".into()),
        };
        Record::new(secret, wanted, Timestamp::from_millis(1_000))
    }

    #[test]
    fn a_record_knows_its_token_and_no_other() {
        let other = Secret::generate().unwrap();
        // What stands before a secret may stand in it, too.
        let underscores = Secret::parse(&format!("kpl_0011223344556677_{}8", "_".repeat(42))).unwrap();
        for secret in [Secret::generate().unwrap(), underscores] {
            let record = record(&secret);
            assert!(record.is_of(&secret) && !record.is_of(&other));
            let stored = serde_json::to_string(&record).unwrap();
            let random = secret.reveal().splitn(3, '_').last().unwrap();
            assert!(random.len() == 43 && !stored.contains(random), "the secret is not stored");
            assert_eq!(serde_json::from_str::<Record>(&stored).unwrap(), record);
            assert_eq!(record.caller().principal, Principal("token:ci".into()));
        }
    }

    #[test]
    fn it_ends_by_itself_or_by_somebody() {
        let mut record = record(&Secret::generate().unwrap());
        let at = Timestamp::from_millis;
        assert_eq!(record.state(at(1_000)), State::Active);
        assert_eq!((record.state(at(61_000)), record.ended_at(at(99_000))), (State::Expired, Some(at(61_000))));
        record.revoked_at = Some(at(2_000));
        assert_eq!((record.state(at(3_000)), record.ended_at(at(3_000))), (State::Revoked, Some(at(2_000))));
    }

    #[test]
    fn a_message_about_an_id_shows_no_token() {
        let secret = Secret::generate().unwrap();
        let error = secret.reveal().parse::<TokenId>().unwrap_err().to_string();
        assert!(!error.contains(&secret.reveal()[5..]), "{error}");
    }
}
