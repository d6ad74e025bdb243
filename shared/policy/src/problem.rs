//! What is wrong with policies, as the person who wrote them gets to see it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use kapelle_types::Code;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

/// The text of a file, shared by all its problems.
#[derive(Debug, Clone)]
pub(crate) struct Source(Arc<NamedSource<String>>);

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        // A file may hold what steers a terminal: blanked, byte for byte, so that places stay right.
        let blank = |c: char| c.is_control() && c != '\n' && c != '\t' && c != '\r';
        let text = text.chars().flat_map(|c| if blank(c) { vec![' '; c.len_utf8()] } else { vec![c] }).collect();
        Self(Arc::new(NamedSource::new(file, text)))
    }

    pub(crate) fn file(&self) -> &str {
        self.0.name()
    }

    /// A problem with a part of this text.
    pub(crate) fn problem(&self, at: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        let before = self.0.inner().get(..at.start).unwrap_or_default();
        Problem {
            file: self.file().to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            message: message.into(),
            hint: hint.into(),
            place: (self.clone(), at),
        }
    }

    /// What Cedar says about this text.
    pub(crate) fn cedar(&self, said: &dyn Diagnostic) -> Problem {
        let label = said.labels().and_then(|mut labels| labels.next());
        let at = label.map_or(0..0, |label| label.offset()..label.offset() + label.len());
        // Its messages stand in a chain of causes, of which the last says what is wrong.
        let mut message = said.to_string();
        let mut cause = said.source();
        while let Some(deeper) = cause {
            message = format!("{message}: {deeper}");
            cause = deeper.source();
        }
        self.problem(at, message, said.help().map(|help| help.to_string()).unwrap_or_default())
    }
}

/// Something wrong with a policy.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    place: (Source, Range<usize>),
}

impl Problem {
    /// The problem with its lines in a frame, for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
        let mut text = String::new();
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            // Only a source that cannot be shown fails; the sentence can.
            Err(fmt::Error) => self.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(Code::POLICY_INVALID))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.hint.is_empty()).then(|| Box::new(&self.hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.place.0.0)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_primary_with_span(None, self.place.1.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Policies that cannot be used: everything that is wrong with them.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", told(.0))]
pub struct Invalid(pub Vec<Problem>);

fn told(problems: &[Problem]) -> String {
    let told = problems.iter().map(|p| format!("{}:{}:{}: {p}", p.file, p.line, p.column));
    told.collect::<Vec<_>>().join("\n")
}

impl From<Invalid> for kapelle_types::Diagnosis {
    fn from(invalid: Invalid) -> Self {
        Self::new(Code::POLICY_INVALID, invalid.to_string()).hint(
            "`kapelle policy validate -f DIR` shows every place; nothing is allowed by policies that are not valid",
        )
    }
}
