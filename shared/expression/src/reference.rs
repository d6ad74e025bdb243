//! What an expression refers to: a root of the scope and the longest path below it that is known before a run.

use std::fmt;

use kapelle_types::StepId;

/// Where a reference starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Root {
    /// `input`, the run's input.
    Input,
    /// `steps.<id>.output`, of a step that is not a `foreach`.
    Output(StepId),
    /// `steps.<id>.outputs`, of a `foreach`, in item order.
    Outputs(StepId),
    /// `steps.<id>.status`.
    Status(StepId),
    /// `item`, inside a `foreach`.
    Item,
    /// `index`, inside a `foreach`.
    Index,
    /// `output`: what a round of a step that is repeated has given.
    Given,
    /// `last`: what the round before gave.
    Last,
    /// `round`, from 0.
    Round,
    /// `run.id`.
    RunId,
    /// `run.started_at`.
    RunStartedAt,
    /// `run.error.code`, in what a run does last.
    RunErrorCode,
    /// `run.error.message`, in what a run does last.
    RunErrorMessage,
}

/// One step down a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A field of an object.
    Field(String),
    /// An item of a list, from 0.
    Index(usize),
}

/// What an expression refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where it starts.
    pub root: Root,
    /// The path below the root, as far as it is known without values: `input.a[x].b` gives `a`.
    pub path: Vec<Segment>,
}

impl Root {
    /// The step whose result this is, if it is one.
    #[must_use]
    pub const fn step(&self) -> Option<&StepId> {
        match self {
            Self::Output(step) | Self::Outputs(step) | Self::Status(step) => Some(step),
            Self::Input
            | Self::Item
            | Self::Index
            | Self::Given
            | Self::Last
            | Self::Round
            | Self::RunId
            | Self::RunStartedAt
            | Self::RunErrorCode
            | Self::RunErrorMessage => None,
        }
    }
}

impl Reference {
    /// The reference with only the first `len` segments of its path, as text: the part of it that an error is about.
    #[must_use]
    pub fn prefix(&self, len: usize) -> String {
        let len = len.min(self.path.len());
        self.path[..len].iter().fold(self.root.to_string(), |text, segment| text + &segment.to_string())
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Output(step) => write!(f, "steps.{step}.output"),
            Self::Outputs(step) => write!(f, "steps.{step}.outputs"),
            Self::Status(step) => write!(f, "steps.{step}.status"),
            Self::Item => f.write_str("item"),
            Self::Index => f.write_str("index"),
            Self::Given => f.write_str("output"),
            Self::Last => f.write_str("last"),
            Self::Round => f.write_str("round"),
            Self::RunId => f.write_str("run.id"),
            Self::RunStartedAt => f.write_str("run.started_at"),
            Self::RunErrorCode => f.write_str("run.error.code"),
            Self::RunErrorMessage => f.write_str("run.error.message"),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Field(name) if is_identifier(name) => write!(f, ".{name}"),
            Self::Field(name) => write!(f, "[{name:?}]"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix(self.path.len()))
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_it_is_written() {
        let path = vec![Segment::Field("a".into()), Segment::Index(3), Segment::Field("b-c".into())];
        let reference = Reference { root: Root::Outputs("review".parse().unwrap()), path };
        assert_eq!(reference.to_string(), r#"steps.review.outputs.a[3]["b-c"]"#);
        assert_eq!(reference.prefix(1), "steps.review.outputs.a");
    }
}
