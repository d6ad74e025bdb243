//! `kapelle.words.<agent>.<version>.<run>`: what the models of a run's agents write, told and not kept.
//!
//! The agent stands first, so that the broker holds each worker to the words of its own agents.

use std::fmt;
use std::str::FromStr;

use kapelle_types::{AgentVersion, RunId};

use super::Error;
use super::token::{Tokens, VersionToken};

/// What the subjects of words begin with.
const PREFIX: &str = "kapelle.words.";

/// Where the words of an agent version in one run are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WordsSubject {
    /// Whose words.
    pub agent: AgentVersion,
    /// The run.
    pub run_id: RunId,
}

impl WordsSubject {
    /// The words of every agent in a run.
    #[must_use]
    pub fn of_run(run_id: RunId) -> String {
        format!("{PREFIX}*.*.{run_id}")
    }
}

impl fmt::Display for WordsSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, run_id } = self;
        write!(f, "{PREFIX}{}.{}.{run_id}", agent.name, VersionToken(&agent.version))
    }
}

impl FromStr for WordsSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after(PREFIX, subject, "kapelle.words.<agent>.<version>.<run id>")?;
        let agent = AgentVersion { name: tokens.name("agent")?, version: tokens.version()? };
        let run_id = tokens.run()?;
        tokens.end()?;
        Ok(Self { agent, run_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_print_and_parse() {
        let run = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
        let text = format!("kapelle.words.judge.2_0_0-rc_1.{run}");
        let subject: WordsSubject = text.parse().unwrap();
        assert_eq!((subject.agent.to_string().as_str(), subject.to_string()), ("judge@2.0.0-rc.1", text.clone()));
        assert_eq!(WordsSubject::of_run(subject.run_id), format!("kapelle.words.*.*.{run}"));
        let part = |subject: &str| subject.parse::<WordsSubject>().unwrap_err().part;
        assert_eq!(part("kapelle.word.judge"), "prefix");
        assert_eq!(part("kapelle.words.judge.1_0.x"), "version");
        assert_eq!(part("kapelle.words.judge.1_0_0.*"), "run id");
        assert_eq!(part(&format!("{text}.more")), "end");
    }
}
