//! NATS credentials files: a user's JWT, which says who it is and what it may do, and the key that proves it.
//!
//! Read again for every connection, so that whoever renews a file restarts nobody. Written by `kapelle credentials issue`.

use std::path::Path;

use async_nats::Auth;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapelle_telemetry::clock;
use kapelle_types::{Namespace, Timestamp};
use nkeys::KeyPair;
use serde::Deserialize;

use crate::Error;

const JWT: &str = "NATS USER JWT";
const SEED: &str = "USER NKEY SEED";

/// A user's credentials.
pub struct Credentials {
    jwt: String,
    key: KeyPair,
    claims: Claims,
}

/// What the JWT says, as far as it concerns its holder. Whether it is true is judged by the broker.
#[derive(Deserialize)]
struct Claims {
    name: String,
    /// In seconds since 1970.
    exp: Option<i64>,
    nats: Details,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    tags: Vec<String>,
}

impl Credentials {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it is no credentials file.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let unusable = |why: String| Error::Unauthorized(format!("{} cannot be used: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| unusable(e.to_string()))?;
        Self::parse(&text).ok_or_else(|| unusable("it is no NATS credentials file".to_owned()))
    }

    /// Reads what stands in a file; `None` if that is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (jwt, seed) = (block(text, JWT)?, block(text, SEED)?);
        let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
        let claims = serde_json::from_slice(&claims).ok()?;
        Some(Self { jwt: jwt.to_owned(), key: KeyPair::from_seed(seed).ok()?, claims })
    }

    /// What stands in the file of a user.
    #[must_use]
    pub fn render(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN {JWT}-----\n{jwt}\n------END {JWT}------\n\n\
             Whoever has this file is its user at the broker: keep it as you keep a private key.\n\n\
             -----BEGIN {SEED}-----\n{seed}\n------END {SEED}------\n"
        )
    }

    /// The user's name; its inboxes begin with it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.claims.name
    }

    /// The namespace that they are for, if they say it.
    #[must_use]
    pub fn namespace(&self) -> Option<Namespace> {
        self.claims.nats.tags.iter().find_map(|tag| tag.strip_prefix("namespace:")?.parse().ok())
    }

    /// When they end, if they do.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.claims.exp.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000)))
    }

    /// The answer to the broker's challenge. The name has to be the one that the connection began with, because inboxes that are
    /// subscribed to and permissions both go by it.
    pub(crate) fn answer(&self, name: &str, nonce: &[u8]) -> Result<Auth, Error> {
        if self.name() != name {
            let other = format!("the file has those of `{}` now, and this process is `{name}`", self.name());
            return Err(Error::Unauthorized(other));
        }
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|e| Error::Unauthorized(e.to_string()))?);
        auth.jwt = Some(self.jwt.clone());
        Ok(auth)
    }

    /// Why the broker refuses those of a file, as well as that can be known from here: it says no more than that it does.
    pub(crate) fn refused(file: &Path) -> Error {
        let credentials = match Self::read(file) {
            Ok(credentials) => credentials,
            Err(error) => return error,
        };
        let (name, file) = (credentials.name(), file.display());
        match credentials.expires_at() {
            Some(expired) if expired <= clock::now() => {
                Error::Unauthorized(format!("those of `{name}` in {file} expired at {}", expired.rfc3339()))
            }
            _ => Error::Unauthorized(format!(
                "those of `{name}` in {file} are revoked, or their namespace is not known there"
            )),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.claims.name).finish_non_exhaustive()
    }
}

/// What stands between the lines that begin and end a block.
fn block<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {name}-----"))?;
    rest.split_once("-----END").map(|(content, _)| content.trim().trim_end_matches('-').trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(claims: &str) -> (String, KeyPair) {
        let key = KeyPair::new_user();
        let jwt = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        (Credentials::render(&jwt, &key.seed().unwrap()), key)
    }

    #[test]
    fn a_file_is_read_as_it_is_written() {
        let (text, key) = file(r#"{"name":"w1","exp":1700000000,"nats":{"tags":["namespace:legal"]}}"#);
        let credentials = Credentials::parse(&text).unwrap();
        assert_eq!(credentials.name(), "w1");
        assert_eq!(credentials.expires_at().unwrap().rfc3339(), "2023-11-14T22:13:20.000Z");
        assert_eq!(credentials.namespace(), "legal".parse().ok());
        let auth = credentials.answer("w1", b"nonce").unwrap();
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        assert!(matches!(credentials.answer("w2", b"nonce"), Err(Error::Unauthorized(_))));
        assert!(!format!("{credentials:?}").contains("SU"), "seeds are not for logs");
    }

    #[test]
    fn what_is_no_credentials_file_is_refused() {
        let (good, _) = file(r#"{"name":"w1","nats":{}}"#);
        let without = Credentials::parse(&good).unwrap();
        assert_eq!((without.expires_at(), without.namespace()), (None, None));
        let (nameless, _) = file("{}");
        for bad in ["", "SUAAA", &good[..60], &nameless, &good.replace("SU", "SA")] {
            assert!(Credentials::parse(bad).is_none(), "{bad}");
        }
    }
}
