//! What became of a question.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Decided by no policy: nothing permits it.
pub const DEFAULT_DENY: &str = "default_deny";
/// Decided by no policy: the schema has no such action.
pub const UNKNOWN_ACTION: &str = "unknown_action";
/// Decided by no policy: the question could not be put, or a policy could not be evaluated.
pub const UNDECIDABLE: &str = "undecidable";

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// The policy that decided; the first by name if several say the same. [`DEFAULT_DENY`], [`UNKNOWN_ACTION`] or
    /// [`UNDECIDABLE`] if none did.
    pub policy: String,
    /// The sentence for whoever asks why.
    pub why: String,
    /// The LOG_ONLY policies that would have turned the verdict, by name.
    pub log_only: Vec<String>,
    /// What went wrong while policies were evaluated. Wrong in an enforced one means denied.
    pub errors: Vec<String>,
}

impl Decision {
    /// Whether it may be done.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    pub(crate) fn deny(policy: &str, why: impl Into<String>) -> Self {
        let (policy, why) = (policy.to_owned(), why.into());
        Self { verdict: Verdict::Deny, policy, why, log_only: Vec::new(), errors: Vec::new() }
    }
}
