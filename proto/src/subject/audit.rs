//! Where the audit trail is written.

use std::fmt;
use std::str::FromStr;

use kapelle_types::InvalidName;
use kapelle_types::limits::NAME_CHARS_MAX;

use super::Error;
use super::token::Tokens;

/// Where a record of the audit trail stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuditSubject {
    /// Which part of Kapelle says it.
    pub component: AuditWord,
    /// What was done or tried.
    pub verb: AuditWord,
}

/// A component or a verb: lower-case letters, digits and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuditWord(String);

impl fmt::Display for AuditSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kapelle.audit.{}.{}", self.component, self.verb)
    }
}

impl FromStr for AuditSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after("kapelle.audit.", subject, "kapelle.audit.<component>.<verb>")?;
        let (component, verb) = (tokens.name("component")?, tokens.name("verb")?);
        tokens.end()?;
        Ok(Self { component, verb })
    }
}

impl fmt::Display for AuditWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AuditWord {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let shaped = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if shaped && text.len() <= NAME_CHARS_MAX {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName {
            what: "word of the audit trail",
            value: text.chars().take(80).collect(),
            rule: "lower-case letters, digits and `-`, 63 characters at most: `denied`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_one_spelling_of_their_place() {
        for text in ["kapelle.audit.api.denied", "kapelle.audit.partition.bad-token"] {
            assert_eq!(text.parse::<AuditSubject>().unwrap().to_string(), text);
        }
        for bad in ["kapelle.audit.api", "kapelle.audit.api.A", "kapelle.audit.*.denied", "kapelle.audit.a.b.c"] {
            assert!(bad.parse::<AuditSubject>().is_err(), "{bad}");
        }
    }
}
