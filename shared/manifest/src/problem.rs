//! A problem with a manifest as a person gets to see it: the line, what is wrong, and the way out.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use kapelle_types::Code;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};

use crate::issue::Issue;
use crate::spans::Spans;

/// The text of a file, shared by all its problems.
#[derive(Debug, Clone)]
pub(crate) struct Source(Arc<NamedSource<String>>);

impl Source {
    /// Takes a file's name and text; characters that steer a terminal are blanked, byte for byte.
    pub(crate) fn new(file_name: &str, text: &str) -> Self {
        let harmless = |text: &str| -> String {
            let blank = |c: char| c.is_control() && c != '\n' && c != '\t' && c != '\r';
            text.chars().flat_map(|c| if blank(c) { vec![' '; c.len_utf8()] } else { vec![c] }).collect()
        };
        Self(Arc::new(NamedSource::new(harmless(file_name), harmless(text)).with_language("YAML")))
    }

    fn text(&self) -> &str {
        self.0.inner()
    }
}

/// Something wrong with a manifest.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    /// The file's name as it was given; empty for a manifest that does not come from a file.
    pub file: String,
    /// The line, from 1; 0 for a manifest that does not come from a text.
    pub line: usize,
    /// The column in characters, from 1; 0 for a manifest that does not come from a text.
    pub column: usize,
    /// The part that it is about, as a JSON pointer into its document.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Whether it may go wrong, instead of being wrong: nothing is refused for it.
    pub warning: bool,
    label: String,
    place: Option<(Source, Range<usize>)>,
}

impl Problem {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

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

    /// The problem that an issue is, in this text.
    pub(crate) fn locate(issue: Issue, source: Option<&Source>, spans: &Spans) -> Self {
        let place = source.and_then(|source| {
            let part = spans.find(&issue.pointer, issue.side)?;
            Some((source.clone(), narrow(source.text(), part, issue.piece.as_ref())))
        });
        Self::new(issue, source, place)
    }

    /// A problem with a text that could not be read.
    pub(crate) fn unreadable(issue: Issue, source: &Source, at: Option<Range<usize>>) -> Self {
        let place = at.map(|at| (source.clone(), narrow(source.text(), at, None)));
        Self::new(issue, Some(source), place)
    }

    fn new(issue: Issue, source: Option<&Source>, place: Option<(Source, Range<usize>)>) -> Self {
        let (line, column) = place.as_ref().map_or((0, 0), |(source, at)| line_and_column(source.text(), at.start));
        Self {
            code: issue.code,
            file: source.map_or(String::new(), |source| source.0.name().to_owned()),
            line,
            column,
            pointer: issue.pointer.to_string(),
            message: issue.message,
            hint: issue.hint,
            warning: issue.warning,
            label: issue.label,
            place,
        }
    }
}

/// The bytes to mark: the piece if it is found, one line of the part otherwise.
fn narrow(text: &str, part: Range<usize>, piece: Option<&(String, Option<usize>)>) -> Range<usize> {
    let inside = text.get(part.clone()).unwrap_or_default();
    let Some((start, end)) = piece.and_then(|(piece, offset)| mark(inside, piece, *offset)) else {
        return part.start..part.start + first_line(inside);
    };
    let (start, end) = (part.start + start, part.start + end);
    start..start + first_line(&text[start..end])
}

/// Where in a text a piece stands: all of it, or the word at its byte `offset`.
fn mark(text: &str, piece: &str, offset: Option<usize>) -> Option<(usize, usize)> {
    let places = find(text, piece)?;
    let place = |offset: usize| places.iter().find(|(at, _)| *at >= offset).map(|(_, place)| *place);
    let end = places.last().map(|(_, place)| place + text[*place..].chars().next().map_or(0, char::len_utf8))?;
    let Some(offset) = offset else { return Some((place(0)?, end)) };
    let Some(start) = place(offset) else { return Some((end, end)) };
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let rest = &text[start..end];
    let len = match rest.find(|c| !word(c)) {
        Some(0) => rest.chars().next().map_or(0, char::len_utf8),
        Some(len) => len,
        None => rest.len(),
    };
    Some((start, start + len))
}

/// Finds a piece in a text, whatever the white space: YAML folds the lines of what it reads. The result maps each
/// character of the piece that is no white space to its place in the text.
fn find(text: &str, piece: &str) -> Option<Vec<(usize, usize)>> {
    let visible =
        |text: &str| -> Vec<(usize, char)> { text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect() };
    let (text, piece) = (visible(text), visible(piece));
    if piece.is_empty() {
        return None;
    }
    let at = text.windows(piece.len()).position(|window| window.iter().zip(&piece).all(|((_, a), (_, b))| a == b))?;
    Some(piece.iter().zip(&text[at..]).map(|((offset, _), (place, _))| (*offset, *place)).collect())
}

fn first_line(text: &str) -> usize {
    text.lines().next().map_or(0, |line| line.trim_end().len())
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.hint.is_empty()).then(|| Box::new(&self.hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|(source, _)| &*source.0 as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, at) = self.place.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(Some(self.label.clone()), at.clone());
        Some(Box::new(std::iter::once(label)))
    }
}
