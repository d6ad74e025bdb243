//! Contracts as manifests have them: read from a document, and what is wrong with them at its place there.

use kapelle_contract::{Contract, InvalidSchema, Pointer};
use kapelle_types::{Code, Sha256};
use serde_json::Value;

use crate::issue::Issue;
use crate::read::{Issues, Part};

pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Contract> {
    let mut fields = part.fields(issues)?;
    let schema = fields.required("schema", issues);
    fields.close(&[], issues);
    self::schema(&schema?, issues)
}

/// The contract that a schema is.
pub(crate) fn schema(schema: &Part<'_>, issues: &mut Issues) -> Option<Contract> {
    match schema.value {
        Value::Object(_) | Value::Bool(_) => Some(Contract::new(schema.value.clone())),
        _ => schema.expected("a JSON Schema (an object)", "", issues),
    }
}

/// The digest of a contract's schema: equal schemas have equal digests, however they are written.
#[must_use]
pub fn schema_digest(contract: &Contract) -> Sha256 {
    Sha256::of(kapelle_types::canonical(contract.schema()).as_bytes())
}

/// All that is wrong with the contract whose schema stands at `pointer`.
pub(crate) fn issues(contract: &Contract, pointer: &Pointer) -> Issues {
    let issue = |it: InvalidSchema| {
        let issue = Issue::new(Code::SCHEMA_INVALID, &pointer.below(&it.pointer), it.message);
        let issue = if it.hint.starts_with("did you mean") { issue.on_key() } else { issue };
        issue.label("not a schema").hint(it.hint)
    };
    contract.problems().into_iter().map(issue).collect()
}
