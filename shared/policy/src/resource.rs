//! What is acted on, as far as policies look at it.

use kapelle_types::{Namespace, Principal};
use serde::Deserialize;

/// Something of a namespace. Its namespace is that of the coordinator or the NATS account which is spoken to, never what a
/// message says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Whose it is.
    pub namespace: Namespace,
    /// Who submitted it, where it is a run and that is known. A call is judged before its message is read, so without an
    /// owner; whoever has the run before them asks again with its owner.
    #[serde(default)]
    pub owner: Option<Principal>,
}

impl Resource {
    /// Something of a namespace that nobody in particular owns.
    #[must_use]
    pub const fn of(namespace: Namespace) -> Self {
        Self { namespace, owner: None }
    }

    /// The same with who submitted it.
    #[must_use]
    pub fn owned_by(self, owner: Principal) -> Self {
        Self { owner: Some(owner), ..self }
    }
}
