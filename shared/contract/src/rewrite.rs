//! Contracts made of contracts: as a part of another schema, and with nothing but what is declared.

use serde_json::{Map, Value, json};

use crate::schema::{LIST, MAP, ONE};
use crate::{Contract, Pointer};

/// Keywords that make the fields of one object a matter of several schemas.
const COMBINING: &[&str] = &[
    "$dynamicRef",
    "$ref",
    "allOf",
    "anyOf",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "then",
    "unevaluatedProperties",
];

impl Contract {
    /// The schema as a part of another one, standing there at `at`: its own references lead to the same places. `None` if
    /// it names itself (`$id`), so that nobody can say where its references lead.
    #[must_use]
    pub fn placed(&self, at: &Pointer) -> Option<Value> {
        if mentions(&self.schema, &["$id"]) {
            return None;
        }
        let mut schema = self.schema.clone();
        if let Value::Object(keywords) = &mut schema {
            keywords.remove("$schema");
        }
        place(&mut schema, &at.fragment());
        Some(schema)
    }

    /// The contract for whoever sends only fields that it declares. Where a schema lists the fields of an object and leaves
    /// open whether there are others, there are none; an object of which no field is listed stays as it is.
    ///
    /// What two versions or two agents say to each other is compared in this sense: a field that nobody declared is
    /// nothing that anybody relies on.
    #[must_use]
    pub fn declared(&self) -> Self {
        let mut schema = self.schema.clone();
        // What is combined may be a definition, which then must not close itself against the others.
        let combined = mentions(&schema, &["allOf", "if", "dependentSchemas"]);
        close(&mut schema, combined);
        Self::new(schema)
    }
}

fn place(schema: &mut Value, at: &str) {
    let Value::Object(keywords) = schema else { return };
    for (keyword, value) in keywords.iter_mut() {
        match (keyword.as_str(), value) {
            ("$ref", Value::String(target)) => {
                if let Some(path) = target.strip_prefix('#').filter(|path| path.is_empty() || path.starts_with('/')) {
                    *target = format!("{at}{path}");
                }
            }
            (keyword, value) => below(keyword, value).into_iter().for_each(|it| place(it, at)),
        }
    }
}

fn close(schema: &mut Value, combined: bool) {
    let Value::Object(keywords) = schema else { return };
    let combines = COMBINING.iter().any(|it| keywords.contains_key(*it));
    let open = !["additionalProperties", "patternProperties"].iter().any(|it| keywords.contains_key(*it));
    if keywords.contains_key("properties") && open && !combines {
        keywords.insert("additionalProperties".to_owned(), json!(false));
    }
    for (keyword, value) in keywords.iter_mut() {
        let definitions = matches!(keyword.as_str(), "$defs" | "definitions");
        if !(COMBINING.contains(&keyword.as_str()) || definitions && combined) {
            below(keyword, value).into_iter().for_each(|it| close(it, combined));
        }
    }
}

/// The schemas right below a keyword.
fn below<'v>(keyword: &str, value: &'v mut Value) -> Vec<&'v mut Value> {
    match value {
        value if ONE.contains(&keyword) => vec![value],
        Value::Array(items) if LIST.contains(&keyword) => items.iter_mut().collect(),
        Value::Object(fields) if MAP.contains(&keyword) => fields.values_mut().collect(),
        _ => vec![],
    }
}

/// Whether one of these is a key anywhere in a schema: more often than where it is a keyword, never less.
pub(crate) fn mentions(schema: &Value, keywords: &[&str]) -> bool {
    let in_fields = |fields: &Map<String, Value>| {
        fields.iter().any(|(name, it)| keywords.contains(&name.as_str()) || mentions(it, keywords))
    };
    match schema {
        Value::Object(fields) => in_fields(fields),
        Value::Array(items) => items.iter().any(|it| mentions(it, keywords)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_to_the_same_place() {
        let tree = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {
            "next": { "$ref": "#" }, "leaf": { "$ref": "#/$defs/leaf" }, "$ref": { "const": { "$ref": "#" } },
        }, "$defs": { "leaf": { "type": "integer" } } });
        let at = Pointer::root().field("$defs").field("a b");
        let placed = Contract::new(tree).placed(&at).unwrap();
        let whole = Contract::new(json!({ "$ref": "#/$defs/a%20b", "$defs": { "a b": placed } })).compile().unwrap();
        assert!(whole.accepts(&json!({ "next": { "leaf": 1 }, "$ref": { "$ref": "#" } })));
        assert!(!whole.accepts(&json!({ "next": { "leaf": "x" } })));
        assert_eq!(Contract::new(json!({ "$id": "https://example.com/x" })).placed(&at), None);
    }

    #[test]
    fn only_what_lists_its_fields_is_closed() {
        let listed = json!({ "properties": { "a": { "properties": { "b": {} } }, "free": { "type": "object" } } });
        let closed = Contract::new(listed).declared().compile().unwrap();
        assert!(closed.accepts(&json!({ "a": { "b": 1 }, "free": { "c": 1 } })));
        assert!(!closed.accepts(&json!({ "c": 1 })));
        assert!(!closed.accepts(&json!({ "a": { "c": 1 } })));
        let part = json!({ "properties": { "a": {} } });
        let combined =
            Contract::new(json!({ "allOf": [part, { "properties": { "b": {} } }], "properties": { "c": {} } }));
        assert_eq!(combined.declared(), combined);
        let defined = Contract::new(json!({ "allOf": [{ "$ref": "#/$defs/p" }], "$defs": { "p": part } }));
        assert_eq!(defined.declared(), defined);
    }
}
