//! From the text of a file to manifests that know where in it they stand.

use kapelle_contract::Pointer;
use serde_json::Value;

use crate::issue::Issue;
use crate::manifest::Manifest;
use crate::problem::{Problem, Source};
use crate::schedule;
use crate::spans::Spans;
use crate::yaml::{self, Document};

/// Problems of one file that are reported; nobody reads more before the first are mended.
pub(crate) const PROBLEMS_MAX: usize = 100;

/// A manifest with the places of its parts.
#[derive(Debug, Clone)]
pub struct Sourced {
    /// The manifest.
    pub manifest: Manifest,
    source: Option<Source>,
    spans: Spans,
}

impl Sourced {
    /// The problem that an issue with this manifest is.
    pub(crate) fn problem(&self, issue: Issue) -> Problem {
        Problem::locate(issue, self.source.as_ref(), &self.spans)
    }
}

/// A manifest that does not come from a text, for example from the registry: its problems have no lines.
impl From<Manifest> for Sourced {
    fn from(manifest: Manifest) -> Self {
        Self { manifest, source: None, spans: Spans::default() }
    }
}

/// Reads all manifests of a file. Documents that hold nothing are left out, and schedules: they have no versions, and
/// [`crate::schedules`] reads them.
///
/// # Errors
/// Everything in it that is not YAML, or not the shape of its kind.
pub fn parse(file_name: &str, text: &str) -> Result<Vec<Sourced>, Vec<Problem>> {
    let source = Source::new(file_name, text);
    let documents = read(&source, text)?;
    let mut manifests = Vec::with_capacity(documents.len());
    let mut problems = Vec::new();
    for document in documents.into_iter().filter(|it| !schedule::is_one(&it.value)) {
        match Manifest::read(&document.value) {
            Ok(manifest) => {
                manifests.push(Sourced { manifest, source: Some(source.clone()), spans: document.spans });
            }
            Err(mut issues) => {
                issues.truncate(PROBLEMS_MAX.saturating_sub(problems.len()));
                problems.extend(issues.into_iter().map(|it| Problem::locate(it, Some(&source), &document.spans)));
            }
        }
    }
    if problems.is_empty() {
        return Ok(manifests);
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Err(problems)
}

/// The documents of a file as values, whatever they say: manifests may be unfinished. Those that hold nothing are left out.
///
/// # Errors
/// It is not YAML, or too much of it.
pub fn documents(file_name: &str, text: &str) -> Result<Vec<Value>, Vec<Problem>> {
    let documents = read(&Source::new(file_name, text), text)?;
    Ok(documents.into_iter().map(|it| it.value).collect())
}

/// A document that says where in its file an issue is.
pub(crate) struct Placed {
    pub value: Value,
    spans: Spans,
    source: Source,
}

impl Placed {
    pub(crate) fn problem(&self, issue: Issue) -> Problem {
        Problem::locate(issue, Some(&self.source), &self.spans)
    }
}

/// The documents of a file.
pub(crate) fn documents_with_places(file_name: &str, text: &str) -> Result<Vec<Placed>, Vec<Problem>> {
    let source = Source::new(file_name, text);
    let documents = read(&source, text)?;
    Ok(documents.into_iter().map(|it| Placed { value: it.value, spans: it.spans, source: source.clone() }).collect())
}

fn read(source: &Source, text: &str) -> Result<Vec<Document>, Vec<Problem>> {
    yaml::read(text).map_err(|unreadable| {
        let issue = Issue::new(unreadable.code, &Pointer::root(), unreadable.message);
        vec![Problem::unreadable(issue.label(unreadable.label).hint(unreadable.hint), source, unreadable.at)]
    })
}
