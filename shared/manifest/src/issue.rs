//! Something wrong with a document, before it is known which line that is.

use kapelle_contract::Pointer;
use kapelle_expression as expression;
use kapelle_types::Code;

use crate::spans::Side;

/// Something wrong with one part of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Issue {
    pub(crate) code: Code,
    pub(crate) pointer: Pointer,
    pub(crate) side: Side,
    /// The piece of the part's text that it is about, and the byte in it if not all of it is meant.
    pub(crate) piece: Option<(String, Option<usize>)>,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) hint: String,
    /// It may go wrong, and stops nobody.
    pub(crate) warning: bool,
}

impl Issue {
    pub(crate) fn new(code: Code, pointer: &Pointer, message: impl Into<String>) -> Self {
        Self {
            code,
            pointer: pointer.clone(),
            side: Side::Value,
            piece: None,
            message: message.into(),
            label: "here".to_owned(),
            hint: String::new(),
            warning: false,
        }
    }

    /// A document that does not have the shape of its kind.
    pub(crate) fn shape(pointer: &Pointer, message: impl Into<String>) -> Self {
        Self::new(Code::MANIFEST_SYNTAX, pointer, message)
    }

    /// A value that breaks a rule.
    pub(crate) fn rule(pointer: &Pointer, message: impl Into<String>) -> Self {
        Self::new(Code::MANIFEST_RULE, pointer, message)
    }

    /// An expression in the template or string at `pointer`.
    pub(crate) fn expression(pointer: &Pointer, error: &expression::Error) -> Self {
        // The way out stands behind a semicolon; here it has a place of its own.
        let (message, hint) = error.message.split_once("; ").unwrap_or((&error.message, ""));
        let issue = Self::new(error.code(), &pointer.below(&error.pointer), message).hint(hint);
        let issue = if error.source_text.contains("${") { issue.on_key() } else { issue };
        Self { piece: Some((error.source_text.clone(), error.offset)), ..issue }.label(match error.kind {
            expression::ErrorKind::Syntax => "in this expression",
            expression::ErrorKind::Reference => "not there",
            expression::ErrorKind::Bound => "too much",
            expression::ErrorKind::Evaluation | expression::ErrorKind::Missing => "fails",
        })
    }

    pub(crate) fn warning(mut self) -> Self {
        self.warning = true;
        self
    }

    pub(crate) fn on_key(mut self) -> Self {
        self.side = Side::Key;
        self
    }

    pub(crate) fn piece(mut self, text: impl Into<String>) -> Self {
        self.piece = Some((text.into(), None));
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// "did you mean", or what there is to choose from.
pub(crate) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = expression::nearest(name, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    choice(known)
}

/// What there is to choose from.
pub(crate) fn choice<'a>(known: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 12;
    let mut names: Vec<String> = known.into_iter().map(|it| format!("`{it}`")).collect();
    names.sort();
    names.dedup();
    match names.as_slice() {
        [] => String::new(),
        [only] => format!("there is only {only}"),
        many if many.len() > SHOWN_MAX => {
            format!("there are {} … and {} more", many[..SHOWN_MAX].join(", "), many.len() - SHOWN_MAX)
        }
        [rest @ .., last] => format!("there are {} and {last}", rest.join(", ")),
    }
}
