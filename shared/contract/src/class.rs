//! Data classes: which parts of a payload are whose business, marked in its schema with `x-data-class`.
//!
//! A mark holds for the value that the schema is about and everything in it. Where several schemas speak of one value
//! (`$ref`, `allOf`, any branch of `anyOf`, of `oneOf` and of a condition), each mark counts: too much is masked rather
//! than too little. For the same reason a reference that cannot be followed counts as the strictest mark of its schema.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::contract::options;
use crate::rewrite::mentions;
use crate::{Contract, Pointer};

/// The keyword.
pub(crate) const KEYWORD: &str = "x-data-class";
/// Parts of a payload that are looked at to list its classes, and how deep inside each other: schemas that refer to each
/// other have more of them than anybody reads. Masking knows no such limit.
const PARTS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;
/// Keywords that speak of any field or any item.
const ANY: &[&str] = &["additionalProperties", "unevaluatedProperties", "items", "unevaluatedItems", "contains"];

/// Whose business a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// Anybody's.
    Public,
    /// The organisation's.
    Internal,
    /// It says something of a person.
    Pii,
    /// Whoever knows it can do something with it.
    Secret,
}

impl DataClass {
    /// Every class there is.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Pii, Self::Secret];

    /// The class as schemas have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Pii => "pii",
            Self::Secret => "secret",
        }
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no data class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no data class `{0}`")]
pub struct UnknownClass(String);

impl FromStr for DataClass {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or_else(|| UnknownClass(text.to_owned()))
    }
}

/// The marked parts of a payload as they are found.
#[derive(Default)]
struct Listing {
    classes: BTreeSet<(String, DataClass)>,
    /// The schemas of the parts around the one that is looked at.
    around: Vec<Vec<*const Value>>,
    parts: usize,
}

impl Contract {
    /// The marked parts of its payloads, in order: a JSON pointer, with `*` for any name and any item, and the class.
    #[must_use]
    pub fn classes(&self) -> Vec<(String, DataClass)> {
        let mut listing = Listing::default();
        self.list(&[&self.schema], "", &mut listing);
        listing.classes.into_iter().collect()
    }

    /// The payload with every part masked that is marked with a class which is not allowed: `[pii]` stands in its place.
    /// Names of fields are no part of that.
    #[must_use]
    pub fn redact(&self, payload: &Value, allowed: &[DataClass]) -> Value {
        self.mask(&[&self.schema], payload, allowed)
    }

