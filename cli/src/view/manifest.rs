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
    /// Of an agent version that is to be used no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deprecation: Option<Deprecation>,
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
    /// `DRAINING`, `RETIRED`, `SUSPENDED` or `QUARANTINED`.
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

/// Until when an agent version is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Deprecation {
    /// From when on no new run gets it.
    pub(crate) sunset: String,
    /// The version that takes its place.
    pub(crate) successor: Option<String>,
    pub(crate) by: String,
    pub(crate) at: Option<String>,
    pub(crate) why: String,
    /// Its time is over.
    pub(crate) over: bool,
}

impl Deprecation {
    /// From when on, and what then, as the end of a sentence.
    pub(crate) fn until(&self) -> String {
        let Self { sunset, successor, why, over, .. } = self;
        let gets = if *over { "no new run gets it since" } else { "no new run gets it from" };
        let on = if *over { "" } else { " on" };
        let successor = successor.as_ref().map(|it| format!(", {it} takes its place")).unwrap_or_default();
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        format!("{gets} {sunset}{on}{successor}{why}")
    }
}

impl From<v1::DeprecationView> for Deprecation {
    fn from(wire: v1::DeprecationView) -> Self {
        let v1::DeprecationView { sunset_unix_nanos, successor, by, at_unix_nanos, why, over } = wire;
        let sunset = kapelle_types::Timestamp::from_nanos(sunset_unix_nanos).rfc3339();
        let successor = Some(successor).filter(|it| !it.is_empty());
        Self { sunset, successor, by, at: moment(at_unix_nanos), why, over }
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
        let (standing, deprecation) = (standing.map(Standing::from), wire.deprecation.map(Deprecation::from));
        Self { kind, name, version, owner, risk, standing, deprecation, force_reason, digest, origin, manifest }
    }
}
