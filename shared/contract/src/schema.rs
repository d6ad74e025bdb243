//! What is wrong with a declared JSON Schema, beyond what the schema compiler says.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use kapelle_expression::nearest;
use serde_json::Value;

use crate::class::{self, DataClass};
use crate::contract::InvalidSchema;
use crate::pointer::Pointer;

/// Keywords whose value is a schema.
pub(crate) const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
pub(crate) const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
pub(crate) const MAP: &[&str] = &["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// All other keywords of JSON Schema 2020-12.
const PLAIN: &[&str] = &[
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];
const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What the schema compiler would not say, or not say well: misspelt keywords and types, references to elsewhere.
pub(crate) fn invalid(schema: &Value) -> Vec<InvalidSchema> {
    let mut found = Vec::new();
    walk(schema, Some(schema), &Pointer::root(), &mut found);
    found
}

/// `base` is what local references start from, unless an `$id` makes that hard to say.
fn walk(schema: &Value, base: Option<&Value>, pointer: &Pointer, found: &mut Vec<InvalidSchema>) {
    let Value::Object(keywords) = schema else { return };
    let base = base.filter(|_| !keywords.contains_key("$id"));
    for (name, value) in keywords {
        let at = pointer.field(name);
        let mut report = |message: String, hint: String| {
            found.push(InvalidSchema { pointer: at.to_string(), message, hint });
        };
        match (name.as_str(), value) {
            ("$ref" | "$dynamicRef", Value::String(target)) if !target.starts_with('#') => report(
                format!("`{target}` is outside this schema, and nothing is fetched"),
                "copy it into `$defs` and refer to it as `#/$defs/…`".to_owned(),
            ),
            ("$ref", Value::String(target))
                if base.is_some_and(|base| !target.contains('%') && dangles(base, target)) =>
            {
                report(format!("`{target}` points to nothing in this schema"), String::new());
            }
            ("$schema", Value::String(dialect)) if dialect.trim_end_matches('#') != DIALECT => report(
                format!("schemas are JSON Schema 2020-12, not `{dialect}`"),
                format!("write `{DIALECT}`, or leave it out"),
            ),
            ("type", Value::String(_) | Value::Array(_)) => {
                let names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                for name in names.iter().filter_map(Value::as_str).filter(|name| !TYPES.contains(name)) {
                    let hint = nearest(name, TYPES.iter().copied())
                        .map_or(format!("the types are {}", TYPES.join(", ")), |it| format!("the type is `{it}`"));
                    report(format!("there is no type `{name}`"), hint);
                }
            }
            (class::KEYWORD, value) => {
                if value.as_str().is_none_or(|it| it.parse::<DataClass>().is_err()) {
                    let names = DataClass::ALL.map(DataClass::as_str).join(", ");
                    let near = value.as_str().and_then(|it| nearest(it, DataClass::ALL.map(DataClass::as_str)));
                    let near = near.map_or(String::new(), |it| format!("did you mean `{it}`? "));
                    report(format!("{value} is no data class"), format!("{near}the classes are {names}"));
                }
            }
            (name, value) if ONE.contains(&name) => walk(value, base, &at, found),
            (name, Value::Array(items)) if LIST.contains(&name) => {
                items.iter().enumerate().for_each(|(index, item)| walk(item, base, &at.item(index), found));
            }
            (name, Value::Object(fields)) if MAP.contains(&name) => {
                fields.iter().for_each(|(name, schema)| walk(schema, base, &at.field(name), found));
            }
            (name, _)
                if ONE.contains(&name) || LIST.contains(&name) || MAP.contains(&name) || PLAIN.contains(&name) => {}
            // Unknown keywords are legal; one that nearly is a keyword was meant to be it, and would check nothing.
            (name, _) => {
                let known = ONE.iter().chain(LIST).chain(MAP).chain(PLAIN).copied();
                if let Some(near) = nearest(name, known) {
                    report(format!("there is no keyword `{name}`"), format!("did you mean `{near}`?"));
                }
            }
        }
    }
}

fn dangles(base: &Value, target: &str) -> bool {
    target.strip_prefix('#').filter(|path| path.starts_with('/')).is_some_and(|path| base.pointer(path).is_none())
}

/// The compiler's error, with the place in the schema that it is about.
pub(crate) fn reworded(schema: &Value, error: &ValidationError<'_>) -> InvalidSchema {
    let pointer = error.instance_path().as_str();
    let message = match schema.pointer(pointer) {
        Some(value) if matches!(error.kind(), ValidationErrorKind::Format { .. }) => {
            let what = if pointer.ends_with("pattern") { "a regular expression" } else { "what is expected here" };
            format!("`{}` is not {what}", short(value.as_str().unwrap_or_default()))
        }
        Some(value) if !pointer.is_empty() => {
            let message = error.masked_with("it").to_string();
            format!("`{}` is not allowed here: {}", short(&value.to_string()), short(&message))
        }
        _ => short(&error.to_string()),
    };
    InvalidSchema { pointer: pointer.to_owned(), message, hint: String::new() }
}

/// The first 200 characters of a text that may be huge.
pub(crate) fn short(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    match text.char_indices().nth(CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}
