//! What a path into payloads finds, by their schema alone.

use kapelle_expression::Segment;
use serde_json::{Map, Value};

/// What a path finds in payloads that keep to a schema.
#[derive(Debug, PartialEq)]
pub enum Found<'s> {
    /// Something, whose schema is this one as far as it is known.
    Some(Option<&'s Value>),
    /// Nothing: a segment of the path cannot be there.
    Nothing {
        /// The segment.
        at: usize,
        /// The fields that can be there instead.
        known: Vec<&'s str>,
        /// Why it cannot, to be read behind the path to it.
        what: &'static str,
    },
}

/// Looks a path up in a schema. Only what is certain is said: anything that combines schemas may have everything.
#[must_use]
pub fn look_up<'s>(root: &'s Value, path: &[Segment]) -> Found<'s> {
    let mut schema = root;
    for (at, segment) in path.iter().enumerate() {
        let Some(keywords) = plain(root, schema) else { return Found::Some(None) };
        let next = match segment {
            Segment::Field(name) => field(keywords, name),
            Segment::Index(index) => item(keywords, *index),
        };
        schema = match next {
            Next::Schema(next) => next,
            Next::Unknown => return Found::Some(None),
            Next::Nothing(known, what) => return Found::Nothing { at, known, what },
        };
    }
    Found::Some(plain(root, schema).map(|_| schema))
}

enum Next<'s> {
    Schema(&'s Value),
    Unknown,
    Nothing(Vec<&'s str>, &'static str),
}

/// The keywords of a schema behind its references, if nothing in it combines schemas.
fn plain<'s>(root: &'s Value, mut schema: &'s Value) -> Option<&'s Map<String, Value>> {
    const COMBINING: &[&str] =
        &["$dynamicRef", "allOf", "anyOf", "dependentSchemas", "else", "if", "not", "oneOf", "then", "$id"];
    // References may go in a circle.
    const HOPS_MAX: usize = 16;
    for _ in 0..HOPS_MAX {
        let keywords = schema.as_object()?;
        if COMBINING.iter().any(|keyword| keywords.contains_key(*keyword)) {
            return None;
        }
        match keywords.get("$ref") {
            None => return Some(keywords),
            Some(target) => schema = root.pointer(target.as_str()?.strip_prefix('#')?)?,
        }
    }
    None
}

fn field<'s>(keywords: &'s Map<String, Value>, name: &str) -> Next<'s> {
    if !may_be(keywords, "object") {
        return Next::Nothing(vec![], "has no fields");
    }
    let Some(Value::Object(properties)) = keywords.get("properties") else {
        return keywords.get("additionalProperties").map_or(Next::Unknown, Next::Schema);
    };
    match (properties.get(name), keywords.get("additionalProperties")) {
        (Some(schema), _) => Next::Schema(schema),
        (None, _) if keywords.contains_key("patternProperties") => Next::Unknown,
        (None, Some(Value::Bool(true))) => Next::Unknown,
        (None, Some(schema @ Value::Object(_))) => Next::Schema(schema),
        (None, _) => Next::Nothing(properties.keys().map(String::as_str).collect(), "has no such field"),
    }
}

fn item(keywords: &Map<String, Value>, index: usize) -> Next<'_> {
    if !may_be(keywords, "array") {
        return Next::Nothing(vec![], "is not a list");
    }
    match (keywords.get("prefixItems"), keywords.get("items")) {
        (Some(Value::Array(first)), _) if index < first.len() => Next::Schema(&first[index]),
        (_, Some(schema)) => Next::Schema(schema),
        _ => Next::Unknown,
    }
}

fn may_be(keywords: &Map<String, Value>, name: &str) -> bool {
    match keywords.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(types)) => types.iter().any(|it| it == name),
        _ => true,
    }
}
