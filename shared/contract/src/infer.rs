//! From samples to a schema that says what all of them have in common, and nothing that they only happen to share.
//!
//! ```text
//!   samples ──each──▶ Shape (which types were seen, in which fields) ──▶ schema
//! ```
//!
//! `kapelle agent onboard` proposes it to the author of an agent, who knows more. Every sample keeps the schema. It names types,
//! fields and those fields that every sample has; never a length, a range, a format or a list of values, because few samples
//! show none of these. Other fields stay allowed.

use serde_json::{Map, Value, json};

use crate::Contract;

/// Fields of one object beyond which it is a table with keys, whose names say nothing about its next one.
const FIELDS_MAX: usize = 64;

/// What was seen at one place of the samples.
#[derive(Debug, Default)]
struct Shape {
    null: bool,
    boolean: bool,
    integer: bool,
    number: bool,
    string: bool,
    list: Option<Box<Shape>>,
    object: Option<Object>,
}

/// The objects that were seen at one place.
#[derive(Debug, Default)]
struct Object {
    /// How many.
    seen: usize,
    /// Their fields in the order of their first appearance, each with how many objects had it.
    fields: Vec<(String, usize, Shape)>,
    /// Whether its fields are entries of a table; then nothing is said of them.
    is_table: bool,
}

/// The schema of these samples; of none, one that takes anything.
#[must_use]
pub fn infer<'v>(samples: impl IntoIterator<Item = &'v Value>) -> Contract {
    let mut shape = Shape::default();
    samples.into_iter().for_each(|it| shape.see(it));
    Contract::new(shape.schema())
}

impl Shape {
    fn see(&mut self, value: &Value) {
        match value {
            Value::Null => self.null = true,
            Value::Bool(_) => self.boolean = true,
            Value::Number(number) if number.is_f64() => self.number = true,
            Value::Number(_) => self.integer = true,
            Value::String(_) => self.string = true,
            Value::Array(items) => {
                let shape = self.list.get_or_insert_default();
                items.iter().for_each(|it| shape.see(it));
            }
            Value::Object(fields) => self.object.get_or_insert_default().see(fields),
        }
    }

    fn schema(&self) -> Value {
        let types = [
            ("boolean", self.boolean),
            ("integer", self.integer && !self.number),
            ("number", self.number),
            ("string", self.string),
            ("array", self.list.is_some()),
            ("object", self.object.is_some()),
            ("null", self.null),
        ];
        let types: Vec<&str> = types.into_iter().filter_map(|(name, seen)| seen.then_some(name)).collect();
        let mut schema = Map::new();
        match types.as_slice() {
            [] => return Value::Object(schema),
            [one] => schema.insert("type".into(), json!(one)),
            several => schema.insert("type".into(), json!(several)),
        };
        if let Some(object) = &self.object {
            object.write(&mut schema);
        }
        // Of a list that was always empty nothing is known.
        if let Some(items) = self.list.as_ref().map(|it| it.schema()).filter(|it| *it != json!({})) {
            schema.insert("items".into(), items);
        }
        Value::Object(schema)
    }
}

impl Object {
    fn see(&mut self, fields: &Map<String, Value>) {
        self.seen += 1;
        for (name, value) in fields {
            let at = self.fields.iter().position(|(known, _, _)| known == name);
            self.is_table |= !is_field(name) || (at.is_none() && self.fields.len() >= FIELDS_MAX);
            if self.is_table {
                return self.fields.clear();
            }
            let at = at.unwrap_or_else(|| {
                self.fields.push((name.clone(), 0, Shape::default()));
                self.fields.len() - 1
            });
            let (_, seen, shape) = &mut self.fields[at];
            *seen += 1;
            shape.see(value);
        }
    }

