//! Signals as workflows declare them: what they have to be like, and what whoever tells one is answered.

use kapelle_contract::Contract;
use kapelle_expression::Template;
use serde::Serialize;

use crate::read::{Issues, Part};
use crate::{contracts, write};

/// A signal that the runs of a workflow take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    /// What it has to be like.
    #[serde(flatten)]
    pub contract: Contract,
    /// What those are answered who tell it and wait for what becomes of it, over the input and the outputs of the steps.
    #[serde(serialize_with = "write::optional_template", skip_serializing_if = "Option::is_none")]
    pub answer: Option<Template>,
}

impl Signal {
    /// `{}` for one that may say anything, or `{ schema: … }`; with `answer` it can be told as an update.
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        if part.value.is_null() {
            return Some(Self { contract: Contract::any(), answer: None });
        }
        let mut fields = part.fields(issues)?;
        let schema = fields.optional("schema").map_or(Some(Contract::any()), |it| contracts::schema(&it, issues));
        let answer = match fields.optional("answer") {
            Some(it) => it.template(issues).map(Some),
            None => Some(None),
        };
        fields.close(&[], issues);
        Some(Self { contract: schema?, answer: answer? })
    }
}
