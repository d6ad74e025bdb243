//! Some thousand values with which every rule of the random schemas can be kept and broken, and the random schemas.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore};
use serde_json::{Map, Value, json};

/// Every value that brute force looks at.
pub(crate) fn universe() -> Vec<Value> {
    let few = [
        json!(null),
        json!(true),
        json!(0),
        json!(2),
        json!(1.5),
        json!("a"),
        json!("xa"),
        json!(""),
        json!([]),
        json!({}),
    ];
    let mut lists = vec![vec![]];
    let mut longer: Vec<Vec<Value>> = vec![vec![]];
    for _ in 0..3 {
        longer = longer
            .iter()
            .flat_map(|list| few.iter().map(|it| [list.as_slice(), std::slice::from_ref(it)].concat()))
            .collect();
        lists.extend(longer.iter().cloned());
    }
    let mut all = scalars();
    all.extend(lists.into_iter().map(Value::Array));
    // Objects over three fields: one that schemas name, one that they may name, one that only patterns reach.
    let some = [
        None,
        Some(json!(null)),
        Some(json!(2)),
        Some(json!(1.5)),
        Some(json!("a")),
        Some(json!("")),
        Some(json!([])),
        Some(json!([2])),
        Some(json!({})),
        Some(json!({ "a": 2 })),
    ];
    for a in &some {
        for b in &some {
            for x in &some {
                for other in &some[..4] {
                    let fields = [("a", a), ("b", b), ("x1", x), ("z", other)];
                    let fields: BTreeMap<&str, &Value> =
                        fields.iter().filter_map(|(k, v)| Some((*k, v.as_ref()?))).collect();
                    all.push(json!(fields));
                }
            }
        }
    }
    all
}

fn scalars() -> Vec<Value> {
    vec![
        json!(null),
        json!(false),
        json!(true),
        json!(-3),
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(4),
        json!(6),
        json!(7),
        json!(0.5),
        json!(1.5),
        json!(2.5),
        json!(-0.5),
        json!(""),
        json!("a"),
        json!("b"),
        json!("ab"),
        json!("xa"),
        json!("aaa"),
        json!("abcd"),
    ]
}

/// A random schema; deep ones get simpler.
pub(crate) fn schema(dice: &mut impl RngCore, depth: u32) -> Value {
    let mut schema = any(dice, depth);
    if let (Value::Object(root), true) = (&mut schema, dice.random_bool(0.2)) {
        let leaf = any(dice, 0);
        let recursive =
            json!({ "type": ["object", "null"], "properties": { "a": { "$ref": "#/$defs/tree" }, "b": leaf } });
        root.insert("$defs".into(), json!({ "leaf": any(dice, 1), "tree": recursive }));
        let target = if dice.random_bool(0.5) { "#/$defs/leaf" } else { "#/$defs/tree" };
        root.entry("properties")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .unwrap()
            .insert("b".into(), json!({ "$ref": target }));
    }
    schema
}

fn any(dice: &mut impl RngCore, depth: u32) -> Value {
    let deeper = depth.saturating_sub(1);
    let many = |dice: &mut _| -> Vec<Value> { (0..2).map(|_| any(dice, deeper)).collect() };
    match dice.random_range(0..if depth == 0 { 12 } else { 30 }) {
        0 => json!(dice.random_bool(0.7)),
        1 => json!({ "type": "null" }),
        2 => json!({ "type": "boolean" }),
        3..=5 => number(dice),
        6..=8 => string(dice),
        9 => {
            json!({ "enum": ([json!(null), json!(2), json!("a"), json!([]), json!({ "a": 2 }), json!(1.5)].choose_multiple(dice, 3).collect::<Vec<_>>()) })
        }
        10 => json!({ "const": ([json!(0), json!("xa"), json!([2]), json!({})].choose(dice)) }),
        11 => {
            json!({ "type": ([json!(["string", "null"]), json!(["integer", "array"]), json!(["object", "boolean"])].choose(dice)) })
        }
        12..=18 => object(dice, deeper),
        19..=22 => array(dice, deeper),
        23 => json!({ "anyOf": many(dice) }),
        24 => json!({ "oneOf": many(dice) }),
        25 => json!({ "allOf": many(dice) }),
        26 => json!({ "not": any(dice, deeper) }),
        27 => json!({ "if": any(dice, deeper), "then": any(dice, deeper), "else": any(dice, deeper) }),
        _ => {
            let mut both = object(dice, deeper);
            both["anyOf"] = json!(many(dice));
            both
        }
    }
}

