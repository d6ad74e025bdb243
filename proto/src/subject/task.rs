//! The subjects of tasks and of dead letters: by agent version first, so that each version has its own queue.

use std::fmt;
use std::str::FromStr;

use kapelle_types::{AgentVersion, RunId, StepRef, TaskId};

use super::Error;
use super::token::{Tokens, VersionToken};

/// What the subjects of queued tasks begin with.
const QUEUED: &str = "kapelle.task.";
/// What the subjects of tasks begin with that wait for their turn.
const WAITING: &str = "kapelle.waiting.";

/// Where one attempt is queued; the broker holds one message a subject, so an attempt cannot be queued twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskSubject {
    /// Whose queue it is.
    pub agent: AgentVersion,
    /// The run.
    pub run_id: RunId,
    /// The attempt.
    pub task: TaskId,
}

impl TaskSubject {
    /// Where the attempt waits for its turn before it is queued, if its agent version's tasks take turns.
    #[must_use]
    pub fn waiting(&self) -> String {
        format!("{WAITING}{}", Rest(self))
    }

    /// Reads where an attempt waits for its turn.
    ///
    /// # Errors
    /// The first part that is not of the form.
    pub fn from_waiting(subject: &str) -> Result<Self, Error> {
        Self::after(WAITING, subject, "kapelle.waiting.<agent>.<version>.<run id>.<step>.<attempt>")
    }

    fn after(prefix: &'static str, subject: &str, form: &'static str) -> Result<Self, Error> {
        let mut tokens = Tokens::after(prefix, subject, form)?;
        let agent = agent(&mut tokens)?;
        let run_id = tokens.run()?;
        let task = TaskId { step: tokens.name("step")?, attempt: tokens.number("attempt")? };
        tokens.end()?;
        Ok(Self { agent, run_id, task })
    }
}

/// What the subjects of an attempt have in common.
struct Rest<'t>(&'t TaskSubject);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskSubject { agent, run_id, task } = self.0;
        let version = VersionToken(&agent.version);
        write!(f, "{}.{version}.{run_id}.{}.{}", agent.name, task.step, task.attempt)
    }
}

impl fmt::Display for TaskSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{QUEUED}{}", Rest(self))
    }
}

impl FromStr for TaskSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        Self::after(QUEUED, subject, "kapelle.task.<agent>.<version>.<run id>.<step>.<attempt>")
    }
}

/// Where a step that gave up is kept; a step has at most one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeadSubject {
    /// Who should have done it.
    pub agent: AgentVersion,
    /// The run.
    pub run_id: RunId,
    /// The step or member.
    pub step: StepRef,
}

impl fmt::Display for DeadSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, run_id, step } = self;
        write!(f, "kapelle.dead.{}.{}.{run_id}.{step}", agent.name, VersionToken(&agent.version))
    }
}

impl FromStr for DeadSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after("kapelle.dead.", subject, "kapelle.dead.<agent>.<version>.<run id>.<step>")?;
        let agent = agent(&mut tokens)?;
        let (run_id, step) = (tokens.run()?, tokens.name("step")?);
        tokens.end()?;
        Ok(Self { agent, run_id, step })
    }
}

fn agent(tokens: &mut Tokens<'_>) -> Result<AgentVersion, Error> {
    Ok(AgentVersion { name: tokens.name("agent")?, version: tokens.version()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0192f3c4-5a6b-7c8d-9e0f-112233445566";

    fn part<T: FromStr<Err = Error>>(subject: &str) -> &'static str {
        subject.parse::<T>().err().unwrap().part
    }

    #[test]
    fn tasks_print_and_parse() {
        for rest in ["score.1", "review:17.3"] {
            let text = format!("kapelle.task.licence-review.2_0_0-rc_1.{RUN}.{rest}");
            let subject: TaskSubject = text.parse().unwrap();
            assert_eq!(subject.agent.to_string(), "licence-review@2.0.0-rc.1");
            assert_eq!(subject.to_string(), text);
            let waiting = text.replace(".task.", ".waiting.");
            assert_eq!(subject.waiting(), waiting);
            assert_eq!(TaskSubject::from_waiting(&waiting), Ok(subject));
            assert!(waiting.parse::<TaskSubject>().is_err() && TaskSubject::from_waiting(&text).is_err());
        }
    }

    #[test]
    fn dead_letters_print_and_parse() {
        let text = format!("kapelle.dead.sbom.1_4_0.{RUN}.review:0");
        assert_eq!(text.parse::<DeadSubject>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_wrong_with_a_task_subject_is_named() {
        assert_eq!(part::<TaskSubject>("kapelle.tasks.a"), "prefix");
        assert_eq!(part::<TaskSubject>("kapelle.task.A"), "agent");
        assert_eq!(part::<TaskSubject>("kapelle.task.a"), "version");
        assert_eq!(part::<TaskSubject>("kapelle.task.a.1_0"), "version");
        assert_eq!(part::<TaskSubject>("kapelle.task.a.1.0.0"), "version");
        assert_eq!(part::<TaskSubject>("kapelle.task.a.1_0_0.x"), "run id");
        assert_eq!(part::<TaskSubject>(&format!("kapelle.task.a.1_0_0.{RUN}.s:01.1")), "step");
        assert_eq!(part::<TaskSubject>(&format!("kapelle.task.a.1_0_0.{RUN}.s")), "attempt");
        assert_eq!(part::<TaskSubject>(&format!("kapelle.task.a.1_0_0.{RUN}.s.01")), "attempt");
        assert_eq!(part::<TaskSubject>(&format!("kapelle.task.a.1_0_0.{RUN}.s.1.x")), "end");
        assert_eq!(part::<DeadSubject>(&format!("kapelle.dead.a.1_0_0.{RUN}.s.1")), "end");
    }
}
