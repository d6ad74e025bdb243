//! Registered manifests.

use kapelle_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::payload;
use crate::output::moment;

/// One registered version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Manifest {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) owner: String,
    /// Of an agent whose owner says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) risk: Option<String>,
    /// Of an agent version that is on its way out, or gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) standing: Option<Standing>,
    /// Why it was registered although it broke workflows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) force_reason: String,
    pub(crate) digest: String,
    pub(crate) origin: String,
    /// Only where one manifest was asked for.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) manifest: Value,
}

/// How far an agent version is on its way out, and who wanted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// `DRAINING` or `RETIRED`.
    pub(crate) status: String,
    pub(crate) by: String,
    pub(crate) at: Option<String>,
    pub(crate) why: String,
}

impl Standing {
    /// Who, when and why, as the end of a sentence.
    pub(crate) fn told(&self) -> String {
        let at = self.at.as_deref().unwrap_or("-");
        let why = if self.why.is_empty() { String::new() } else { format!(": {}", self.why) };
        format!("by {} at {at}{why}", self.by)
    }
}

impl From<v1::StandingView> for Standing {
    fn from(wire: v1::StandingView) -> Self {
        let v1::StandingView { status, by, at_unix_nanos, why } = wire;
        Self { status, by, at: moment(at_unix_nanos), why }
    }
}

impl From<v1::ManifestView> for Manifest {
    fn from(wire: v1::ManifestView) -> Self {
        let manifest = payload(&wire.json);
        let v1::ManifestView { kind, name, version, owner, digest, origin, risk, standing, force_reason, .. } = wire;
        let risk = Some(risk).filter(|it| !it.is_empty());
        let standing = standing.map(Standing::from);
        Self { kind, name, version, owner, risk, standing, force_reason, digest, origin, manifest }
    }
}
