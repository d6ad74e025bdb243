//! Structured logs on stderr, so that stdout stays free for what a command was asked for.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged where nobody says otherwise: our own news, and only trouble from the libraries.
pub const DEFAULT_FILTER: &str = "warn,kapelle=info";

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: time, level, text, fields; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// For machines: one JSON object a line, the fields at its top level.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is neither `text` nor `json`")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("`{filter}` is not a log filter such as `{DEFAULT_FILTER}` or `kapelle_worker=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something in this process logs already.
    #[error("logging is set up already")]
    Installed,
}

/// Sends this process's logs to stderr.
///
/// # Errors
/// If the filter cannot be read, or logging is set up already.
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    let logs = tracing_subscriber::fmt().with_env_filter(parse(filter)?).with_writer(io::stderr);
    let shown = filter_fn(is_shown);
    let installed = match format {
        Format::Json => {
            let logs = logs.json().flatten_event(true).with_current_span(true).with_span_list(false);
            logs.finish().with(shown).try_init()
        }
        // Off a terminal no colours; on one the subscriber's own rule, which heeds `NO_COLOR`.
        Format::Text if !io::stderr().is_terminal() => logs.with_ansi(false).finish().with(shown).try_init(),
        Format::Text => logs.finish().with(shown).try_init(),
    };
    installed.map_err(|_| Error::Installed)
}

/// Whatever the filter says, the broker's client does not trace: it would print each message whole, payload and password.
fn is_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != Level::TRACE || !metadata.target().starts_with("async_nats")
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder().parse(filter).map_err(|source| Error::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_refused() {
        for good in [DEFAULT_FILTER, "debug", "info,async_nats=error", ""] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let refused = parse("kapelle=loud").unwrap_err();
        assert!(refused.to_string().starts_with("`kapelle=loud` is not a log filter"), "{refused}");
    }

    #[test]
    fn the_second_set_up_is_refused() {
        assert!(init(Format::Json, DEFAULT_FILTER).is_ok());
        assert!(matches!(init(Format::Text, DEFAULT_FILTER), Err(Error::Installed)));
    }

    #[test]
    fn formats_print_and_parse() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().is_err());
    }
}
