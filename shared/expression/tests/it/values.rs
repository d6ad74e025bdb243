//! What expressions and templates yield, as tables.

use std::sync::Arc;

use crate::scope::Run;
use kapelle_expression::{Error, ErrorKind, Expression, Template};
use kapelle_types::{Payload, PayloadRef, Sha256};
use serde_json::{Value, json};

fn said(error: &Error) -> String {
    format!("{:?}: {}", error.kind, error.message)
}

fn value(source: &str) -> Result<Value, String> {
    let expression = Expression::compile(source).map_err(|e| said(&e))?;
    let payload = expression.evaluate(&Run::sample()).map_err(|e| said(&e))?;
    Ok(payload.value.map(|v| (*v).clone()).unwrap())
}

#[track_caller]
fn check(source: &str, want: Value) {
    assert_eq!(value(source), Ok(want), "{source}");
}

#[track_caller]
fn fails(source: &str, want: &str) {
    assert_eq!(value(source).unwrap_err(), want, "{source}");
}

#[test]
fn paths() {
    check("input.name", json!("kapelle"));
    check("${ input.nested.deep.x[1] }", json!(20));
    check(r#"input["a-b"]"#, json!(1));
    check("steps.score.output.risk", json!(0.7));
    check(r#"steps["score"].output["risk"]"#, json!(0.7));
    check("steps.review.outputs[1].licence", json!("GPL-3.0"));
    check("steps.review.status", json!("SUCCEEDED"));
    check("item.id", json!("a"));
    check("index", json!(7));
    check("run.id", json!("0199c0de-0000-7000-8000-000000000001"));
    check("run.started_at", json!("2026-11-18T11:06:40.123Z"));
}

#[test]
fn missing_fields_name_the_nearest() {
    fails("input.nmae", "Evaluation: `input` has no field `nmae`; did you mean `name`?");
    fails("input.nested.deep.y", "Evaluation: `input.nested.deep` has no field `y`; did you mean `x`?");
    fails("input.banana", "Evaluation: `input` has no field `banana`");
    fails("input.name.x", "Evaluation: `input.name` is a string, so it has no field `x`");
    fails("steps.skipped.output.x", "Evaluation: `steps.skipped.output` is null, so it has no field `x`");
    fails(
        "steps.review.outputs[2]",
        "Evaluation: `steps.review.outputs` has 2 items, so there is no `steps.review.outputs[2]`",
    );
    fails("steps.review.output", "Evaluation: `steps.review.output` is not there: the step has no output yet");
    fails("steps.other.status == 'x'", "Evaluation: `steps.other.status` is not there: there is no such step");
    fails("input.nmae + '!'", "Evaluation: `input` has no field `nmae`; did you mean `name`?");
    fails("input.items.map(x, x.nn)", "Evaluation: there is no field `nn`");
}

#[test]
fn operators_and_functions() {
    check("input.score > 0.5 && 'billing' in input.labels", json!(true));
    check("input.labels.map(l, l + '!')", json!(["billing!", "urgent!"]));
    check("input.items.filter(x, x.n > 1)", json!([{"id": "b", "n": 2}]));
    check("input.items.exists(x, x.id == item.id)", json!(true));
    check("{'z': 1, 'a': input.none, 'm': [input.big, 1.5, -1]}", json!({"a": null, "m": [u64::MAX, 1.5, -1], "z": 1}));
    check("input.count * 2 + index", json!(13));
    check("size(steps.review.outputs)", json!(2));
    check("input.score > 0.5 ? 'high' : 'low'", json!("high"));
    check("string(input.count) + input.name", json!("3kapelle"));
    check("type(input.count) == int", json!(true));
    check("input.name.matches('^k.*e$')", json!(true));
    check("[run.started_at + duration('1h')]", json!(["2026-11-18T12:06:40.123Z"]));
    check("duration('90s')", json!("90s"));
    check("duration('-1500ms')", json!("-1.5s"));
    check("timestamp('2026-01-01T00:00:00.000000001Z')", json!("2026-01-01T00:00:00.000000001+00:00"));
    check("input.big", json!(u64::MAX));
    check("input.big - 1u", json!(u64::MAX - 1));
}

#[test]
fn objects_are_walked_in_one_order() {
    check("input.weights.map(k, k)", json!(["a", "b"]));
    check("input.weights.map(k, input.weights[k])", json!([1, 2]));
    check("{'z': 1, 'y': 2, 'x': 3}", json!({"x": 3, "y": 2, "z": 1}));
    fails(
        "{'a': 1, 'b': 2}.map(k, k)",
        "Evaluation: `+` does not work on map and list; an object that is not a plain path cannot be walked or added to",
    );
    check("[3, 1, 2].filter(x, x > 1)", json!([3, 2]));
    check("(input.on ? input.labels : []).map(l, size(l))", json!([7, 6]));
}

#[test]
fn presence() {
    check("has(input.name)", json!(true));
    check("has(input.nope) ? 1 : 2", json!(2));
    check("has(steps.skipped.output.risk)", json!(false));
    check("has(steps.skipped.output.a.b)", json!(false));
    check("!has(steps.score.output.risk) || steps.score.output.risk > 0.5", json!(true));
    check("input.items.all(x, has(x.id))", json!(true));
    check("has(steps.score.output) && has(steps.skipped.output)", json!(true));
    check("has(steps.nowhere.output) ? steps.nowhere.output.risk : 0", json!(0));
    check("has(steps.nowhere.outputs) || has(steps.score.outputs)", json!(false));
    fails("has(input.nope.x)", "Evaluation: `input` has no field `nope`; did you mean `none`?");
    fails("has(input.name.x)", "Evaluation: `input.name` is a string, so it has no fields");
    check("input.nope == 1 || input.on", json!(true));
}

#[test]
fn failures_are_errors_in_words() {
    fails("1 / 0", "Evaluation: division by zero");
    fails("1 % 0", "Evaluation: remainder of a division by zero");
    fails("9223372036854775807 + 1", "Evaluation: the result of `+` is out of range");
    fails("-9223372036854775808 / -1", "Evaluation: the result of `/` is out of range");
    fails("-9223372036854775808 % -1", "Evaluation: the result of `%` is out of range");
    fails("-(-9223372036854775807 - 1)", "Evaluation: the result of `-` is out of range");
    fails("input.labels[-1]", "Evaluation: the list has no item -1");
    fails(
        "input.score + 1",
        "Evaluation: `+` does not work on double and int; convert one of them: `double(x)`, `int(x)`",
    );
    fails("'a' + 1", "Evaluation: `+` does not work on string and int; convert with `string(x)`");
    fails("input.name > 1", "Evaluation: `>` does not work on string and int");
    fails("1.0 / 0.0", "Evaluation: the expression yields inf, which JSON does not have");
    fails("b'abc'", "Evaluation: the expression yields bytes, which JSON does not have; use `string(…)`");
    fails("{1: 'a'}", "Evaluation: the expression yields a map whose keys are not strings, which JSON does not have");
    fails("type(1)", "Evaluation: the expression yields type, which JSON does not have; use `string(…)`");
    fails("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "Evaluation: the result of `+` is out of range");
    fails("duration('x')", "Evaluation: `duration` takes text such as `90s`, `1h30m` or `250ms`, up to 292 years");
    fails("timestamp('x')", "Evaluation: `timestamp`: premature end of input");
    fails("input.count.map(x, x)", "Evaluation: only a list or an object can be walked, not int");
}

#[test]
fn unknown_names_are_refused_before_a_run() {
    fails("inptu.a", "Reference: there is no `inptu`; did you mean `input`?");
    fails(
        "banana",
        "Reference: there is no `banana`; there are `input`, `steps`, `item`, `index`, `run`, `output`, `last`, `round`",
    );
    fails("steps.score.outptu", "Reference: there is no `steps.score.outptu`; did you mean `steps.score.output`?");
    fails("steps.score", "Reference: write what of the step is meant: `steps.score.output`, `.outputs` or `.status`");
    fails(
        "steps[input.name].output",
        "Reference: `steps` cannot be used as a value; name the step: `steps.<id>.output`",
    );
    fails("size(steps)", "Reference: `steps` cannot be used as a value; name the step: `steps.<id>.output`");
    fails("run.idd", "Reference: there is no `run.idd`; did you mean `run.id`?");
    fails("run", "Reference: `run` has three fields: `run.id`, `run.started_at` and `run.error`");
    fails("run.error", "Reference: write what of the error is meant: `run.error.code` or `run.error.message`");
    fails("index.x", "Reference: `index` is a number and has no fields");
    fails("steps.a.status.x", "Reference: `steps.a.status` is a string and has no fields");
    fails(
        "input.labels.map(l, m)",
        "Reference: there is no `m`; there are `input`, `steps`, `item`, `index`, `run`, `output`, `last`, `round`",
    );
    fails(
        "l + input.labels.map(l, l)",
        "Reference: there is no `l`; there are `input`, `steps`, `item`, `index`, `run`, `output`, `last`, `round`",
    );
    fails(
        "string",
        "Reference: there is no `string`; there are `input`, `steps`, `item`, `index`, `run`, `output`, `last`, `round`",
    );
    fails("Foo{a: 1}", "Reference: there is no message type `Foo`; write a map: `{'name': value}`");
    fails(
        "steps['sign-off'].output",
        "Reference: `sign-off` cannot be the id of a step: it starts with a lower-case letter and goes on with lower-case letters, digits and `_`",
    );
}

#[test]
fn references_are_the_longest_static_paths() {
    let references = |source: &str| -> Vec<String> {
        Expression::compile(source).unwrap().references().iter().map(ToString::to_string).collect()
    };
    assert_eq!(references("input.a.b"), ["input.a.b"]);
    assert_eq!(references("input.a[index].b + input.a"), ["input.a", "index"]);
    assert_eq!(references("has(input.a.b) && steps.x.output.c > 1"), ["input.a", "steps.x.output.c"]);
    assert_eq!(references("steps.x.outputs.filter(o, o.a == item.b)"), ["steps.x.outputs", "item.b"]);
    assert_eq!(references("1 + 1"), [""; 0]);
}

#[test]
fn whole_roots_keep_their_payload() {
    let stored = PayloadRef { sha256: Sha256::of(b"x"), size_bytes: 1 };
    let mut run = Run::sample();
    let arc = Arc::new(json!([true, {"a": 1}]));
    run.input = Payload { value: Some(arc.clone()), stored: Some(stored) };
    for payload in [
        Expression::compile("${input}").unwrap().evaluate(&run).unwrap(),
        Template::compile(&json!("${input}")).unwrap().evaluate(&run).unwrap(),
    ] {
        assert!(Arc::ptr_eq(payload.value.as_ref().unwrap(), &arc));
        assert_eq!(payload.stored, Some(stored));
    }
    run.input = Payload::reference(stored);
    assert_eq!(Expression::compile("input").unwrap().evaluate(&run).unwrap(), run.input);
    for source in ["input.a", "size(input)", "has(input.a)"] {
        let error = Expression::compile(source).unwrap().evaluate(&run).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Missing, "{source}: {error}");
        assert!(error.message.contains("payload of `input`"), "{error}");
    }
    assert_eq!(Expression::compile("input").unwrap().evaluate_bool(&run).unwrap_err().kind, ErrorKind::Missing);
    assert!(Expression::compile("index == 7 || size(input) == 1").unwrap().evaluate_bool(&run).unwrap());
}

#[test]
fn conditions_and_lists() {
    let run = Run::sample();
    let compile = |source| Expression::compile(source).unwrap();
    assert!(compile("input.on").evaluate_bool(&run).unwrap());
    assert!(compile("input.count == 3").evaluate_bool(&run).unwrap());
    let said_of = |source| said(&compile(source).evaluate_bool(&run).unwrap_err());
    assert_eq!(said_of("input.name"), "Evaluation: the condition yields a string instead of true or false");
    assert_eq!(said_of("input.count + 1"), "Evaluation: the condition yields int instead of true or false");
    let list = compile("input.labels").evaluate_list(&run, 2).unwrap();
    assert_eq!(list, [Payload::inline(json!("billing")), Payload::inline(json!("urgent"))]);
    assert_eq!(compile("input.labels.map(l, size(l))").evaluate_list(&run, 2).unwrap().len(), 2);
    assert_eq!(compile("input.labels").evaluate_list(&run, 1).unwrap_err().kind, ErrorKind::Bound);
    let error = compile("input.name").evaluate_list(&run, 1).unwrap_err();
    assert_eq!(said(&error), "Evaluation: the expression yields a string instead of a list");
}

#[test]
fn templates() {
    let check = |template: Value, want: Value| {
        let template = Template::compile(&template).unwrap();
        assert_eq!(*template.evaluate(&Run::sample()).unwrap().value.unwrap(), want);
    };
    check(json!({"a": "${input.count}", "b": ["x", "${item}"]}), json!({"a": 3, "b": ["x", {"id": "a"}]}));
    check(
        json!("${input.name}-${index}: ${input.score}, ${input.on}, ${input.none}"),
        json!("kapelle-7: 0.9, true, null"),
    );
    check(json!("labels ${input.labels} of ${item}"), json!(r#"labels ["billing","urgent"] of {"id":"a"}"#));
    check(json!("$${input.name} is ${'}'}"), json!("${input.name} is }"));
    check(json!({"$${k}": "${1 + 1}"}), json!({"${k}": 2}));
    check(json!([null, 1, {"deep": [true]}]), json!([null, 1, {"deep": [true]}]));
    check(json!("${{'a': {'b': 1}}}"), json!({"a": {"b": 1}}));
}

#[test]
fn a_constant_template_is_built_once() {
    let template = Template::compile(&json!({"a": [1, "x"]})).unwrap();
    let (one, two) = (template.evaluate(&Run::sample()).unwrap(), template.evaluate(&Run::sample()).unwrap());
    assert!(Arc::ptr_eq(&one.value.unwrap(), &two.value.unwrap()));
}

#[test]
fn template_errors_have_a_place() {
    let errors = Template::compile(&json!({"a/b": ["ok", "${1 +}"], "c": "x ${inptu} ${nope", "${d}": 1})).unwrap_err();
    let said: Vec<_> = errors.iter().map(|e| format!("{} `{}`: {}", e.pointer, e.source_text, e.message)).collect();
    assert_eq!(
        said,
        [
            "/a~1b/1 `1 +`: the expression ends where a value is expected",
            "/c `nope`: this `${` is never closed: a `}` is missing; a literal `${` is written `$${`",
            "/${d} `${d}`: the name of a field cannot be an expression; a literal `${` is written `$${`",
        ]
    );
    let template = Template::compile(&json!({"a": ["${input.nmae}"]})).unwrap();
    let error = template.evaluate(&Run::sample()).unwrap_err();
    assert_eq!((error.pointer.as_str(), error.source_text.as_str()), ("/a/0", "input.nmae"));
    assert_eq!(template.references()[0].to_string(), "input.nmae");
}

#[test]
fn equal_by_source() {
    assert_eq!(Expression::compile("${ input.a }"), Expression::compile("input.a"));
    assert_ne!(Expression::compile("input.a"), Expression::compile("input.b"));
    assert_eq!(Template::compile(&json!("x")), Template::compile(&json!("x")));
}
