//! What is wrong with an expression, found while compiling or while evaluating.

use kapelle_types::Code;

/// An expression or template that cannot be compiled or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Where in the template the expression stands, as a JSON pointer; empty for a bare expression.
    pub pointer: String,
    /// The expression without its `${ }`, as it was written.
    pub source_text: String,
    /// The byte of `source_text` at which the error is, where that is known.
    pub offset: Option<usize>,
    /// What happened and, where there is one, the way out.
    pub message: String,
}

/// What went wrong with an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It is not an expression.
    Syntax,
    /// It refers to something that is not there: a name, a function.
    Reference,
    /// It is too long, too deep, or walks or builds too much.
    Bound,
    /// It failed on these values.
    Evaluation,
    /// A payload that it needs could not be fetched.
    Missing,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, source: &str, message: impl Into<String>) -> Self {
        Self { kind, pointer: String::new(), source_text: source.to_owned(), offset: None, message: message.into() }
    }

    pub(crate) fn at(mut self, offset: Option<usize>) -> Self {
        self.offset = offset;
        self
    }

    pub(crate) fn in_template(mut self, pointer: &str) -> Self {
        pointer.clone_into(&mut self.pointer);
        self
    }

    /// The stable code of this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.kind {
            ErrorKind::Syntax => Code::EXPRESSION_SYNTAX,
            ErrorKind::Reference => Code::EXPRESSION_REFERENCE,
            ErrorKind::Bound => Code::EXPRESSION_BOUND,
            ErrorKind::Evaluation => Code::EXPRESSION_FAILED,
            ErrorKind::Missing => Code::PAYLOAD_MISSING,
        }
    }
}
