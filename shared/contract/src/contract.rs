//! What an agent or a workflow takes or gives, as a JSON Schema.

use jsonschema::{Draft, PatternOptions, ValidationOptions};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{Checker, schema};

/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// A JSON Schema 2020-12 that payloads are checked against.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    pub(crate) schema: Value,
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
        let compiled = options().build(&self.schema);
        compiled
            .map(|validator| Checker::new(validator, &self.schema))
            .map_err(|error| schema::reworded(&self.schema, &error))
    }

    /// All that is wrong with the schema; nothing if it compiles.
    #[must_use]
    pub fn problems(&self) -> Vec<InvalidSchema> {
        let mut invalid = schema::invalid(&self.schema);
        if invalid.is_empty() {
            invalid.extend(self.compile().err());
        }
        invalid
    }
}

/// How every schema is compiled.
pub(crate) fn options<'r>() -> ValidationOptions<'r> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
}

impl Serialize for Contract {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let fields: Map<String, Value> = [("schema".to_owned(), self.schema.clone())].into_iter().collect();
        fields.serialize(s)
    }
}
