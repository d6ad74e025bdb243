//! Certificates: what was found when an agent version was retired, signed, so that it can be shown to others and checked
//! without asking anybody.
//!
//! A JSON Web Signature in its compact form (RFC 7515) with EdDSA over Ed25519 (RFC 8037): whoever has the public key, as a JSON
//! Web Key (RFC 7517), can check it with any library for those.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kapelle_bus::registry::Deprecation;
use kapelle_types::{Code, Diagnosis, Principal, Sha256, Timestamp};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::identity;

/// What kind of statement it is, as its header says (`typ`).
const TYPE: &str = "kapelle-retirement+jwt";

/// What is stated. Times are RFC 3339 but for `iat`, which JWTs have in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Who states it: `kapelle:<namespace>`.
    pub iss: String,
    /// Of what: `agent:<name>@<version>`.
    pub sub: String,
    /// When it was stated.
    pub iat: i64,
    /// SHA-256 of the manifest, as RFC 8785 writes it.
    pub manifest: Sha256,
    /// Who registered it, and when.
    pub registered: Act,
    /// Who had it retired, when, and why.
    pub retired: Act,
    /// What was said of the end of its time, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecation>,
    /// What was found before it was retired, after nothing could be given it any more.
    pub found: Found,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who.
    pub by: Principal,
    /// When, in RFC 3339.
    pub at: String,
    /// What they said to it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Steps of current workflows that would have had nobody.
    pub dependants: u64,
    /// Whether runs were to get it by its release.
    pub released: bool,
    /// Open runs that had it.
    pub open_runs: u64,
    /// Tasks that waited, or that workers held.
    pub tasks: u64,
    /// Up to where the run log of each partition was read for that. The logs stay as they are.
    pub logs: BTreeMap<String, u64>,
}

/// What signs.
pub(crate) struct Signer {
    key: Ed25519KeyPair,
}

