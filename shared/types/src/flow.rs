//! How an attempt stands among those that wait for the same agent version.

use std::fmt;

use crate::Rate;

/// A priority: 1 is served first, 5 last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The one that is served first.
    pub const FIRST: Self = Self(1);
    /// The one that is served last.
    pub const LAST: Self = Self(5);

    /// The priority of this number; `None` unless it is 1 to 5.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= Self::FIRST.0 && number <= Self::LAST.0 { Some(Self(number)) } else { None }
    }

    /// Its number, 1 to 5.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(3)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Whose share of an agent version an attempt takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fairness {
    /// Attempts with the same key share; the text itself, as the workflow's expression gives it.
    pub key: String,
    /// How large the share of the key is, beside the others'.
    pub weight: u32,
}

/// A limit that attempts with the same key have together, in the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyLimit {
    /// The key.
    pub key: String,
    /// How many may be queued or run at a time.
    pub concurrency: Option<u32>,
    /// How often one may start.
    pub rate: Option<Rate>,
}

/// How an attempt stands among those that wait for the same agent version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who is served first.
    pub priority: Priority,
    /// Whose share it takes; attempts without a key share as one.
    pub fairness: Option<Fairness>,
    /// What limits it beside the agent's own limits.
    pub limit: Option<KeyLimit>,
}

impl Flow {
    /// Whether it says nothing: attempts of which none says anything are served in order of their coming.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}
