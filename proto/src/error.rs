//! Why bytes from the wire are not a value: garbage, or the words of a newer release.

use std::error::Error;

use bytes::Bytes;
use prost::Message;

use crate::payload::INLINE_BYTES_ACCEPTED_MAX;

/// The version of the wire format that this release writes, and the highest that it reads.
pub const WIRE_VERSION: u32 = 1;

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The message says that it has a format that this release does not read.
    #[error("wire version {0} is newer than {WIRE_VERSION}, the highest that this release reads")]
    Version(u32),
    /// A field holds a kind (of entry, content, failure, status) that this release has no name for.
    #[error("`{0}` holds a kind that this release does not know")]
    Unknown(&'static str),
    /// It is not protobuf, or not of this shape.
    #[error("not a message of the expected shape")]
    Protobuf(#[from] prost::DecodeError),
    /// A field that must be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field is there and cannot be what it says.
    #[error("`{field}` is not valid")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A payload is inline that should have been a claim check.
    #[error("`{field}` has {bytes} bytes inline; {INLINE_BYTES_ACCEPTED_MAX} are accepted at most")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
}

impl DecodeError {
    /// Whether a newer release wrote this, so that it must not be skipped: a coordinator lets the partition go.
    /// Everything else is garbage, to be counted and refused.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Unknown(_))
    }

    pub(crate) fn invalid(field: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Invalid { field, source: source.into() }
    }
}

/// Refuses what another version of the format was used for. No version at all is garbage, not news.
pub(crate) const fn check_version(found: u32) -> Result<(), DecodeError> {
    match found {
        0 => Err(DecodeError::Missing("version")),
        WIRE_VERSION => Ok(()),
        newer => Err(DecodeError::Version(newer)),
    }
}

/// Parses a text field.
pub(crate) fn parsed<T>(text: &str, field: &'static str) -> Result<T, DecodeError>
where
    T: std::str::FromStr<Err: Error + Send + Sync + 'static>,
{
    text.parse().map_err(|source: T::Err| DecodeError::invalid(field, source))
}

/// Tells a field that was never written from one that was written in a way that this release does not know.
///
/// Protobuf drops unknown members of a oneof on decoding, so both arrive as "nothing"; but only the second makes the message
/// shorter when it is written again. Called only when something is missing, so the second decoding costs nobody.
pub(crate) fn missing_or_unknown<M: Message + Default>(error: DecodeError, payload: &Bytes) -> DecodeError {
    match error {
        DecodeError::Missing(field) if drops_something::<M>(payload) => DecodeError::Unknown(field),
        other => other,
    }
}

fn drops_something<M: Message + Default>(payload: &Bytes) -> bool {
    M::decode(payload.clone()).is_ok_and(|message| message.encoded_len() < payload.len())
}
