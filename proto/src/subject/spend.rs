//! `kapelle.spend.<agent>.<version>.<day>`: what an agent version has spent on a day.

use kapelle_types::AgentVersion;

use super::token::VersionToken;

/// Every counter of every day.
#[must_use]
pub const fn spend_all() -> &'static str {
    "kapelle.spend.>"
}

/// The counter of an agent version for a day such as `20261122`.
#[must_use]
pub fn spend(agent: &AgentVersion, day: &str) -> String {
    format!("kapelle.spend.{}.{}.{day}", agent.name, VersionToken(&agent.version))
}
