//! Why a command ends otherwise than well: what is said on stderr, and the exit code.
//!
//! ```text
//!   Diagnosis, gRPC status, broker and bus errors ──▶ Failure ──▶ stderr (text, or one JSON object) + exit code
//! ```

use std::fmt::Write as _;
use std::io;

use anstyle::{AnsiColor, Style};
use kapelle_types::{Code, Diagnosis};
use serde_json::{Value, json};

use crate::exit::Exit;

/// The end of a command that did not go well.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    problem: Option<Box<Problem>>,
}

/// What is said about it.
#[derive(Debug, Default, PartialEq)]
struct Problem {
    /// The stable code; a newer coordinator may send one that this release does not know.
    code: Option<String>,
    message: String,
    hint: String,
    /// Shown before the message where there is more to see, such as a manifest with the place marked.
    picture: String,
    /// The same for machines.
    details: Vec<Value>,
}

impl Failure {
    /// Everything was said already, on stdout.
    pub(crate) const fn quiet(exit: Exit) -> Self {
        Self { exit, problem: None }
    }

    /// A coded error.
    pub(crate) fn coded(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Diagnosis::new(code, message).hint(hint).into()
    }

    /// An error without a code of ours.
    pub(crate) fn plain(exit: Exit, message: impl Into<String>) -> Self {
        Self::told(exit, Problem { message: message.into(), ..Problem::default() })
    }

    /// A command line that says too little or too much, found after parsing.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::told(Exit::Usage, Problem { message: message.into(), hint: hint.into(), ..Problem::default() })
    }

    /// An error whose code may be one that this release does not know.
    pub(crate) fn remote(exit: Exit, code: &str, message: &str, hint: &str) -> Self {
        let code = (!code.is_empty()).then(|| code.to_owned());
        let exit = code
            .as_deref()
            .and_then(Code::parse)
            .map_or(exit, |known| if exit == Exit::Denied { exit } else { Exit::of(known) });
        Self::told(exit, Problem { code, message: message.into(), hint: hint.into(), ..Problem::default() })
    }

    /// The same with a picture for people and details for machines.
    #[must_use]
    pub(crate) fn pictured(mut self, picture: String, details: Vec<Value>) -> Self {
        if let Some(problem) = &mut self.problem {
            problem.picture = picture;
            problem.details = details;
        }
        self
    }

    /// The same with another hint, where this command knows better what mends it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(problem) = &mut self.problem {
            problem.hint = hint.into();
        }
        self
    }

    /// The same with another exit code, where what was asked decides what the error means.
    #[must_use]
    pub(crate) fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    fn told(exit: Exit, problem: Problem) -> Self {
        Self { exit, problem: Some(Box::new(problem)) }
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// The stable code, if there is one.
    pub(crate) fn code(&self) -> Option<Code> {
        Code::parse(self.problem.as_ref()?.code.as_deref()?)
    }

    /// What happened, in one line, for places that are not an error's usual one.
    pub(crate) fn message(&self) -> &str {
        self.problem.as_ref().map_or("", |p| &p.message)
    }

    /// What to do next.
    pub(crate) fn advice(&self) -> &str {
        self.problem.as_ref().map_or("", |p| &p.hint)
    }

    /// For people; empty if everything was said. Colours are in it and are stripped where they are not wanted.
    pub(crate) fn text(&self) -> String {
        let Some(problem) = &self.problem else { return String::new() };
        let (red, blue) = (AnsiColor::Red.on_default().bold(), AnsiColor::Cyan.on_default());
        let mut text = String::new();
        if !problem.picture.is_empty() {
            text.push_str(problem.picture.trim_end());
            text.push_str("\n\n");
        }
        let code = problem.code.as_ref().map(|c| format!("[{c}]")).unwrap_or_default();
        let _ = writeln!(text, "{}: {}", painted(red, &format!("error{code}")), problem.message); // a String takes it
        if !problem.hint.is_empty() {
            let _ = writeln!(text, "  {} {}", painted(blue, "help:"), problem.hint);
        }
        text
    }

    /// For machines: one JSON object; `None` if everything was said.
    pub(crate) fn json(&self) -> Option<Value> {
        let problem = self.problem.as_ref()?;
        let mut error = json!({ "code": problem.code, "message": problem.message, "hint": problem.hint });
        if !problem.details.is_empty() {
            error["problems"] = Value::Array(problem.details.clone());
        }
        Some(json!({ "error": error }))
    }
}

