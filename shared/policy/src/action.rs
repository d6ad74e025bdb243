//! What is done, as policies name it.

use std::fmt;

/// An action: a method of the API as its descriptor names it, a class of NATS subjects, or the sight of payloads. Any text
/// can be asked about; what the schema does not know is denied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Action(String);

impl Action {
    /// The action of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The call of a method, by the path of its request: `/kapelle.v1.RunService/Submit`.
    #[must_use]
    pub fn rpc(path: &str) -> Self {
        Self::named(path.strip_prefix('/').unwrap_or(path))
    }

    /// Seeing payloads where they would be shown: inputs, outputs, and what agents said.
    #[must_use]
    pub fn see_payloads() -> Self {
        Self::named("see_payloads")
    }

    /// The action's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