    fn write(&self, schema: &mut Map<String, Value>) {
        let always: Vec<&str> =
            self.fields.iter().filter(|(_, seen, _)| *seen == self.seen).map(|(name, _, _)| name.as_str()).collect();
        if !always.is_empty() {
            schema.insert("required".into(), json!(always));
        }
        if !self.fields.is_empty() {
            let fields = self.fields.iter().map(|(name, _, shape)| (name.clone(), shape.schema()));
            schema.insert("properties".into(), Value::Object(fields.collect()));
        }
    }
}

/// Whether a key reads like a field that somebody named. A path, an address or an id is an entry of a table.
fn is_field(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn check(samples: &[Value], schema: &Value) {
        assert_eq!(infer(samples).schema(), schema, "{samples:?}");
    }

    #[test]
    fn what_samples_share_is_said_and_no_more() {
        check(&[], &json!({}));
        check(&[json!("a"), json!("a")], &json!({ "type": "string" }));
        check(&[json!(1), json!(2.5)], &json!({ "type": "number" }));
        check(&[json!(1), json!(null)], &json!({ "type": ["integer", "null"] }));
        check(&[json!([])], &json!({ "type": "array" }));
        check(&[json!([1]), json!(["a", 2])], &json!({ "type": "array", "items": { "type": ["integer", "string"] } }));
        check(
            &[json!({ "text": "a", "max": 3 }), json!({ "text": "b", "tags": [{ "id": 1 }] })],
            &json!({
                "type": "object", "required": ["text"],
                "properties": {
                    "text": { "type": "string" },
                    "max": { "type": "integer" },
                    "tags": { "type": "array", "items":
                        { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } } },
                },
            }),
        );
    }

    #[test]
    fn a_table_is_not_taken_for_fields() {
        check(&[json!({ "pkg:cargo/a@1": [1], "b": 2 })], &json!({ "type": "object" }));
        let entries = |count: usize| -> Value { (0..count).map(|n| (format!("k{n}"), json!(n))).collect() };
        assert_eq!(infer(&[entries(FIELDS_MAX)]).schema()["required"].as_array().map(Vec::len), Some(FIELDS_MAX));
        check(&[entries(FIELDS_MAX + 1)], &json!({ "type": "object" }));
        check(&[entries(FIELDS_MAX + 1), json!({ "k1": "text" })], &json!({ "type": "object" }));
    }

    /// Any JSON, some of it alike.
    fn random(dice: &mut ChaCha8Rng, depth: u32) -> Value {
        match dice.random_range(0..if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => json!(dice.random::<bool>()),
            2 => json!(dice.random::<i64>()),
            3 => json!(dice.random::<u64>()),
            4 => json!(dice.random_range(-2.0..2.0)),
            5 => json!(["", "a", "2026-11-22", "ä"][dice.random_range(0..4)]),
            6 => (0..dice.random_range(0..4)).map(|_| random(dice, depth - 1)).collect(),
            _ => {
                let names = ["a", "b", "type", "required", "properties", "$ref", "x y", "ü"];
                let named = |dice: &mut ChaCha8Rng| names[dice.random_range(0..names.len())].to_owned();
                (0..dice.random_range(0..5)).map(|_| (named(dice), random(dice, depth - 1))).collect()
            }
        }
    }

    #[test]
    fn every_sample_keeps_the_schema_and_none_more_would_loosen_it_twice() {
        let mut dice = ChaCha8Rng::seed_from_u64(17);
        let mut refusing = 0;
        for round in 0..500 {
            let samples: Vec<Value> = (0..dice.random_range(1..5)).map(|_| random(&mut dice, 3)).collect();
            let contract = infer(&samples);
            assert_eq!(contract.problems(), [], "round {round}: {}", contract.schema());
            let checker = contract.compile().unwrap();
            for sample in &samples {
                assert!(checker.accepts(sample), "round {round}: {sample} breaks {}", contract.schema());
            }
            assert_eq!(infer(samples.iter().chain(&samples)), contract, "seeing it twice teaches nothing");
            refusing += usize::from(!checker.accepts(&random(&mut dice, 3)));
        }
        assert!(refusing > 50, "a schema that takes everything would pass, too");
    }
}
