//! What commands print on stdout: a table for people, or JSON or YAML for programs.
//!
//! Colours are written always and stripped at the edge where stdout is no terminal or `NO_COLOR` is set.

mod ask;
mod table;
mod time;

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) use ask::confirmed;
pub(crate) use table::{Table, bold, dim, status};
pub(crate) use time::{age, moment, span};

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON value.
    Json,
    /// One YAML document.
    Yaml,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Results in this format on stdout.
    pub(crate) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// The format that was asked for.
    pub(crate) const fn format(self) -> Format {
        self.format
    }

    /// Prints a value, or what `people` makes of it.
    pub(crate) fn show<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&people(value)),
            Format::Json => self.text(&json(value)?),
            Format::Yaml => self.text(&yaml(value)?),
        }
    }

    /// Prints one of many values as they come: a line of JSON, a YAML document, or what `people` makes of it.
    pub(crate) fn stream<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&people(value)),
            Format::Json => self.text(&serde_json::to_string(value).map_err(unprintable)?),
            Format::Yaml => self.text(&format!("---\n{}", yaml(value)?)),
        }
    }

    /// Prints a piece of what comes as it is written: for programs as [`Output::stream`] does, for people without a line's end.
    pub(crate) fn flow<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.format != Format::Table {
            return self.stream(value, |_| String::new());
        }
        let mut stdout = anstream::stdout().lock();
        write!(stdout, "{}", people(value))?;
        stdout.flush()?;
        Ok(())
    }

    /// Prints what people are told behind the values that came, and programs are not.
    pub(crate) fn ending(self, people: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.format == Format::Table { self.text(&people()) } else { Ok(()) }
    }

    /// Says on stderr what deserves a look, beside a result that is there. If it cannot be written, there is nobody to tell.
    pub(crate) fn warn(self, warnings: &[String]) {
        let text = match self.format {
            _ if warnings.is_empty() => return,
            Format::Json => format!("{}\n", serde_json::json!({ "warnings": warnings })),
            Format::Table | Format::Yaml => warnings.iter().map(|it| format!("warning: {it}\n")).collect(),
        };
        let _ = anstream::stderr().write_all(text.as_bytes());
    }

    /// Prints text with a line end, if it is not empty.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let text = text.trim_end();
        if !text.is_empty() {
            let mut stdout = anstream::stdout().lock();
            writeln!(stdout, "{text}")?;
            stdout.flush()?;
        }
        Ok(())
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(unprintable)
}

/// YAML text of a value.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(unprintable)
}

fn unprintable(error: impl std::fmt::Display) -> Failure {
    Failure::plain(Exit::Failed, format!("the result cannot be printed: {error}"))
}
