//! A manifest of any kind, and its ways in and out as JSON.

use kapelle_types::{Sha256, Version};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::issue::{Issue, suggestion};
use crate::read::{Issues, Part};
use crate::{Agent, Workflow};

/// The version of the format that this crate reads and writes.
pub const API_VERSION: &str = "kapelle.dev/v1";

/// Kinds that DESIGN knows and this version does not.
const LATER: &[&str] =
    &["Binding", "Budget", "ComplianceProfile", "DegradationPlan", "Model", "Policy", "Role", "Training"];

/// A manifest.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // few exist at a time, and they are taken apart at once
pub enum Manifest {
    /// A capability that does work.
    Agent(Agent),
    /// Steps and what they depend on.
    Workflow(Workflow),
}

impl Manifest {
    /// The kind, the name and the version: what the registry files it under.
    #[must_use]
    pub fn name_version(&self) -> (&'static str, &str, &Version) {
        match self {
            Self::Agent(it) => ("Agent", it.metadata.name.as_str(), &it.metadata.version),
            Self::Workflow(it) => ("Workflow", it.metadata.name.as_str(), &it.metadata.version),
        }
    }

    /// The manifest as canonical JSON (RFC 8785), defaults written out: equal manifests have equal texts.
    #[must_use]
    pub fn canonical(&self) -> String {
        kapelle_types::canonical(&self.to_value())
    }

    /// The digest of the canonical JSON.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.canonical().as_bytes())
    }

    /// The manifest as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // Every field is a string, a number, a list or an object with string keys; that cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads a document; everything that is wrong with it at once.
    pub(crate) fn read(document: &Value) -> Result<Self, Issues> {
        let mut issues = Issues::new();
        match Self::read_into(&Part::root(document), &mut issues) {
            Some(manifest) if issues.is_empty() => Ok(manifest),
            _ => Err(issues),
        }
    }

    fn read_into(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let api_version = fields.required("apiVersion", issues);
        let kind = fields.required("kind", issues);
        if let Some(part) = api_version.filter(|it| it.value != API_VERSION) {
            let issue = Issue::shape(&part.pointer, format!("`apiVersion` is `{API_VERSION}`, not {}", part.value));
            issues.push(issue.label("not known"));
        }
        let kind = kind?;
        match kind.text(issues)? {
            "Agent" => Agent::read(fields, issues).map(Self::Agent),
            "Workflow" => Workflow::read(fields, issues).map(Self::Workflow),
            "Schedule" => {
                let issue = Issue::shape(&kind.pointer, "a schedule is no part of what is registered in versions");
                issues.push(issue.label("not here").hint("`ScheduleService` takes it"));
                None
            }
            later if LATER.contains(&later) => {
                let message = format!("kind `{later}` is not supported by this version of Kapelle");
                let issue = Issue::shape(&kind.pointer, message);
                issues.push(issue.label("not supported").hint("there are `Agent` and `Workflow`"));
                None
            }
            other => {
                let issue = Issue::shape(&kind.pointer, format!("there is no kind `{other}`"));
                issues.push(issue.label("not known").hint(suggestion(other, ["Agent", "Workflow"])));
                None
            }
        }
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'m, T> {
            api_version: &'static str,
            kind: &'static str,
            #[serde(flatten)]
            rest: &'m T,
        }
        match self {
            Self::Agent(rest) => Document { api_version: API_VERSION, kind: "Agent", rest }.serialize(s),
            Self::Workflow(rest) => Document { api_version: API_VERSION, kind: "Workflow", rest }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let document = Value::deserialize(d)?;
        Self::read(&document).map_err(|issues| {
            let texts: Vec<String> = issues.iter().map(|it| format!("{}: {}", it.pointer, it.message)).collect();
            D::Error::custom(texts.join("; "))
        })
    }
}
