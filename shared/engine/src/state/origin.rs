//! What a run's submission said.

use std::collections::BTreeMap;

use kapelle_types::{Fairness, Payload, Principal, Priority, RunId, Sha256, Timestamp};

use super::run::Run;
use crate::entry::Parent;
use crate::token::KeyId;

/// What the submission said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Origin {
    pub(crate) input: Payload,
    pub(crate) key: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Whose run it is.
    pub(crate) principal: Principal,
    pub(crate) forked_from: Option<RunId>,
    pub(crate) traceparent: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) behaviour: u32,
    /// Digest of the workflow version.
    pub(crate) definition: Sha256,
    /// The person who submitted it, as far as known.
    pub(crate) person: Option<String>,
    pub(crate) signing_key: Option<KeyId>,
    pub(crate) parent: Option<Parent>,
    pub(crate) continued_from: Option<RunId>,
    pub(crate) priority: Option<Priority>,
    pub(crate) fairness: Option<Fairness>,
}

impl Run {
    /// The idempotency key of its submission.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.origin.as_ref().and_then(|o| o.key.as_deref())
    }

    /// The priority that it was submitted with; that of the run above is none of its own.
    #[must_use]
    pub fn given_priority(&self) -> Option<Priority> {
        self.origin.as_ref().filter(|o| o.parent.is_none()).and_then(|o| o.priority)
    }

    /// The labels of its submission.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.origin.as_ref().map(|o| &o.labels)
    }

    /// The run that it is a fork of.
    #[must_use]
    pub fn forked_from(&self) -> Option<RunId> {
        self.origin.as_ref().and_then(|o| o.forked_from)
    }

    /// Whose run it is: who submitted it, or the run that it was started again from.
    #[must_use]
    pub fn submitted_by(&self) -> Option<&Principal> {
        self.origin.as_ref().map(|o| &o.principal)
    }

    /// The trace context of its submission.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.origin.as_ref().and_then(|o| o.traceparent.as_deref())
    }

    /// The behaviour that it was submitted under.
    #[must_use]
    pub fn behaviour(&self) -> Option<u32> {
        self.origin.as_ref().map(|o| o.behaviour)
    }

    /// Its input.
    #[must_use]
    pub fn input(&self) -> Option<&Payload> {
        self.origin.as_ref().map(|o| &o.input)
    }
}
