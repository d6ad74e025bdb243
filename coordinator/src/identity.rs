//! Who calls: the credential of a call becomes a caller, or nothing does.
//!
//! ```text
//!   authorization: Bearer kpl_…   ──▶ tokens    a cache of the bucket, kept current by watching it
//!   authorization: Bearer eyJ…    ──▶ issuers   signature, issuer, audience, times; keys from the issuer's JWKS
//!   nothing at all                ──▶ the development identity, under `kapelle dev` alone
//! ```
//!
//! The gate in front of the API asks; nobody else does. Everything that cannot be checked is refused, and a refusal says
//! no more than whether the credential is missing, not known or expired. What a caller may do is not decided here.

mod claims;
mod config;
mod fetch;
mod issuer;
mod keys;
mod ring;
mod session;
mod tokens;

use std::sync::Arc;

use kapelle_bus::Bus;
use kapelle_bus::tokens::Secret;
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::CREDENTIALS_REFUSED;
use kapelle_types::{AuditWho, Caller, Code, Diagnosis, Namespace, Principal, Role};
use tokio_util::sync::CancellationToken;

pub(crate) use claims::{spelled, vouched_person};
use config::IssuerConfig;
pub use config::{Accepted, Identities};
use issuer::Issuer;
use keys::Timing;
pub(crate) use ring::install as install_verification;
pub(crate) use session::Session;
pub(crate) use tokens::TokenCache;

/// Bytes of a credential: a JWT with many groups in it fits, and nobody makes us read more.
const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;

/// Everything that credentials are checked against.
pub(crate) struct Identity {
    tokens: Arc<TokenCache>,
    issuers: Vec<Issuer>,
    /// Who calls without a credential.
    development: Option<Caller>,
}

/// Why a credential is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is none.
    Missing,
    /// It is not known: which part of it is wrong is nobody's business.
    Unknown,
    /// It was good once.
    Expired,
    /// It may be good; what it is checked against is not known to be current.
    Stale,
}

impl Identity {
    /// Reads the tokens and the issuers' keys, and keeps both current until `stop`. An issuer that does not answer holds
    /// nothing up: until it does, its identities are refused.
    ///
    /// # Errors
    /// `BROKER_UNAVAILABLE`, `IDENTITY_INVALID`.
    pub(crate) async fn open(bus: &Bus, accepted: &Accepted, stop: &CancellationToken) -> Result<Self, Diagnosis> {
        let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
        let tokens = TokenCache::open(bus, stop.clone()).await.map_err(unavailable)?;
        let (issuers, development) = match accepted {
            Accepted::Development => (Vec::new(), Some(developer())),
            Accepted::Known(identities) => {
                let start = |config: &IssuerConfig| Issuer::start(config.clone(), Timing::default(), stop.clone());
                let issuers: Result<Vec<Issuer>, String> = identities.issuers.iter().map(start).collect();
                (issuers.map_err(|e| Diagnosis::new(Code::IDENTITY_INVALID, e))?, None)
            }
        };
        Ok(Self { tokens, issuers, development })
    }

    /// The tokens, for whoever makes and revokes them.
    pub(crate) const fn tokens(&self) -> &Arc<TokenCache> {
        &self.tokens
    }

    /// Who calls with this `authorization` header.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `IDENTITY_UNAVAILABLE`.
    pub(crate) async fn session(&self, authorization: Option<&[u8]>) -> Result<Session, Diagnosis> {
        let session = match (authorization, &self.development) {
            (None, Some(developer)) => Ok(Session::endless(developer.clone())),
            (None, None) => Err(Refused::Missing),
            (Some(header), _) => match bearer(header) {
                Some(credential) => self.of(credential).await,
                None => Err(Refused::Unknown),
            },
        };
        session.map_err(Refused::told)
    }