    fn mask(&self, schemas: &[&Value], value: &Value, allowed: &[DataClass]) -> Value {
        let schemas = self.together(schemas);
        // Of several classes the strictest is named.
        if let Some(class) = self.marks(&schemas).into_iter().filter(|it| !allowed.contains(it)).max() {
            return Value::String(format!("[{class}]"));
        }
        match value {
            Value::Object(fields) => {
                let schemas: Vec<Fields<'_>> = schemas.iter().map(|schema| Fields::of(schema)).collect();
                let mask = |(name, it): (&String, &Value)| {
                    let of_field: Vec<&Value> = schemas.iter().flat_map(|schema| schema.field(name)).collect();
                    (name.clone(), self.mask(&of_field, it, allowed))
                };
                Value::Object(fields.iter().map(mask).collect())
            }
            Value::Array(items) => {
                let mask = |(index, it): (usize, &Value)| {
                    let of_item: Vec<&Value> = schemas.iter().flat_map(|schema| item(schema, index)).collect();
                    self.mask(&of_item, it, allowed)
                };
                Value::Array(items.iter().enumerate().map(mask).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    fn list(&self, schemas: &[&Value], pointer: &str, listing: &mut Listing) {
        let schemas = self.together(schemas);
        listing.classes.extend(self.marks(&schemas).into_iter().map(|class| (pointer.to_owned(), class)));
        listing.parts += 1;
        let key: Vec<*const Value> = schemas.iter().map(|it| std::ptr::from_ref(*it)).collect();
        let enough = listing.around.len() >= DEPTH_MAX || listing.parts >= PARTS_MAX;
        if enough || listing.around.contains(&key) {
            return;
        }
        listing.around.push(key);
        let mut below: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for schema in &schemas {
            for (name, schema) in map(schema, "properties") {
                below.entry(Pointer::root().field(name).to_string()).or_default().push(schema);
            }
            for (n, schema) in list(schema, "prefixItems").enumerate() {
                below.entry(Pointer::root().item(n).to_string()).or_default().push(schema);
            }
            let patterns = map(schema, "patternProperties").map(|(_, schema)| schema);
            let others = ANY.iter().filter_map(|keyword| schema.get(*keyword));
            below.entry("/*".to_owned()).or_default().extend(patterns.chain(others));
        }
        for (name, schemas) in below {
            self.list(&schemas, &format!("{pointer}{name}"), listing);
        }
        listing.around.pop();
    }

    /// All schemas that speak of the same value as these.
    fn together<'s>(&'s self, schemas: &[&'s Value]) -> Vec<&'s Value> {
        let mut all: Vec<&Value> = schemas.to_vec();
        let mut seen: HashSet<*const Value> = all.iter().map(|it| std::ptr::from_ref(*it)).collect();
        let mut next = 0;
        while let Some(schema) = all.get(next).copied() {
            next += 1;
            let branches = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|keyword| list(schema, keyword));
            let ways = ["if", "then", "else"].into_iter().filter_map(|keyword| schema.get(keyword));
            let dependent = map(schema, "dependentSchemas").map(|(_, schema)| schema);
            let more = self.target(schema).into_iter().chain(branches).chain(ways).chain(dependent);
            all.extend(more.filter(|it| seen.insert(std::ptr::from_ref(*it))));
        }
        all
    }

    /// What `$ref` of a schema points to.
    fn target(&self, schema: &Value) -> Option<&Value> {
        let path = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        // Where a part has a name of its own, pointers may start from there.
        if path.contains('%') || mentions(&self.schema, &["$id"]) { None } else { self.schema.pointer(path) }
    }

    /// The classes that these schemas name; every class of the contract if one of them cannot be followed.
    fn marks(&self, schemas: &[&Value]) -> BTreeSet<DataClass> {
        let lost = |schema: &&Value| {
            schema.get("$dynamicRef").is_some() || (schema.get("$ref").is_some() && self.target(schema).is_none())
        };
        let mut marks: BTreeSet<DataClass> =
            schemas.iter().filter_map(|schema| schema.get(KEYWORD)?.as_str()?.parse().ok()).collect();
        if schemas.iter().any(lost) {
            every_mark(&self.schema, &mut marks);
        }
        marks
    }
}

/// What one schema says of fields, its patterns compiled.
struct Fields<'s> {
    schema: &'s Value,
    patterns: Vec<(Option<Validator>, &'s Value)>,
}

impl<'s> Fields<'s> {
    fn of(schema: &'s Value) -> Self {
        let compile = |(pattern, of): (&String, &'s Value)| (options().build(&json!({ "pattern": pattern })).ok(), of);
        Self { schema, patterns: map(schema, "patternProperties").map(compile).collect() }
    }

    fn field(&self, name: &str) -> Vec<&'s Value> {
        let name_value = Value::String(name.to_owned());
        let named = self.schema.get("properties").and_then(|it| it.get(name));
        let matches =
            self.patterns.iter().filter(|(pattern, _)| pattern.as_ref().is_none_or(|it| it.is_valid(&name_value)));
        let mut found: Vec<&Value> = named.into_iter().chain(matches.map(|(_, of)| *of)).collect();
        if found.is_empty() {
            found
                .extend(["additionalProperties", "unevaluatedProperties"].iter().filter_map(|it| self.schema.get(*it)));
        }
        found
    }
}

fn every_mark(schema: &Value, marks: &mut BTreeSet<DataClass>) {
    match schema {
        Value::Object(fields) => {
            marks.extend(fields.get(KEYWORD).and_then(Value::as_str).and_then(|it| it.parse::<DataClass>().ok()));
            fields.values().for_each(|it| every_mark(it, marks));
        }
        Value::Array(items) => items.iter().for_each(|it| every_mark(it, marks)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn item(schema: &Value, index: usize) -> Vec<&Value> {
    let first = list(schema, "prefixItems").nth(index);
    let items = if first.is_some() { None } else { schema.get("items").or_else(|| schema.get("unevaluatedItems")) };
    first.into_iter().chain(items).chain(schema.get("contains")).collect()
}

fn list<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = &'s Value> + use<'s> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn map<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = (&'s String, &'s Value)> + use<'s> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contract() -> Contract {
        Contract::new(json!({
            "properties": {
                "id": { "x-data-class": "public" },
                "person": { "$ref": "#/$defs/person" },
                "tokens": { "additionalProperties": { "x-data-class": "secret" } },
                "notes": { "items": { "anyOf": [{ "type": "null" }, { "type": "string", "x-data-class": "internal" }] } },
                "both": { "x-data-class": "internal", "allOf": [{ "x-data-class": "pii" }] },
            },
            "$defs": { "person": { "properties": {
                "name": { "x-data-class": "pii" }, "age": {}, "children": { "items": { "$ref": "#/$defs/person" } },
            } } },
        }))
    }

    #[test]
    fn classes_are_found_wherever_a_mark_may_stand() {
        let found: Vec<String> = contract().classes().iter().map(|(at, class)| format!("{at} {class}")).collect();
        let expected = [
            "/both internal",
            "/both pii",
            "/id public",
            "/notes/* internal",
            "/person/children/*/name pii",
            "/person/name pii",
            "/tokens/* secret",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_allowed_is_masked_and_nothing_else() {
        let payload = json!({
            "id": 7, "person": { "name": "Ada", "age": 36, "children": [{ "name": { "first": "B" } }] },
            "tokens": { "a": "x", "b": ["y"] }, "notes": ["n", null], "both": 1, "other": "Ada",
        });
        let masked = contract().redact(&payload, &[DataClass::Public, DataClass::Internal]);
        let expected = json!({
            "id": 7, "person": { "name": "[pii]", "age": 36, "children": [{ "name": "[pii]" }] },
            "tokens": { "a": "[secret]", "b": "[secret]" }, "notes": ["n", null], "both": "[pii]", "other": "Ada",
        });
        assert_eq!(masked, expected);
        assert_eq!(contract().redact(&payload, &DataClass::ALL), payload);
        assert_eq!(contract().redact(&payload, &[])["notes"], json!(["[internal]", "[internal]"]));
    }

    #[test]
    fn patterns_are_matched_and_what_cannot_be_followed_is_masked() {
        let by_pattern = Contract::new(
            json!({ "properties": { "id": {} }, "patternProperties": { "^x-": { "x-data-class": "pii" } } }),
        );
        assert_eq!(by_pattern.redact(&json!({ "id": 1, "x-a": 2 }), &[]), json!({ "id": 1, "x-a": "[pii]" }));
        let anchored = Contract::new(json!({
            "properties": { "a": { "$ref": "#name" }, "b": {} },
            "$defs": { "n": { "$anchor": "name", "properties": { "first": { "x-data-class": "pii" } } } },
        }));
        assert_eq!(anchored.redact(&json!({ "a": { "first": "Ada" }, "b": 1 }), &[]), json!({ "a": "[pii]", "b": 1 }));
    }

    #[test]
    fn a_class_that_is_none_is_no_schema() {
        for wrong in [json!("privat"), json!(["pii"])] {
            let invalid =
                Contract::new(json!({ "properties": { "a": { "x-data-class": wrong } } })).compile().unwrap_err();
            assert_eq!(invalid.pointer, "/properties/a/x-data-class");
            assert!(invalid.hint.contains("public"), "{invalid:?}");
        }
    }
}
