//! How a step, one member of a `foreach`, and one attempt of either are named.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{InvalidName, StepId};

/// The number of an attempt of a step, counted in the run log from 1.
pub type Attempt = u32;

/// A step of a run, or one member of a `foreach` step: `score`, `review:17`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepRef {
    /// The step in the workflow.
    pub step: StepId,
    /// The index of the member, from 0, if the step is a `foreach`.
    pub item: Option<u32>,
}

impl StepRef {
    /// A step that is not a `foreach`.
    #[must_use]
    pub const fn whole(step: StepId) -> Self {
        Self { step, item: None }
    }

    /// One member of a `foreach` step.
    #[must_use]
    pub const fn member(step: StepId, item: u32) -> Self {
        Self { step, item: Some(item) }
    }
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => write!(f, "{}", self.step),
            Some(item) => write!(f, "{}:{item}", self.step),
        }
    }
}

impl FromStr for StepRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let Some((step, item)) = text.split_once(':') else { return Ok(Self::whole(text.parse()?)) };
        let rule = "a member of a foreach is `<step>:<index>`, the index from 0 without leading zeros";
        let index: u32 = item.parse().map_err(|_| InvalidName::new("step", text, rule))?;
        if index.to_string() != item {
            return Err(InvalidName::new("step", text, rule));
        }
        Ok(Self::member(step.parse()?, index))
    }
}

/// One attempt of one step of a run: what is queued as a task and reported on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// The step or member.
    pub step: StepRef,
    /// The attempt, from 1.
    pub attempt: Attempt,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.step, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_print_and_parse() {
        for text in ["score", "review:0", "review:17"] {
            assert_eq!(text.parse::<StepRef>().unwrap().to_string(), text);
        }
        for bad in ["", "review:", "review:x", "review:-1", "review:01", "review:+1", "Review:1", "review:99999999999"]
        {
            assert!(bad.parse::<StepRef>().is_err(), "{bad}");
        }
    }
}
