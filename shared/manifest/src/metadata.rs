//! What every manifest says about itself.

use std::collections::BTreeMap;
use std::str::FromStr;

use kapelle_types::{InvalidName, Version};
use serde::Serialize;

use crate::read::{Issues, Part};

/// Name, version and owner of a manifest. `N` is the kind of name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metadata<N> {
    /// The name; unique among the manifests of its kind.
    pub name: N,
    /// The version; immutable once it is registered.
    pub version: Version,
    /// Who answers for it: a person or, better, a team.
    pub owner: String,
    /// Short values to select by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Anything else that tools and people want to keep with it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl<N: FromStr<Err = InvalidName>> Metadata<N> {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let name = fields.required("name", issues).and_then(|it| it.name(issues));
        let version = fields.required("version", issues).and_then(|it| it.name(issues));
        let owner = fields.required("owner", issues).and_then(|it| it.text(issues)).map(str::to_owned);
        let labels = fields.optional("labels").map_or(Some(BTreeMap::new()), |it| texts(&it, issues));
        let annotations = fields.optional("annotations").map_or(Some(BTreeMap::new()), |it| texts(&it, issues));
        fields.close(&[], issues);
        Some(Self { name: name?, version: version?, owner: owner?, labels: labels?, annotations: annotations? })
    }
}

fn texts(part: &Part<'_>, issues: &mut Issues) -> Option<BTreeMap<String, String>> {
    let fields = part.fields(issues)?.all();
    let texts: Vec<_> = fields.map(|(name, it)| Some((name.clone(), it.text(issues)?.to_owned()))).collect();
    texts.into_iter().collect()
}