impl Signer {
    /// The signer with the key of this seed.
    ///
    /// # Errors
    /// `CERTIFICATE_INVALID`: it is no seed.
    pub(crate) fn new(seed: &[u8; 32]) -> Result<Self, Diagnosis> {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|e| invalid(format!("the signing key: {e}")))?;
        Ok(Self { key })
    }

    /// The public key, as a JSON Web Key.
    pub(crate) fn public(&self) -> String {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key());
        let kid = thumbprint(&x);
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig" }).to_string()
    }

    /// Signs a statement.
    ///
    /// # Errors
    /// `CERTIFICATE_INVALID`: it cannot be written as JSON.
    pub(crate) fn sign(&self, statement: &Statement) -> Result<String, Diagnosis> {
        let kid = thumbprint(&BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key()));
        let header = json!({ "alg": "EdDSA", "typ": TYPE, "kid": kid }).to_string();
        let claims = serde_json::to_string(statement).map_err(|e| invalid(format!("it cannot be written: {e}")))?;
        let encoded = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = self.key.sign(encoded.as_bytes());
        Ok(format!("{encoded}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// The thumbprint of a key (RFC 7638), by which certificates name it.
fn thumbprint(x: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::of(canonical.as_bytes()).0)
}

/// Checks a certificate with a public key, a JSON Web Key, and gives what it states. Nobody is asked.
///
/// # Errors
/// `CERTIFICATE_INVALID`: it is none, was changed, or was signed with another key.
pub fn verify(jws: &str, jwk: &str) -> Result<Statement, Diagnosis> {
    identity::install_verification();
    let jwk: Jwk = serde_json::from_str(jwk).map_err(|e| invalid(format!("this is no JSON Web Key: {e}")))?;
    let key = DecodingKey::from_jwk(&jwk).map_err(|e| invalid(format!("the key cannot be used: {e}")))?;
    let jws = jws.trim();
    let header = jsonwebtoken::decode_header(jws).map_err(|e| invalid(format!("this is no certificate: {e}")))?;
    if header.typ.as_deref() != Some(TYPE) {
        let typ = header.typ.unwrap_or_default();
        return Err(invalid(format!("this is a `{typ}` and no certificate of a retirement (`{TYPE}`)")));
    }
    if let (Some(by), Some(with)) = (&header.kid, &jwk.common.key_id)
        && by != with
    {
        return Err(invalid(format!("it was signed with the key {by}, not with {with}")));
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let verified = jsonwebtoken::decode::<Value>(jws, &key, &validation)
        .map_err(|e| invalid(format!("the signature is not that of this key over this text: {e}")))?;
    serde_json::from_value(verified.claims)
        .map_err(|e| invalid(format!("it is signed, and states something else: {e}")))
}

/// Whoever retired something, as a certificate names it.
pub(crate) fn act(by: &Principal, at: Timestamp, why: &str) -> Act {
    Act { by: by.clone(), at: at.rfc3339(), why: why.to_owned() }
}

fn invalid(message: String) -> Diagnosis {
    Diagnosis::new(Code::CERTIFICATE_INVALID, message)
        .hint("`kapelle agent certificate key` writes the key of a coordinator's certificates")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let by = Principal("user:ada".into());
        Statement {
            iss: "kapelle:default".into(),
            sub: "agent:read@1.0.0".into(),
            iat: 1_795_334_400,
            manifest: Sha256::of(b"manifest"),
            registered: act(&by, Timestamp::from_millis(1_795_334_400_000), ""),
            retired: act(&by, Timestamp::from_millis(1_795_334_400_000), "replaced by 2.0.0"),
            deprecated: None,
            found: Found {
                dependants: 0,
                released: false,
                open_runs: 0,
                tasks: 0,
                logs: [("0".to_owned(), 42)].into(),
            },
        }
    }

    #[test]
    fn what_is_signed_verifies_and_nothing_else_does() {
        let signer = Signer::new(&[7; 32]).unwrap();
        let jws = signer.sign(&statement()).unwrap();
        assert_eq!(verify(&jws, &signer.public()).unwrap(), statement());
        assert_eq!(verify(&format!("{jws}\n"), &signer.public()).unwrap(), statement(), "as a file has it");
        let other = Signer::new(&[8; 32]).unwrap();
        let refused = verify(&jws, &other.public()).unwrap_err();
        assert_eq!(refused.code, Code::CERTIFICATE_INVALID);
        assert!(refused.message.contains("it was signed with the key"), "{refused}");
        let mut without_name: Value = serde_json::from_str(&other.public()).unwrap();
        without_name.as_object_mut().unwrap().remove("kid");
        let refused = verify(&jws, &without_name.to_string()).unwrap_err();
        assert!(refused.message.contains("not that of this key"), "{refused}");
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let signer = Signer::new(&[7; 32]).unwrap();
        let jws = signer.sign(&statement()).unwrap();
        let [header, claims, signature] = jws.split('.').collect::<Vec<_>>()[..] else { panic!("{jws}") };
        let mut changed = statement();
        changed.found.open_runs = 3;
        let changed = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_string(&changed).unwrap());
        let none = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": TYPE }).to_string());
        let symmetric = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "typ": TYPE }).to_string());
        for text in [
            format!("{header}.{changed}.{signature}"),
            format!("{none}.{claims}."),
            format!("{none}.{claims}.{signature}"),
            format!("{symmetric}.{claims}.{signature}"),
            format!("{header}.{claims}"),
            String::new(),
            "garbage".to_owned(),
        ] {
            assert_eq!(verify(&text, &signer.public()).unwrap_err().code, Code::CERTIFICATE_INVALID, "{text}");
        }
        assert!(verify(&jws, "{}").is_err() && verify(&jws, "").is_err());
    }

    #[test]
    fn a_signed_text_of_another_kind_is_no_certificate() {
        let signer = Signer::new(&[7; 32]).unwrap();
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "typ": "JWT" }).to_string());
        let claims = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_string(&statement()).unwrap());
        let signature = signer.key.sign(format!("{header}.{claims}").as_bytes());
        let text = format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()));
        let refused = verify(&text, &signer.public()).unwrap_err();
        assert!(refused.message.contains("no certificate of a retirement"), "{refused}");
    }

    /// The key of RFC 8037, appendix A.
    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        assert_eq!(
            thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
