//! A token as its holder has it: `kpl_<id>_<secret>`. The id is public, the secret is 32 random bytes.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapelle_types::Sha256;

use super::TokenId;
use crate::Error;

/// What every token begins with, so that scanners of leaked secrets know one when they see it.
const PREFIX: &str = "kpl_";
/// Random bytes of the secret: nobody guesses 256 bits.
const SECRET_BYTES: usize = 32;
/// Random bytes of the id: no two of ten thousand are the same.
const ID_BYTES: usize = 8;

/// A token in full. Printing it for debugging shows its id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    id: TokenId,
}

impl Secret {
    /// A new token.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system has no randomness.
    pub(super) fn generate() -> Result<Self, Error> {
        let mut random = [0u8; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random).map_err(Error::unavailable)?;
        let (id, secret) = random.split_at(ID_BYTES);
        let id = TokenId::of(id);
        Ok(Self { text: format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret)), id })
    }

    /// Reads a token; `None` for anything that has another shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let long_enough = URL_SAFE_NO_PAD.decode(secret).is_ok_and(|s| s.len() == SECRET_BYTES);
        let id = id.parse().ok()?;
        long_enough.then(|| Self { text: text.to_owned(), id })
    }

    /// Which token this is.
    #[must_use]
    pub const fn id(&self) -> &TokenId {
        &self.id
    }

    /// The token itself, for its holder and for nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored of it. One hash is enough: there is no dictionary of 256 random bits.
    #[must_use]
    pub(super) fn hash(&self) -> Sha256 {
        Sha256::of(self.text.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_***", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_read_and_is_never_the_same() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(Secret::parse(one.reveal()).unwrap(), one);
        assert_ne!(one.hash(), other.hash());
    }

    #[test]
    fn other_shapes_are_no_tokens() {
        let good = Secret::generate().unwrap().reveal().to_owned();
        let short = &good[..good.len() - 1];
        for bad in ["", "kpl_", "kpl__", "kpl_0011223344556677_", "Bearer", short, &good.replace("kpl_", "KPL_")] {
            assert!(Secret::parse(bad).is_none(), "{bad}");
        }
        assert!(Secret::parse(&format!("{good}A")).is_none());
    }

    #[test]
    fn debugging_shows_no_secret() {
        let secret = Secret::generate().unwrap();
        let shown = format!("{secret:?}");
        assert_eq!(shown, format!("kpl_{}_***", secret.id()));
    }
}
