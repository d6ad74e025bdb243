//! Subjects at the edge: jobs that come in without gRPC, events that go out.

use std::fmt;
use std::str::FromStr;

use kapelle_types::{InvalidName, WorkflowName};

use super::Error;
use super::token::Tokens;

/// Where a system without gRPC publishes jobs for a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubmitSubject {
    /// The workflow.
    pub workflow: WorkflowName,
}

impl fmt::Display for SubmitSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kapelle.submit.{}", self.workflow)
    }
}

impl FromStr for SubmitSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after("kapelle.submit.", subject, "kapelle.submit.<workflow>")?;
        let workflow = tokens.name("workflow")?;
        tokens.end()?;
        Ok(Self { workflow })
    }
}

/// Where an event is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventSubject {
    /// What kind of event it is.
    pub kind: EventType,
}

impl fmt::Display for EventSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kapelle.event.{}", self.kind.0)
    }
}

impl FromStr for EventSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after("kapelle.event.", subject, "kapelle.event.<type>")?;
        let kind = tokens.remainder("type")?.parse().map_err(|e| tokens.invalid("type", e))?;
        Ok(Self { kind })
    }
}

/// Characters of a type of events: those of a name in reverse domain order, with room for what is put before it.
const EVENT_TYPE_CHARS_MAX: usize = 128;

/// The type of an event: lower-case words, joined by dots: `run.finished`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventType(String);

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EventType {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        };
        if text.len() <= EVENT_TYPE_CHARS_MAX && text.split('.').all(word) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName {
            what: "event type",
            value: text.chars().take(80).collect(),
            rule: "lower-case words joined by dots, 128 characters at most: `run.finished`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_events_print_and_parse() {
        let submit = "kapelle.submit.software-intake";
        assert_eq!(submit.parse::<SubmitSubject>().unwrap().to_string(), submit);
        for text in ["kapelle.event.run.finished", "kapelle.event.submit.refused", "kapelle.event.a"] {
            assert_eq!(text.parse::<EventSubject>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn others_are_refused() {
        for bad in ["kapelle.submit.", "kapelle.submit.A", "kapelle.submit.a.b", "kapelle.submit.>", "x"] {
            assert!(bad.parse::<SubmitSubject>().is_err(), "{bad}");
        }
        for bad in ["kapelle.event.", "kapelle.event.a.", "kapelle.event..a", "kapelle.event.*", "kapelle.event"] {
            assert!(bad.parse::<EventSubject>().is_err(), "{bad}");
        }
    }
}
