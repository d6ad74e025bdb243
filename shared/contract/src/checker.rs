//! Payloads against a compiled contract. What is said of a payload names its parts and never shows their values; whoever may
//! not see payloads is told of parts by the names of the schema alone, since the names of a map are data too.

use std::collections::BTreeSet;
use std::fmt;

use jsonschema::Validator;
use serde_json::Value;

use crate::schema::short;

/// Violations that one check reports; more would not help.
const VIOLATIONS_MAX: usize = 10;

/// What stands for a part whose name is the payload's own.
const OWN_NAME: &str = "*";
/// Rules whose message names fields of the payload.
const NAMING: [&str; 3] = ["additionalProperties", "unevaluatedProperties", "propertyNames"];

/// A contract, compiled.
#[derive(Debug)]
pub struct Checker {
    validator: Validator,
    /// The names of all properties that the schema declares.
    declared: BTreeSet<String>,
}

/// Where a payload breaks its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The part of the payload, as a JSON pointer.
    pub pointer: String,
    /// The rule that it breaks.
    pub rule: Rule,
    /// What is wrong with it.
    pub message: String,
    /// What is there, without showing it: `a string of 12 characters`.
    pub value: String,
}

/// A rule of a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Its keyword, such as `minLength`.
    pub keyword: String,
    /// Where in the schema it stands, as a JSON pointer.
    pub pointer: String,
}

impl Checker {
    pub(crate) fn new(validator: Validator, schema: &Value) -> Self {
        let mut declared = BTreeSet::new();
        collect(schema, &mut declared);
        Self { validator, declared }
    }

    /// Whether a payload keeps the contract.
    #[must_use]
    pub fn accepts(&self, payload: &Value) -> bool {
        self.validator.is_valid(payload)
    }

    /// Where a payload breaks the contract, for those who may not see it: no name is told that is not the schema's.
    #[must_use]
    pub fn violations_hidden(&self, payload: &Value) -> Vec<Violation> {
        let hidden = |mut violation: Violation| {
            violation.pointer = self.hidden(&violation.pointer, payload);
            if NAMING.contains(&violation.rule.keyword.as_str()) {
                violation.message = "it has fields that are not allowed".to_owned();
            }
            violation
        };
        self.violations(payload).into_iter().map(hidden).collect()
    }

    /// A pointer into a payload without the names that the schema does not declare.
    fn hidden(&self, pointer: &str, payload: &Value) -> String {
        let mut part = Some(payload);
        let mut hidden = String::new();
        for name in pointer.split('/').skip(1) {
            let plain = name.replace("~1", "/").replace("~0", "~");
            let is_item = part.is_some_and(Value::is_array);
            let told = if is_item || self.declared.contains(&plain) { name } else { OWN_NAME };
            hidden = format!("{hidden}/{told}");
            part = part.and_then(|it| it.pointer(&format!("/{name}")));
        }
        hidden
    }

    /// Where a payload breaks the contract: the first few places.
    #[must_use]
    pub fn violations(&self, payload: &Value) -> Vec<Violation> {
        self.validator
            .iter_errors(payload)
            .take(VIOLATIONS_MAX)
            .map(|error| Violation {
                pointer: error.instance_path().as_str().to_owned(),
                rule: Rule {
                    keyword: error.kind().keyword().to_owned(),
                    pointer: error.schema_path().as_str().to_owned(),
                },
                message: short(&error.masked_with("the value").to_string()),
                value: redacted(error.instance()),
            })
            .collect()
    }
}

/// The names below every `properties` of a schema.
fn collect(schema: &Value, declared: &mut BTreeSet<String>) {
    match schema {
        Value::Object(keywords) => {
            if let Some(Value::Object(properties)) = keywords.get("properties") {
                declared.extend(properties.keys().cloned());
            }
            keywords.values().for_each(|below| collect(below, declared));
        }
        Value::Array(items) => items.iter().for_each(|below| collect(below, declared)),
        _ => {}
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str("at the top")?,
            pointer => write!(f, "at {pointer}")?,
        }
        write!(f, ": {}; it is {} (rule {})", self.message, self.value, self.rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pointer.is_empty() { &self.keyword } else { &self.pointer })
    }
}

