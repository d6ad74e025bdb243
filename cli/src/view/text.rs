//! A piece of what a model writes.

use kapelle_proto::v1;
use serde::Serialize;

/// A piece, as `run watch --text` gives it to programs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Text {
    pub(crate) step: String,
    pub(crate) attempt: u32,
    /// `name@version`
    pub(crate) agent: String,
    /// Which answer of the model in this attempt, from 1.
    pub(crate) answer: u32,
    /// Bytes of the answer before this piece.
    pub(crate) offset: u64,
    pub(crate) text: String,
    /// Nothing more of this answer comes.
    pub(crate) last: bool,
}

impl From<v1::TextPiece> for Text {
    fn from(wire: v1::TextPiece) -> Self {
        let v1::TextPiece { step, attempt, agent, answer, offset, text, last } = wire;
        Self { step, attempt, agent, answer, offset, text, last }
    }
}
