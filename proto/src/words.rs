//! Words of a model, from the worker that hears them to whoever reads along, on `kapelle.words.…`.

use bytes::Bytes;
use kapelle_engine::TaskToken;
use kapelle_types::{TaskId, limits, printed};
use prost::Message;

use crate::error::{DecodeError, WIRE_VERSION, check_version};
use crate::task::decode_id;
use crate::{token, v1};

/// A piece of what a model writes in one attempt. The run and the agent are in the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The attempt.
    pub task: TaskId,
    /// What shows that the worker has its task, if the run needs that.
    pub token: Option<TaskToken>,
    /// Which answer of the model in this attempt, from 1.
    pub answer: u32,
    /// Bytes of the answer that were told before.
    pub offset: u64,
    /// What it says.
    pub text: String,
    /// Whether nothing more of this answer is told.
    pub last: bool,
}

impl Words {
    /// Writes the piece as one message.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let Self { task, token, answer, offset, text, last } = self;
        let message = v1::WordsMessage {
            version: WIRE_VERSION,
            step: printed(&task.step),
            attempt: task.attempt,
            token: token::encode(token),
            answer,
            offset,
            text,
            last,
        };
        message.encode_to_vec().into()
    }

    /// Reads a piece.
    ///
    /// # Errors
    /// It is garbage, is longer than a piece may be, or a newer release wrote it.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let v1::WordsMessage { version, step, attempt, token, answer, offset, text, last } =
            v1::WordsMessage::decode(payload.clone())?;
        check_version(version)?;
        if answer == 0 {
            return Err(DecodeError::Missing("answer"));
        }
        if text.len() > limits::WORDS_BYTES_MAX {
            return Err(DecodeError::invalid("text", "it is longer than a piece may be"));
        }
        Ok(Self { task: decode_id(&step, attempt)?, token: token::decode(&token)?, answer, offset, text, last })
    }
}