fn keywords(dice: &mut impl RngCore, of: &mut Map<String, Value>, chance: f64, choices: &[(&str, &[Value])]) {
    for (keyword, values) in choices {
        if dice.random_bool(chance) {
            of.insert((*keyword).to_owned(), values.choose(dice).unwrap().clone());
        }
    }
}

fn number(dice: &mut impl RngCore) -> Value {
    let mut of = Map::new();
    of.insert("type".into(), json!(if dice.random_bool(0.6) { "integer" } else { "number" }));
    let bounds = [json!(-1), json!(0), json!(1.5), json!(2), json!(4)];
    let steps = [json!(2), json!(3), json!(0.5)];
    keywords(
        dice,
        &mut of,
        0.25,
        &[
            ("minimum", &bounds),
            ("maximum", &bounds),
            ("exclusiveMinimum", &bounds),
            ("exclusiveMaximum", &bounds),
            ("multipleOf", &steps),
        ],
    );
    Value::Object(of)
}

fn string(dice: &mut impl RngCore) -> Value {
    let mut of = Map::new();
    of.insert("type".into(), json!("string"));
    let lengths = [json!(0), json!(1), json!(2), json!(3)];
    keywords(dice, &mut of, 0.3, &[("minLength", &lengths), ("maxLength", &lengths), ("pattern", &[json!("^x")])]);
    Value::Object(of)
}

fn array(dice: &mut impl RngCore, depth: u32) -> Value {
    let mut of = Map::new();
    if dice.random_bool(0.8) {
        of.insert("type".into(), json!("array"));
    }
    if dice.random_bool(0.7) {
        of.insert("items".into(), any(dice, depth));
    }
    if dice.random_bool(0.3) {
        let first: Vec<Value> = (0..dice.random_range(1..3)).map(|_| any(dice, depth)).collect();
        of.insert("prefixItems".into(), json!(first));
    }
    let counts = [json!(0), json!(1), json!(2)];
    keywords(dice, &mut of, 0.3, &[("minItems", &counts), ("maxItems", &counts)]);
    Value::Object(of)
}

fn object(dice: &mut impl RngCore, depth: u32) -> Value {
    let mut of = Map::new();
    if dice.random_bool(0.8) {
        of.insert("type".into(), json!("object"));
    }
    let mut properties = Map::new();
    for name in ["a", "b", "x1"] {
        if dice.random_bool(0.4) {
            properties.insert(name.into(), any(dice, depth));
        }
    }
    of.insert("properties".into(), Value::Object(properties));
    if dice.random_bool(0.4) {
        of.insert("additionalProperties".into(), if dice.random_bool(0.5) { json!(false) } else { any(dice, depth) });
    }
    if dice.random_bool(0.2) {
        of.insert("patternProperties".into(), json!({ "^x": any(dice, depth) }));
    }
    let names = [json!(["a"]), json!(["b"]), json!(["a", "b"])];
    let counts = [json!(0), json!(1), json!(2)];
    keywords(dice, &mut of, 0.3, &[("required", &names)]);
    keywords(
        dice,
        &mut of,
        0.15,
        &[("minProperties", &counts), ("maxProperties", &counts), ("dependentRequired", &[json!({ "a": ["b"] })])],
    );
    Value::Object(of)
}
