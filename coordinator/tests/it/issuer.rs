//! An issuer of identities: persons with JWTs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapelle_coordinator::{Accepted, Identities};
use kapelle_telemetry::clock;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use tempfile::TempDir;

const NAME: &str = "https://id.example.com";

/// An issuer with one key.
pub(crate) struct Issuer {
    pair: EcdsaKeyPair,
    folder: TempDir,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let point = pair.public_key().as_ref();
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        });
        std::fs::write(folder.path().join("jwks.json"), json!({ "keys": [jwk] }).to_string()).unwrap();
        let file = format!(
            "issuers:\n- issuer: {NAME}\n  audience: kapelle\n  algorithms: [ES256]\n  jwks_file: jwks.json\n  \
             namespace: default\n  claims: {{ roles: roles, person: email, groups: groups, may_see_payloads: payloads }}\n"
        );
        std::fs::write(folder.path().join("identity.yaml"), file).unwrap();
        Self { pair, folder }
    }

    /// What a coordinator accepts that knows this issuer.
    pub(crate) fn accepted(&self) -> Accepted {
        Accepted::Known(Identities::read(&self.folder.path().join("identity.yaml")).unwrap())
    }

    /// The JWT of a login of a person, good for so many seconds.
    pub(crate) fn jwt(&self, login: &str, person: &str, role: &str, seconds: i64) -> String {
        let now = clock::now().millis() / 1_000;
        self.signed(&json!({
            "iss": NAME, "aud": "kapelle", "sub": login, "email": person, "roles": [role], "exp": now + seconds,
        }))
    }

    /// The JWT of a login of a person in a group, who sees payloads.
    pub(crate) fn approver(&self, login: &str, person: &str, role: &str, group: &str) -> String {
        self.signed(&json!({
            "iss": NAME, "aud": "kapelle", "sub": login, "email": person, "roles": [role], "groups": [group],
            "payloads": true, "exp": clock::now().millis() / 1_000 + 600,
        }))
    }

    fn signed(&self, claims: &serde_json::Value) -> String {
        let header = json!({ "alg": "ES256", "kid": "k", "typ": "JWT" });
        let text = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", text(header), text(claims.clone()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
