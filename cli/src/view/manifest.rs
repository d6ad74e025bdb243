//! Registered manifests.

use kapelle_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::payload;

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
    pub(crate) digest: String,
    pub(crate) origin: String,
    /// Only where one manifest was asked for.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) manifest: Value,
}

impl From<v1::ManifestView> for Manifest {
    fn from(wire: v1::ManifestView) -> Self {
        let manifest = payload(&wire.json);
        let v1::ManifestView { kind, name, version, owner, digest, origin, risk, .. } = wire;
        let risk = Some(risk).filter(|it| !it.is_empty());
        Self { kind, name, version, owner, risk, digest, origin, manifest }
    }
}