    /// Who a credential that is refused was of, as far as that is known for certain; and the id of the token that it claims
    /// to be, if there is such a token. Nothing else of a credential is ever told.
    pub(crate) fn named_in(&self, authorization: &[u8]) -> (AuditWho, Option<String>) {
        let Some(credential) = bearer(authorization) else { return Default::default() };
        match Secret::parse(credential) {
            Some(secret) => self.tokens.named_in(&secret),
            None => {
                let of = issuer::named_in(credential);
                let issuer = of.and_then(|name| self.issuers.iter().find(|issuer| issuer.name() == name));
                (issuer.and_then(|issuer| issuer.signed(credential)).unwrap_or_default(), None)
            }
        }
    }

    async fn of(&self, credential: &str) -> Result<Session, Refused> {
        let now = clock::now();
        if let Some(secret) = Secret::parse(credential) {
            return self.tokens.session(&secret, now);
        }
        let issuer = issuer::named_in(credential).ok_or(Refused::Unknown)?;
        let issuer = self.issuers.iter().find(|i| i.name() == issuer).ok_or(Refused::Unknown)?;
        issuer.session(credential, now).await
    }
}

impl Refused {
    const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Stale => "stale",
        }
    }

    /// The refusal as the caller hears of it. Counted here, so that none is told uncounted.
    pub(crate) fn told(self) -> Diagnosis {
        CREDENTIALS_REFUSED.counter(&[self.name()]).increment(1);
        match self {
            Self::Missing => Diagnosis::new(Code::UNAUTHENTICATED, "the call brings no credential")
                .hint("set KAPELLE_TOKEN, or give --token; `kapelle token create` makes one"),
            Self::Unknown => Diagnosis::new(Code::UNAUTHENTICATED, "the credential is not known")
                .hint("it may be revoked or of another installation; `kapelle token create` makes another"),
            Self::Expired => Diagnosis::new(Code::UNAUTHENTICATED, "the credential has expired")
                .hint("`kapelle token create` makes another, or sign in again at your identity provider"),
            Self::Stale => {
                let message = "credentials of this kind cannot be checked for now, so none is accepted";
                Diagnosis::new(Code::IDENTITY_UNAVAILABLE, message)
                    .hint("try again; the coordinator's log says what does not answer")
            }
        }
    }
}

/// What the development identity is called. Issuers' principals begin with `oidc:`, tokens' with `token:`.
const DEVELOPER: &str = "development";

/// Whether a caller is the one person who is at this machine, under `kapelle dev`.
pub(crate) fn is_developer(caller: &Caller) -> bool {
    caller.principal.0 == DEVELOPER
}

/// Whoever is at this machine, under `kapelle dev`.
fn developer() -> Caller {
    Caller {
        principal: Principal(DEVELOPER.into()),
        person: None,
        roles: [Role::Admin].into(),
        namespace: Some(Namespace::default()),
        sees_payloads: true,
        groups: Default::default(),
    }
}

/// What stands behind `Bearer`.
fn bearer(header: &[u8]) -> Option<&str> {
    let header = std::str::from_utf8(header).ok().filter(|h| h.len() <= CREDENTIAL_BYTES_MAX)?;
    let (scheme, credential) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim()).filter(|c| !c.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_stands_behind_bearer() {
        assert_eq!(bearer(b"Bearer kpl_x"), Some("kpl_x"));
        assert_eq!(bearer(b"bearer  kpl_x "), Some("kpl_x"));
        let long = [b"Bearer ".as_slice(), &[b'a'; CREDENTIAL_BYTES_MAX]].concat();
        for bad in [&b""[..], b"Bearer", b"Bearer ", b"Basic kpl_x", b"kpl_x", b"Bearer \xff", &long] {
            assert_eq!(bearer(bad), None);
        }
    }

    #[test]
    fn a_refusal_does_not_say_which_part_was_wrong() {
        let codes = [Refused::Missing, Refused::Unknown, Refused::Expired].map(|r| r.told().code);
        assert_eq!(codes, [Code::UNAUTHENTICATED; 3]);
        assert_eq!(Refused::Stale.told().code, Code::IDENTITY_UNAVAILABLE);
    }
}
