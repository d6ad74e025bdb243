//! Taking subjects apart token by token, without allocating, and printing versions as tokens.

use std::fmt::{self, Write};
use std::str::FromStr;

use kapelle_engine::Channel;
use kapelle_types::{InvalidName, Partition, RunId, Version};

use super::Error;

/// A subject that is being read from left to right.
pub(super) struct Tokens<'a> {
    subject: &'a str,
    form: &'static str,
    rest: Option<&'a str>,
}

impl<'a> Tokens<'a> {
    /// Starts behind a prefix that ends with a dot.
    pub(super) fn after(prefix: &str, subject: &'a str, form: &'static str) -> Result<Self, Error> {
        let rest = subject.strip_prefix(prefix);
        let tokens = Self { subject, form, rest };
        if rest.is_some() { Ok(tokens) } else { Err(tokens.wrong("prefix")) }
    }

    /// The next token as text.
    pub(super) fn text(&mut self, part: &'static str) -> Result<&'a str, Error> {
        let rest = self.rest.ok_or_else(|| self.wrong(part))?;
        let (token, rest) = rest.split_once('.').map_or((rest, None), |(token, rest)| (token, Some(rest)));
        self.rest = rest;
        Ok(token)
    }

    /// The next token as a name.
    pub(super) fn name<T: FromStr<Err = InvalidName>>(&mut self, part: &'static str) -> Result<T, Error> {
        let token = self.text(part)?;
        token.parse().map_err(|e| self.invalid(part, e))
    }

    /// The next token as a number in its only spelling: digits, no leading zero.
    pub(super) fn number<T: FromStr>(&mut self, part: &'static str) -> Result<T, Error> {
        let token = self.text(part)?;
        let canonical = token.bytes().all(|b| b.is_ascii_digit()) && (token.len() == 1 || !token.starts_with('0'));
        let number = if canonical { token.parse().ok() } else { None };
        number.ok_or_else(|| self.wrong(part))
    }

    pub(super) fn partition(&mut self) -> Result<Partition, Error> {
        self.number("partition").map(Partition)
    }

    /// The next token as a run id in its only spelling: lower case.
    pub(super) fn run(&mut self) -> Result<RunId, Error> {
        let token = self.text("run id")?;
        if token.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(self.wrong("run id"));
        }
        token.parse().map_err(|e| self.invalid("run id", e))
    }

    pub(super) fn version(&mut self) -> Result<Version, Error> {
        let token = self.text("version")?;
        Version::from_token(token).map_err(|e| self.invalid("version", e))
    }

    pub(super) fn channel(&mut self) -> Result<Channel, Error> {
        match self.text("channel")? {
            "control" => Ok(Channel::Control),
            "report" => Ok(Channel::Report),
            _ => Err(self.wrong("channel")),
        }
    }

    /// Everything that is left, dots included.
    pub(super) fn remainder(&mut self, part: &'static str) -> Result<&'a str, Error> {
        self.rest.take().ok_or_else(|| self.wrong(part))
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Error> {
        if self.rest.is_none() { Ok(()) } else { Err(self.wrong("end")) }
    }

    #[cold]
    pub(super) fn wrong(&self, part: &'static str) -> Error {
        Error { subject: self.subject.chars().take(200).collect(), form: self.form, part, source: None }
    }

    #[cold]
    pub(super) fn invalid(&self, part: &'static str, source: InvalidName) -> Error {
        Error { source: Some(source), ..self.wrong(part) }
    }
}

/// The last token of a run's two subjects.
pub(super) const fn channel_token(channel: Channel) -> &'static str {
    match channel {
        Channel::Control => "control",
        Channel::Report => "report",
    }
}

/// Prints [`Version::token`] without allocating.
pub(super) struct VersionToken<'a>(pub(super) &'a Version);

impl fmt::Display for VersionToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Underscored(f), "{}", self.0)
    }
}

/// Writes on with underscores for dots.
struct Underscored<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Underscored<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (at, piece) in text.split('.').enumerate() {
            if at > 0 {
                self.0.write_char('_')?;
            }
            self.0.write_str(piece)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_token_is_the_one_that_versions_read_back() {
        for text in ["1.4.0", "2.0.0-rc.1", "1.0.0-a-b.2+build.7"] {
            let version: Version = text.parse().unwrap();
            assert_eq!(VersionToken(&version).to_string(), version.token());
        }
    }
}
