//! Signatures of JWTs, verified by ring: the TLS stack's own cryptography, so that the process has one implementation and
//! none of the packages that carry a C library or an open advisory. Nothing is signed by it.

use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtVerifier};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use signature_trait::{Error, Verifier};

/// What verifies, for this process.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory,
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// Makes the library use ring. Doing it again changes nothing.
pub(crate) fn install() {
    let _ = PROVIDER.install_default();
}

/// A public key with the one way in which it is used.
struct Verification {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
    Other(UnparsedPublicKey<Vec<u8>>),
}

/// Puts a key and an algorithm together, if they are of one kind. Symmetric ones are of none: whoever knows a public key
/// must not be able to sign with it.
fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let other = |verification: &'static dyn VerificationAlgorithm, family| match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) if key.family() == family => {
            Ok(Key::Other(UnparsedPublicKey::new(verification, bytes.clone())))
        }
        _ => Err(ErrorKind::InvalidKeyFormat),
    };
    let rsa = |parameters| match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } if key.family() == AlgorithmFamily::Rsa => {
            Ok(Key::Rsa(parameters, RsaPublicKeyComponents { n: n.clone(), e: e.clone() }))
        }
        _ => Err(ErrorKind::InvalidKeyFormat),
    };
    let verification = match algorithm {
        Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => other(&signature::ECDSA_P256_SHA256_FIXED, AlgorithmFamily::Ec),
        Algorithm::ES384 => other(&signature::ECDSA_P384_SHA384_FIXED, AlgorithmFamily::Ec),
        Algorithm::EdDSA => other(&signature::ED25519, AlgorithmFamily::Ed),
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Err(ErrorKind::InvalidAlgorithm),
    };
    Ok(Box::new(Verification { algorithm: *algorithm, key: verification? }))
}

impl Verifier<Vec<u8>> for Verification {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match &self.key {
            Key::Rsa(parameters, key) => key.verify(parameters, message, signature),
            Key::Other(key) => key.verify(message, signature),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Verification {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
