//! The subjects of one run: its log, its timers.

use std::fmt;
use std::str::FromStr;

use kapelle_engine::{Channel, TimerId};
use kapelle_types::{Partition, RunId};

use super::Error;
use super::token::{Tokens, channel_token};

/// One of the two subjects of a run's log: `kapelle.run.3.0192f3c4-5a6b-7c8d-9e0f-112233445566.control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunSubject {
    /// The run's partition.
    pub partition: Partition,
    /// The run.
    pub run_id: RunId,
    /// Who writes there.
    pub channel: Channel,
}

impl fmt::Display for RunSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kapelle.run.{}.{}.{}", self.partition, self.run_id, channel_token(self.channel))
    }
}

impl FromStr for RunSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after("kapelle.run.", subject, "kapelle.run.<partition>.<run id>.control|report")?;
        let run = Self { partition: tokens.partition()?, run_id: tokens.run()?, channel: tokens.channel()? };
        tokens.end()?;
        Ok(run)
    }
}

/// Where a durable timer of a run is scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TimerSubject {
    /// The run's partition.
    pub partition: Partition,
    /// The run.
    pub run_id: RunId,
    /// The timer inside the run.
    pub timer: TimerId,
}

impl TimerSubject {
    /// Where it goes off: the broker takes what comes there into the run's log.
    #[must_use]
    pub fn fired(&self) -> String {
        format!("kapelle.fired.{}.{}", self.partition, self.run_id)
    }
}

impl fmt::Display for TimerSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kapelle.timer.{}.{}.{}", self.partition, self.run_id, self.timer)
    }
}

impl FromStr for TimerSubject {
    type Err = Error;

    fn from_str(subject: &str) -> Result<Self, Error> {
        let mut tokens = Tokens::after("kapelle.timer.", subject, "kapelle.timer.<partition>.<run id>.<timer>")?;
        let (partition, run_id) = (tokens.partition()?, tokens.run()?);
        let token = tokens.text("timer")?;
        let timer: TimerId = token.parse().map_err(|e| tokens.invalid("timer", e))?;
        if timer.to_string() != token {
            return Err(tokens.wrong("timer"));
        }
        tokens.end()?;
        Ok(Self { partition, run_id, timer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0192f3c4-5a6b-7c8d-9e0f-112233445566";

    fn part<T: FromStr<Err = Error>>(subject: &str) -> &'static str {
        subject.parse::<T>().err().unwrap().part
    }

    #[test]
    fn runs_print_and_parse() {
        for text in [format!("kapelle.run.0.{RUN}.control"), format!("kapelle.run.65535.{RUN}.report")] {
            assert_eq!(text.parse::<RunSubject>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_run_subject_is_named() {
        assert_eq!(part::<RunSubject>(""), "prefix");
        assert_eq!(part::<RunSubject>("kapelle.run"), "prefix");
        assert_eq!(part::<RunSubject>("kapelle.run."), "partition");
        for partition in ["65536", "-1", "+1", "00", "01", "x", "*"] {
            assert_eq!(part::<RunSubject>(&format!("kapelle.run.{partition}.{RUN}.control")), "partition");
        }
        assert_eq!(part::<RunSubject>("kapelle.run.1"), "run id");
        assert_eq!(part::<RunSubject>("kapelle.run.1.x.control"), "run id");
        assert_eq!(part::<RunSubject>(&format!("kapelle.run.1.{}.control", RUN.to_uppercase())), "run id");
        assert_eq!(part::<RunSubject>(&format!("kapelle.run.1.{RUN}")), "channel");
        assert_eq!(part::<RunSubject>(&format!("kapelle.run.1.{RUN}.other")), "channel");
        assert_eq!(part::<RunSubject>(&format!("kapelle.run.1.{RUN}.control.")), "end");
    }

    #[test]
    fn the_error_names_subject_form_and_rule() {
        let error = "kapelle.run.1.x.control".parse::<RunSubject>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`kapelle.run.1.x.control` is not of the form `kapelle.run.<partition>.<run id>.control|report`: \
             look at its run id"
        );
        assert!(error.source.unwrap().rule.contains("UUID"));
    }

    #[test]
    fn timers_print_and_parse() {
        for timer in ["deadline", "retry=score=2", "retry=review:17=3"] {
            let text = format!("kapelle.timer.3.{RUN}.{timer}");
            assert_eq!(text.parse::<TimerSubject>().unwrap().to_string(), text);
        }
        for timer in ["", "x", "retry=score", "retry=score=02", "retry=score=+2", "retry=Score=2"] {
            assert_eq!(part::<TimerSubject>(&format!("kapelle.timer.3.{RUN}.{timer}")), "timer");
        }
        assert_eq!(part::<TimerSubject>(&format!("kapelle.timer.3.{RUN}.deadline.x")), "end");
    }
}
