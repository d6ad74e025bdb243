//! What an agent or a workflow takes or gives, as a JSON Schema.

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::issue::Issue;
use crate::read::{Issues, Part};
use crate::schema;

/// Violations that one check reports; more would not help.
const VIOLATIONS_MAX: usize = 10;
/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// A JSON Schema 2020-12 that payloads are checked against.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    schema: Value,
}

/// A contract, compiled.
#[derive(Debug)]
pub struct Checker(Validator);

/// Where a payload breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The part of the payload, as a JSON pointer.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

/// A declared schema that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidSchema {
    /// The part of the schema, as a JSON pointer.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
    /// The way out; may be empty.
    pub hint: String,
}

impl Contract {
    /// A contract that takes anything.
    #[must_use]
    pub fn any() -> Self {
        Self { schema: Value::Object(Map::new()) }
    }

    /// A contract with this schema. [`Contract::compile`] says whether it is one.
    #[must_use]
    pub const fn new(schema: Value) -> Self {
        Self { schema }
    }

    /// Whether it takes anything, so that nothing has to be checked.
    #[must_use]
    pub fn is_any(&self) -> bool {
        match &self.schema {
            Value::Bool(takes) => *takes,
            Value::Object(keywords) => keywords.is_empty(),
            _ => false,
        }
    }

    /// The schema.
    #[must_use]
    pub const fn schema(&self) -> &Value {
        &self.schema
    }

    /// Compiles the schema. Patterns are matched in linear time; nothing is ever fetched.
    ///
    /// # Errors
    /// It is not a JSON Schema 2020-12, or refers to something outside itself.
    pub fn compile(&self) -> Result<Checker, InvalidSchema> {
        if let Some(invalid) = schema::invalid(&self.schema).into_iter().next() {
            return Err(invalid);
        }
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .build(&self.schema)
            .map(Checker)
            .map_err(|error| schema::reworded(&self.schema, &error))
    }

    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let schema = fields.required("schema", issues);
        fields.close(&[], issues);
        let schema = schema?;
        match schema.value {
            Value::Object(_) | Value::Bool(_) => Some(Self { schema: schema.value.clone() }),
            _ => schema.expected("a JSON Schema (an object)", "", issues),
        }
    }

    /// All that is wrong with the schema that stands at `pointer`.
    pub(crate) fn issues(&self, pointer: &crate::pointer::Pointer) -> Issues {
        let mut invalid = schema::invalid(&self.schema);
        if invalid.is_empty() {
            invalid.extend(self.compile().err());
        }
        let issue = |it: InvalidSchema| {
            let issue = Issue::new(kapelle_types::Code::SCHEMA_INVALID, &pointer.below(&it.pointer), it.message);
            let issue = if it.hint.starts_with("did you mean") { issue.on_key() } else { issue };
            issue.label("not a schema").hint(it.hint)
        };
        invalid.into_iter().map(issue).collect()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the top" } else { &self.pointer };
        write!(f, "at {place}: {}", self.message)
    }
}

impl Serialize for Contract {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let fields: Map<String, Value> = [("schema".to_owned(), self.schema.clone())].into_iter().collect();
        fields.serialize(s)
    }
}

impl Checker {
    /// Whether a payload keeps the contract.
    #[must_use]
    pub fn accepts(&self, payload: &Value) -> bool {
        self.0.is_valid(payload)
    }

    /// Where a payload breaks the contract: the first few places.
    #[must_use]
    pub fn violations(&self, payload: &Value) -> Vec<Violation> {
        self.0
            .iter_errors(payload)
            .take(VIOLATIONS_MAX)
            .map(|error| Violation {
                pointer: error.instance_path().as_str().to_owned(),
                message: schema::short(&error.masked_with("the value").to_string()),
            })
            .collect()
    }
}
