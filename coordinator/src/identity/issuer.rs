//! One issuer of JWTs: what it signed for us, in time and with an algorithm that is expected, makes a caller.

use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use kapelle_types::{AuditWho, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::Refused;
use super::claims;
use super::config::IssuerConfig;
use super::fetch::Fetcher;
use super::keys::{Keys, Timing};
use super::ring;
use super::session::Session;

/// An issuer and its keys.
pub(super) struct Issuer {
    config: IssuerConfig,
    keys: Arc<Keys>,
}

/// The issuer that a JWT says it is of, before anything is believed: only to know whose keys to check it with.
pub(super) fn named_in(credential: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    insecure_decode::<Named>(credential).ok().map(|token| token.claims.iss)
}

impl Issuer {
    /// Reads the issuer's keys and keeps them current until `stop`.
    ///
    /// # Errors
    /// This machine's certificate authorities cannot be read.
    pub(super) fn start(config: IssuerConfig, timing: Timing, stop: CancellationToken) -> Result<Self, String> {
        ring::install();
        let keys = Keys::start(Fetcher::new(config.keys.clone())?, timing, stop);
        Ok(Self { config, keys })
    }

    /// What stands in `iss`.
    pub(super) fn name(&self) -> &str {
        &self.config.issuer
    }

    /// Who holds this JWT.
    pub(super) async fn session(&self, credential: &str, now: Timestamp) -> Result<Session, Refused> {
        let header = decode_header(credential).map_err(|_| Refused::Unknown)?;
        // The header is the caller's word: it only chooses among what is allowed. An extension that has to be understood is
        // not understood here.
        if !self.config.algorithms.contains(&header.alg) || header.crit.is_some() {
            return Err(Refused::Unknown);
        }
        let key = self.keys.key(&header.kid.ok_or(Refused::Unknown)?).await?;
        if !key.is_for(header.alg) {
            return Err(Refused::Unknown);
        }
        let verified = decode::<Map<String, Value>>(credential, &key.decoding, &self.validation(header.alg));
        let claims = verified.map_err(|e| refusal(e.kind()))?.claims;
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let leeway = self.config.leeway.as_secs_f64();
        // The library does not look at `iat`: a credential from the future comes from a clock that is wrong.
        if claims.contains_key("iat") && seconds("iat").is_none_or(|at| at > now_seconds(now) + leeway) {
            return Err(Refused::Unknown);
        }
        let ends = seconds("exp").map(|at| millis(at + leeway)).ok_or(Refused::Unknown)?;
        let caller = claims::caller(&self.config, &claims).ok_or(Refused::Unknown)?;
        Ok(Session::until(caller, ends, Arc::clone(&self.keys)))
    }

    /// Whom a JWT was of that this issuer signed for us, though it may have ended since. Asks nobody.
    pub(super) fn signed(&self, credential: &str) -> Option<AuditWho> {
        let header = decode_header(credential).ok().filter(|header| self.config.algorithms.contains(&header.alg))?;
        let key = self.keys.known(&header.kid?).ok().filter(|key| key.is_for(header.alg))?;
        let mut validation = self.validation(header.alg);
        validation.validate_exp = false;
        let claims = decode::<Map<String, Value>>(credential, &key.decoding, &validation).ok()?.claims;
        claims::caller(&self.config, &claims).map(|caller| AuditWho::from(&caller))
    }

    /// Issuer, audience, end and subject have to be there and to be right; a beginning has to be past.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.config.leeway.as_secs();
        validation.validate_exp = true;
        validation.validate_nbf = true;
        validation.validate_aud = true;
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation
    }
}

fn refusal(kind: &ErrorKind) -> Refused {
    if matches!(kind, ErrorKind::ExpiredSignature) { Refused::Expired } else { Refused::Unknown }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^52")]
fn now_seconds(now: Timestamp) -> f64 {
    now.millis() as f64 / 1000.0
}

#[allow(clippy::cast_possible_truncation, reason = "a float that is too large becomes the largest moment")]
fn millis(seconds: f64) -> Timestamp {
    Timestamp::from_millis(((seconds * 1000.0) as i64).min(i64::MAX / 1_000_000))
}

#[cfg(test)]
mod tests;
