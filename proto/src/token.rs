//! Task tokens as bytes; no bytes are no token.

use bytes::Bytes;
use kapelle_engine::TaskToken;

use crate::error::DecodeError;

pub(crate) fn encode(token: Option<TaskToken>) -> Bytes {
    token.map(|token| Bytes::copy_from_slice(token.as_bytes())).unwrap_or_default()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Option<TaskToken>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    TaskToken::from_bytes(bytes).map(Some).ok_or_else(|| DecodeError::invalid("token", "it is not 16 bytes"))
}
