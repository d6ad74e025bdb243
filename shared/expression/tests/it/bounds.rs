//! Every source and every value gives a value or an error: no panic, no overflow, no bomb.

use crate::scope::Run;
use kapelle_expression::{ErrorKind, Expression, Template};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Runs `test` with the stack of an ordinary thread.
fn small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(test).unwrap().join().unwrap();
}

fn try_all(source: &str, run: &Run) {
    if let Ok(expression) = Expression::compile(source) {
        let _ = expression.evaluate(run);
        let _ = expression.evaluate_bool(run);
        let _ = expression.evaluate_list(run, 100);
    }
    if let Ok(template) = Template::compile(&json!({"a": [source], "b": format!("x ${{{source}}}")})) {
        let _ = template.evaluate(run);
    }
}

#[test]
fn deep_and_long_sources_fit_a_small_stack() {
    small_stack(|| {
        let run = Run::sample();
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{'a':", "1", "}"),
            ("!", "true", ""),
            ("-", "1", ""),
            ("!-", "1", ""),
            ("1+", "1", ""),
            ("", "input", ".a"),
            ("", "input", "[0]"),
            ("", "input.labels", ".map(x,x)"),
            ("", "input.labels", ".filter(x,true)"),
            ("true?1:", "1", ""),
            ("(true?", "1", ":1)"),
            ("size(", "input", ")"),
            ("[1].map(x,", "1", ")"),
            ("[1].all(x,", "true", ")"),
            ("has(", "input.a", ")"),
            ("true&&", "true", ""),
            ("1 in ", "[1]", ""),
            ("'a'+", "'a'", ""),
        ] {
            for times in [1, 10, 40, 47, 48, 49, 60, 200, 500, 512, 1_000, 4_000] {
                let source = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
                try_all(&source, &run);
                try_all(&format!("({source}).map(x, x)"), &run);
            }
        }
    });
}

#[test]
fn deep_values_fit_a_small_stack() {
    small_stack(|| {
        for depth in [1, 100, 126, 127, 128, 129, 1_000] {
            let value =
                (0..depth).fold(json!(1), |inner, at| if at % 2 == 0 { json!([inner]) } else { json!({"a": inner}) });
            let run = Run::new(value, json!({}));
            for source in ["input", "[input]", "input == input", "{'x': [input]}"] {
                let evaluated = Expression::compile(source).unwrap().evaluate(&run);
                if source != "input"
                    && let Ok(payload) = evaluated
                {
                    let text = serde_json::to_string(&payload.value).unwrap();
                    assert!(serde_json::from_str::<Value>(&text).is_ok(), "{depth} {source}");
                }
            }
            let template = Template::compile(&json!({"a": "${input}", "b": "${input} "})).unwrap();
            if let Ok(payload) = template.evaluate(&run) {
                let text = serde_json::to_string(&payload.value).unwrap();
                assert!(serde_json::from_str::<Value>(&text).is_ok(), "{depth} template");
            } else {
                assert!(depth > 125, "{depth}");
            }
        }
    });
}

#[track_caller]
fn refused(source: &str, input: Value) {
    let error = match Expression::compile(source) {
        Err(error) => error,
        Ok(expression) => expression.evaluate(&Run::new(input, json!({}))).unwrap_err(),
    };
    assert_eq!(error.kind, ErrorKind::Bound, "{source}: {error}");
}

#[test]
fn bombs_are_refused() {
    let list = json!({"list": (0..10_000).collect::<Vec<_>>(), "text": "x".repeat(1_000_000)});
    refused("input.list.map(a, input.list.map(b, a + b))", json!({}));
    refused("input.list.map(x, input.list)", list.clone());
    refused("input.list.map(x, input.list + [x])", list.clone());
    refused("input.list.map(x, {'a': [input.list]})", list.clone());
    refused("input.list.map(x, input.text + 'a')", list.clone());
    refused("input.list.map(x, string(input.text))", list.clone());
    refused(&format!("[{}]", "input.text+input.text,".repeat(150)), list.clone());
    refused("(input.list + input.list).exists(x, x == 1)", list.clone());
    refused("input.exists(x, x == 1)", json!((0..10_001).collect::<Vec<_>>()));
    refused("[input][0].exists(x, x == 1)", json!((0..10_001).collect::<Vec<_>>()));
    let text = Template::compile(&json!(vec!["${input.text}"; 20])).unwrap();
    assert_eq!(text.evaluate(&Run::new(list.clone(), json!({}))).unwrap_err().kind, ErrorKind::Bound);
    // What people do write is not.
    let run = Run::new(list, json!({}));
    for source in [
        "input.list.map(x, {'n': x, 'even': x % 2 == 0, 'label': 'no ' + string(x)})",
        "input.list.filter(x, x > 9000).map(x, x + 1)",
        "input.list.map(x, input.list[x])",
        "input.list.exists(x, size(input.text) == x)",
        "input.text + input.text",
    ] {
        assert!(Expression::compile(source).unwrap().evaluate(&run).is_ok(), "{source}");
    }
}

/// What sources are made of, one a space; `␣` is a space itself.
const WORDS: &str = r#"
    input steps item index run . . .name .output .labels .items [ ] ( ) { } , : ? + - * / % ! && || == < ␣in␣ 'a' " ' 0 -1
    1u 9223372036854775807 1.5 1e308 null true x .map(x, .filter(x, .all(x, has( size( string( int( uint( double(
    timestamp( duration( '2026-01-01T00:00:00Z' '9h' type( b'a' [1,2,3] {'a':1} ${ $${ } r' ''' \ // ä `
    .getHours('-23:59') .getFullYear() .matches('a+')
"#;

fn words() -> impl Strategy<Value = String> {
    let words: Vec<String> = WORDS.split_whitespace().map(|word| word.replace('␣', " ")).collect();
    prop::collection::vec(prop::sample::select(words), 0..30).prop_map(|words| words.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,3}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_source_is_a_value_or_an_error(source in any::<String>()) {
        try_all(&source, &Run::sample());
    }

    #[test]
    fn any_words_are_a_value_or_an_error(source in words(), input in json_value()) {
        try_all(&source, &Run::new(input, Run::sample().rest));
    }

    #[test]
    fn any_template_is_a_value_or_an_error(template in json_value(), input in json_value()) {
        if let Ok(template) = Template::compile(&template) {
            let _ = template.evaluate(&Run::new(input, json!({})));
        }
    }

    #[test]
    fn json_survives_cel(input in json_value()) {
        let run = Run::new(json!({"v": input.clone()}), json!({}));
        let through = Expression::compile("[input.v][0]").unwrap().evaluate(&run).unwrap();
        prop_assert_eq!(&*through.value.unwrap(), &input);
    }

    #[test]
    fn the_same_evaluation_twice_is_the_same(source in words(), input in json_value()) {
        if let Ok(expression) = Expression::compile(&source) {
            let run = Run::new(input, json!({}));
            let text = |result: Result<kapelle_types::Payload, _>| {
                result.map(|payload| serde_json::to_string(&payload.value).unwrap())
            };
            prop_assert_eq!(text(expression.evaluate(&run)), text(expression.evaluate(&run)));
        }
    }
}
