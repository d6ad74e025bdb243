//! `join`, and what bounds a list: which of its needs a step waits for, how many items a member works on, how many may fail.

use std::fmt;
use std::str::FromStr;

use kapelle_types::StepId;
use kapelle_types::limits::STEPS_MAX;
use serde::{Serialize, Serializer};

use crate::issue::Issue;
use crate::read::{Issues, Part};
use crate::step::read_needs;

/// A step that begins when some of its needs have succeeded; the others are taken back then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Join {
    /// The steps that are joined: what is written down under `needs`, if nothing is said.
    pub of: Vec<StepId>,
    /// How many of them have to succeed.
    pub quorum: u32,
}

impl Join {
    /// Reads it; `None` inside for `all`, which is what a step does that has none. `needs` are those that are written down.
    pub(crate) fn read(part: &Part<'_>, needs: &[StepId], issues: &mut Issues) -> Option<Option<Self>> {
        let join = if part.value.is_object() {
            let mut fields = part.fields(issues)?;
            let of = fields.optional("of").map_or_else(|| Some(needs.to_vec()), |it| read_needs(&it, issues));
            let steps_max = u32::try_from(STEPS_MAX).unwrap_or(u32::MAX);
            let quorum = fields.required("quorum", issues).and_then(|it| it.count(1, steps_max, issues));
            fields.close(&[], issues);
            Self { of: of?, quorum: quorum? }
        } else {
            match part.word(&[("any", true), ("all", false)], issues)? {
                true => Self { of: needs.to_vec(), quorum: 1 },
                false => return Some(None),
            }
        };
        let most = u32::try_from(join.of.len()).unwrap_or(u32::MAX);
        if join.quorum > most {
            let message = format!("{} of {most} steps cannot succeed", join.quorum);
            let hint =
                "name the steps that are joined under `needs`, and how many of them are enough: `join: { quorum: 2 }`";
            issues.push(Issue::rule(&part.pointer, message).label("never begins").hint(hint));
            return None;
        }
        Some(Some(join))
    }
}

/// How many members of a `foreach` may give up before the step does: `3`, or `10%`, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxFailures {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl MaxFailures {
    pub(crate) fn read(part: &Part<'_>, most: u32, issues: &mut Issues) -> Option<Self> {
        let Some(text) = part.value.as_str() else { return part.count(1, most, issues).map(Self::Count) };
        let read = text.parse().ok();
        if read.is_none() {
            part.expected::<Self>("a number of members, or a share such as `10%`", "write `3` or `10%`", issues);
        }
        read
    }
}

impl FromStr for MaxFailures {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percent = text.strip_suffix('%').unwrap_or("").parse()?;
        // Of more than a hundred it means as much as of a hundred.
        Ok(Self::Percent(u32::min(percent, 100)))
    }
}

impl fmt::Display for MaxFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for MaxFailures {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(s),
            Self::Percent(_) => s.collect_str(self),
        }
    }
}
