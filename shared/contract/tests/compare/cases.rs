//! Pairs with a name: changes that people make.

use kapelle_contract::{Contract, Verdict, compatible, disjoint};
use serde_json::{Value, json};

fn verdict(giver: &Value, taker: &Value) -> Verdict {
    compatible(&Contract::new(giver.clone()), &Contract::new(taker.clone()))
}

/// One line a difference: the place, the rule and the witness.
fn told(giver: &Value, taker: &Value) -> Vec<String> {
    match verdict(giver, taker) {
        Verdict::Compatible => vec![],
        Verdict::Breaking(differences) => differences.iter().map(ToString::to_string).collect(),
        Verdict::Undecided(differences) => differences.iter().map(|it| format!("undecided {it}")).collect(),
    }
}

#[test]
fn every_difference_is_told_with_its_witness() {
    let old = json!({ "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "integer" } } });
    let new = json!({
        "type": "object", "required": ["c"],
        "properties": { "a": { "type": "string", "maxLength": 3 }, "b": { "type": "integer", "minimum": 0 } },
    });
    let told = told(&old, &new);
    assert!(
        told.iter().any(|it| it.starts_with("at the top: \"c\" is a required property (rule /required)")),
        "{told:#?}"
    );
    assert!(told.iter().any(|it| it.contains("at /a: ") && it.contains("\"aaaa\"")), "{told:#?}");
    assert!(told.iter().any(|it| it.contains("at /b: ") && it.contains("-1")), "{told:#?}");
    assert_eq!(verdict(&new, &old), Verdict::Compatible);
}

#[test]
fn recursive_schemas_come_to_an_end() {
    let tree = |leaf: Value| {
        json!({ "$ref": "#/$defs/t", "$defs": { "t": {
        "type": "object", "required": ["leaf"],
        "properties": { "leaf": leaf, "children": { "type": "array", "items": { "$ref": "#/$defs/t" } } },
    } } })
    };
    let (whole, any) = (tree(json!({ "type": "integer" })), tree(json!({ "type": "number" })));
    assert_eq!(verdict(&whole, &whole), Verdict::Compatible);
    assert_eq!(verdict(&whole, &any), Verdict::Compatible);
    assert!(matches!(verdict(&any, &whole), Verdict::Breaking(_)));
    // Nothing finite fits the giver, so nothing that it gives is refused.
    let endless = json!({ "type": "object", "required": ["next"], "properties": { "next": { "$ref": "#" } } });
    assert_eq!(verdict(&endless, &json!(false)), Verdict::Compatible);
}

#[test]
fn rules_that_are_not_taken_apart_are_equal_or_undecided_or_found_out() {
    let pattern = |it: &str| json!({ "type": "string", "pattern": it });
    assert_eq!(verdict(&pattern("^a+$"), &pattern("^a+$")), Verdict::Compatible);
    assert!(matches!(verdict(&pattern("^[ab]+$"), &pattern("^a+$")), Verdict::Breaking(_)));
    assert_eq!(
        told(&pattern("^a+$"), &pattern("^[ab]+$")),
        ["undecided at the top: whether this rule lets less through was not decided (rule pattern)"]
    );
    let contains = |it: Value| json!({ "type": "array", "contains": it });
    assert_eq!(verdict(&contains(json!({ "const": 1 })), &contains(json!({ "const": 1 }))), Verdict::Compatible);
    assert!(matches!(verdict(&json!({ "type": "array" }), &contains(json!({ "const": 1 }))), Verdict::Breaking(_)));
    let unique = json!({ "type": "array", "items": { "type": "integer" }, "uniqueItems": true });
    let plain = json!({ "type": "array", "items": { "type": "integer" } });
    assert_eq!(verdict(&unique, &plain), Verdict::Compatible);
    assert_eq!(told(&plain, &unique).len(), 1);
}

#[test]
fn numbers_are_exact() {
    let of = |it: Value| json!({ "type": "number", "multipleOf": it });
    assert_eq!(verdict(&of(json!(0.01)), &of(json!(0.001))), Verdict::Compatible);
    assert!(matches!(verdict(&of(json!(0.01)), &of(json!(0.1))), Verdict::Breaking(_)));
    assert_eq!(verdict(&of(json!(6)), &json!({ "allOf": [of(json!(2)), of(json!(3))] })), Verdict::Compatible);
    let between = json!({ "type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2 });
    assert_eq!(verdict(&between, &json!(false)), Verdict::Compatible, "there is no integer between");
    assert_eq!(
        verdict(&json!({ "type": "integer", "minimum": 1, "maximum": 3 }), &json!({ "enum": [1, 2, 3.0] })),
        Verdict::Compatible
    );
}

#[test]
fn disjoint_is_said_only_if_it_is_certain() {
    let apart = |a: Value, b: Value| disjoint(&Contract::new(a), &Contract::new(b));
    assert!(apart(json!({ "type": "string" }), json!({ "type": ["integer", "null"] })));
    assert!(apart(
        json!({ "type": "object", "additionalProperties": false }),
        json!({ "type": "object", "required": ["a"] })
    ));
    assert!(!apart(json!({ "type": "number" }), json!({ "type": "integer" })));
    assert!(
        !apart(json!({ "pattern": "^a" }), json!({ "pattern": "^b", "type": "string" })),
        "it is so, but nobody knows"
    );
}

#[test]
fn what_would_take_for_ever_is_undecided() {
    // Each of 40 pairs of fields has one of two: 2^40 combinations, and each has 40 fields.
    let either = |n: usize| json!({ "oneOf": [{ "required": [format!("a{n}")] }, { "required": [format!("b{n}")] }] });
    let many = json!({ "type": "object", "allOf": (0..40).map(either).collect::<Vec<_>>() });
    let expected = ["undecided at the top: whether this rule lets less through was not decided (rule steps)"];
    assert_eq!(told(&many, &json!({ "minProperties": 40 })), expected);
    assert!(matches!(verdict(&many, &json!({ "minProperties": 41 })), Verdict::Breaking(_)));
}
