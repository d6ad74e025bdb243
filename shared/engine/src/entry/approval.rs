//! What people say about what a step would do, and what was made of that before its use.

use kapelle_types::{Payload, Sha256, StepRef};

/// What a person said about what a step would do.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalDecided {
    /// The step or member.
    pub step: StepRef,
    /// What was shown to them.
    pub digest: Sha256,
    /// What they said.
    pub verdict: Verdict,
    /// In their words.
    pub comment: String,
    /// Who they are.
    pub by: Decider,
}

/// Yes or no.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may be done as it is.
    Approve,
    /// It may not be done.
    Reject,
    /// It may be done with these arguments in the place of its own.
    Edit(Payload),
    /// An administrator lets it be done, whoever else would have to agree.
    Override,
    /// They take back that they agreed, while more persons have to.
    Undo,
}

impl Verdict {
    /// Its name, as outputs and people have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Edit(_) => "edit",
            Self::Override => "override",
            Self::Undo => "undo",
        }
    }

    /// The same, with nothing of what was edited.
    pub(crate) fn without_arguments(&self) -> Self {
        match self {
            Self::Edit(_) => Self::Edit(Payload::null()),
            other => other.clone(),
        }
    }
}

/// A person who decides, as they were when they did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decider {
    /// The person, the same whichever login they used.
    pub person: String,
    /// The groups that they were in.
    pub groups: Vec<String>,
    /// The digest of the policies that let them.
    pub policies: String,
    /// The person in whose place they decide, and whose groups these are; empty if they decide as themselves.
    pub in_place_of: String,
}

/// Whether those who agreed still may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalChecked {
    /// The step or member.
    pub step: StepRef,
    /// What was agreed to.
    pub digest: Sha256,
    /// The sequence of the entry with which enough had agreed.
    pub agreed: u64,
    /// Why it counts for nothing, if it does not count.
    pub void: Option<String>,
    /// The digest of the policies that were asked.
    pub policies: String,
}
