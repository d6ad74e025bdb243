//! JWTs as NATS has them: `ed25519-nkey` signatures, and an id that is the hash of the claims.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use kapelle_types::Timestamp;
use nkeys::KeyPair;
use serde_json::{Value, json};
use sha2::{Digest, Sha512_256};

use crate::Error;

/// Signs claims, which it says who made and when.
pub(crate) fn sign(mut claims: Value, key: &KeyPair, now: Timestamp) -> Result<String, Error> {
    claims["iss"] = json!(key.public_key());
    claims["iat"] = json!(seconds(now));
    claims["jti"] = json!(BASE32_NOPAD.encode(&Sha512_256::digest(claims.to_string())));
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let signature = key.sign(signed.as_bytes()).map_err(|e| Error::Invalid(format!("a key cannot sign: {e}")))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A moment as JWTs have it.
pub(crate) const fn seconds(moment: Timestamp) -> i64 {
    moment.millis() / 1_000
}

/// The claims of a JWT of our own.
#[cfg(test)]
pub(crate) fn claims(jwt: &str) -> Value {
    let middle = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_over_what_is_said() {
        let key = KeyPair::new_operator();
        let jwt = sign(json!({ "sub": "x" }), &key, Timestamp::from_millis(1_700_000_000_123)).unwrap();
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = claims(&jwt);
        assert_eq!((&claims["iat"], &claims["iss"]), (&json!(1_700_000_000), &json!(key.public_key())));
        assert_eq!(claims["jti"].as_str().unwrap().len(), 52);
    }
}