/// What a value is and how large, which gives nothing of it away.
fn redacted(value: &Value) -> String {
    let sized = |what: &str, size: usize, one: &str, many: &str| match size {
        0 => format!("an empty {what}"),
        1 => format!("{} {what} {one}", article(what)),
        size => format!("{} {what} of {size} {many}", article(what)),
    };
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) if number.is_f64() => "a number".to_owned(),
        Value::Number(_) => "an integer".to_owned(),
        Value::String(text) => sized("string", text.chars().count(), "of 1 character", "characters"),
        Value::Array(items) => sized("list", items.len(), "of 1 item", "items"),
        Value::Object(fields) => sized("object", fields.len(), "of 1 field", "fields"),
    }
}

fn article(what: &str) -> &'static str {
    if what.starts_with('o') { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Contract;

    #[test]
    fn whoever_sees_no_payload_is_told_no_name_of_it() {
        let person = json!({ "properties": { "age": { "type": "integer" } }, "additionalProperties": false });
        let schema = json!({
            "properties": {
                "people": { "additionalProperties": person },
                "list": { "items": { "properties": { "a/b": { "type": "string" } } } },
            },
        });
        let checker = Contract::new(schema).compile().unwrap();
        let payload = json!({
            "people": { "ada.lovelace": { "age": "36" }, "bob": { "hunter2": 1 }, "age": { "age": "x" } },
            "list": [{ "a/b": 1 }],
        });
        let told: Vec<String> = checker.violations_hidden(&payload).iter().map(ToString::to_string).collect();
        let text = told.join("\n");
        for secret in ["ada", "bob", "hunter2"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("at /people/*/age: the value is not of type \"integer\""), "{text}");
        assert!(text.contains("at /people/*: it has fields that are not allowed"), "{text}");
        assert!(text.contains("at /list/0/a~1b: "), "{text}");
        let named = format!("{:?}", checker.violations(&payload));
        assert!(named.contains("/people/ada.lovelace/age") && named.contains("hunter2"), "whoever sent it may know");
    }

    #[test]
    fn a_violation_says_where_which_rule_and_never_the_value() {
        let schema = json!({
            "properties": {
                "name": { "type": "string", "maxLength": 4 },
                "tags": { "items": { "enum": ["a", "b"] } },
                "born": { "pattern": "^[0-9]+$" },
            },
            "required": ["id"],
        });
        let checker = Contract::new(schema).compile().unwrap();
        let payload = json!({ "name": "hunter2-secret", "tags": ["a", "hunter2"], "born": "hunter2" });
        let told: Vec<String> = checker.violations(&payload).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "at the top: \"id\" is a required property; it is an object of 3 fields (rule /required)",
                "at /name: the value is longer than 4 characters; it is a string of 14 characters (rule /properties/name/maxLength)",
                "at /tags/1: the value is not one of \"a\" or \"b\"; it is a string of 7 characters (rule /properties/tags/items/enum)",
                "at /born: the value does not match \"^[0-9]+$\"; it is a string of 7 characters (rule /properties/born/pattern)",
            ]
        );
        assert!(!told.concat().contains("hunter2"));
    }

    #[test]
    fn sizes_read_well() {
        for (value, said) in [
            (json!(null), "null"),
            (json!(1.5), "a number"),
            (json!(-3), "an integer"),
            (json!(""), "an empty string"),
            (json!("ä"), "a string of 1 character"),
            (json!([1, 2]), "a list of 2 items"),
            (json!({ "a": 1 }), "an object of 1 field"),
        ] {
            assert_eq!(super::redacted(&value), said);
        }
    }
}