fn painted(style: Style, text: &str) -> String {
    format!("{}{text}{}", style.render(), style.render_reset())
}

impl From<Diagnosis> for Failure {
    fn from(diagnosis: Diagnosis) -> Self {
        let problem = Problem {
            code: Some(diagnosis.code.as_str().to_owned()),
            message: diagnosis.message,
            hint: diagnosis.hint,
            ..Problem::default()
        };
        Self::told(Exit::of(diagnosis.code), problem)
    }
}

impl From<kapelle_broker::Error> for Failure {
    fn from(error: kapelle_broker::Error) -> Self {
        Diagnosis::from(&error).into()
    }
}

impl From<kapelle_accounts::Error> for Failure {
    fn from(error: kapelle_accounts::Error) -> Self {
        match error {
            kapelle_accounts::Error::Broker(error) => error.into(),
            error => Diagnosis::from(&error).into(),
        }
    }
}

impl From<kapelle_bus::Error> for Failure {
    fn from(error: kapelle_bus::Error) -> Self {
        let (code, hint) = match &error {
            kapelle_bus::Error::Unavailable(_) => (
                Code::BROKER_UNAVAILABLE,
                "Check `--nats-url` and that nats-server runs there; `kapelle doctor` says more.",
            ),
            kapelle_bus::Error::Unauthorized(_) => {
                (Code::BROKER_CREDENTIALS, "Issue new ones with `kapelle credentials issue` and put the file in place.")
            }
            kapelle_bus::Error::Refused { .. }
            | kapelle_bus::Error::Unreadable(_)
            | kapelle_bus::Error::NotFound(_) => {
                (Code::PROVISIONING, "`kapelle doctor` compares what is there with what is declared.")
            }
        };
        Self::coded(code, error.to_string(), hint)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever reads our output has gone (`| head`): there is nobody left to tell.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::quiet(Exit::Ok);
        }
        Self::plain(Exit::Failed, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(failure: &Failure) -> String {
        anstream::adapter::strip_str(&failure.text()).to_string()
    }

    #[test]
    fn people_get_code_message_and_help() {
        let failure = Failure::coded(Code::UNKNOWN_RUN, "There is no run `x`.", "List them with `kapelle run list`.");
        assert_eq!(failure.exit(), Exit::NotFound);
        assert_eq!(plain(&failure), "error[K0205]: There is no run `x`.\n  help: List them with `kapelle run list`.\n");
        let drawn = Failure::usage("no filter", "").pictured("  here\n".into(), vec![json!({ "line": 1 })]);
        assert_eq!(plain(&drawn), "  here\n\nerror: no filter\n");
    }

    #[test]
    fn machines_get_one_object() {
        let failure = Failure::coded(Code::INPUT_INVALID, "no", "mend it");
        assert_eq!(failure.json(), Some(json!({ "error": { "code": "K0202", "message": "no", "hint": "mend it" } })));
        let many = Failure::plain(Exit::Failed, "two").pictured(String::new(), vec![json!({ "line": 3 })]);
        assert_eq!(many.json().unwrap()["error"]["problems"][0]["line"], 3);
        assert_eq!(Failure::quiet(Exit::Failed).json(), None);
    }

    #[test]
    fn a_code_decides_the_exit_and_a_denial_stays_one() {
        assert_eq!(Failure::remote(Exit::Failed, "K0205", "m", "").exit(), Exit::NotFound);
        assert_eq!(Failure::remote(Exit::Unavailable, "K9999", "m", "").exit(), Exit::Unavailable);
        assert_eq!(Failure::remote(Exit::Denied, "K0205", "m", "").exit(), Exit::Denied);
        assert_eq!(Failure::remote(Exit::Failed, "", "m", "").code(), None);
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.exit(), gone.text()), (Exit::Ok, String::new()));
    }
}
