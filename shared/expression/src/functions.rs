//! The functions an expression may call: CEL's standard library, checked by name before a run.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::{Context, Env, IdedExpr, Value};

use crate::{Error, ErrorKind, nearest, scan};

/// Called as `f(x)`.
const GLOBAL: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "has",
    "int",
    "matches",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
];
/// Called as `x.f(y)`.
const MEMBER: &[&str] = &[
    "all",
    "contains",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "map",
    "matches",
    "size",
    "startsWith",
];
/// Macros: a call of one that is left after parsing has the wrong number of arguments.
const MACROS: &[(&str, &str)] = &[
    ("all", "input.list.all(x, x.ok)"),
    ("exists", "input.list.exists(x, x.ok)"),
    ("exists_one", "input.list.exists_one(x, x.ok)"),
    ("filter", "input.list.filter(x, x.ok)"),
    ("has", "has(input.name)"),
    ("map", "input.list.map(x, x.name)"),
];
/// Bytes of a regular expression: it is compiled anew each time it is used.
const PATTERN_BYTES_MAX: usize = 256;

/// CEL's standard library without optional values, built once.
pub(crate) fn library() -> Arc<Env> {
    static LIBRARY: LazyLock<Arc<Env>> =
        LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));
    Arc::clone(&LIBRARY)
}

/// Checks that a call's function exists. `walking` says whether the call stands inside a comprehension.
pub(crate) fn check(source: &str, call: &CallExpr, walking: bool) -> Result<(), Error> {
    let name = call.func_name.as_str();
    let is_operator = !name.starts_with('.') && name.chars().any(|c| !c.is_ascii_alphanumeric() && c != '_');
    if is_operator {
        return Ok(());
    }
    let known = if call.target.is_some() { MEMBER } else { GLOBAL };
    if let Some((_, usage)) = MACROS.iter().find(|(is, _)| *is == name).filter(|_| known.contains(&name)) {
        let message = format!("`{name}` is called like this: `{usage}`");
        return Err(Error::new(ErrorKind::Reference, source, message).at(find(source, name)));
    }
    if known.contains(&name) {
        return if name == "matches" { check_pattern(source, call, walking) } else { Ok(()) };
    }
    let other = if call.target.is_some() { GLOBAL } else { MEMBER };
    let way_out = if other.contains(&name) {
        let usage = if call.target.is_some() { format!("{name}(x)") } else { format!("x.{name}(…)") };
        format!("; it is called as `{usage}`")
    } else {
        nearest(name, known.iter().chain(other).copied()).map_or(String::new(), |it| format!("; did you mean `{it}`?"))
    };
    let message = format!("there is no function `{name}`{way_out}");
    Err(Error::new(ErrorKind::Reference, source, message).at(find(source, name)))
}

/// Where a function is called: its name, be it a member or not.
fn find(source: &str, name: &str) -> Option<usize> {
    scan::tokens(source).find(|token| source.get(token.start..token.end) == Some(name)).map(|token| token.start)
}

/// A pattern is a literal, so that what is wrong with it is known before a run and no payload chooses what is compiled.
fn check_pattern(source: &str, call: &CallExpr, walking: bool) -> Result<(), Error> {
    let fail = |kind, message: String| Err(Error::new(kind, source, message).at(find(source, "matches")));
    let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|argument| &argument.expr) else {
        return fail(ErrorKind::Bound, "the pattern of `matches` is a string literal".to_owned());
    };
    if pattern.inner().len() > PATTERN_BYTES_MAX {
        return fail(ErrorKind::Bound, format!("the pattern of `matches` is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    if walking && pattern.inner().contains('{') {
        let message = "a pattern with counted repetition (`{…}`) is too slow to be used for each item of a list";
        return fail(ErrorKind::Bound, message.to_owned());
    }
    let literal = |text: &str| IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(text.to_owned().into())) };
    let probe =
        CallExpr { func_name: "matches".to_owned(), target: None, args: vec![literal(""), literal(pattern.inner())] };
    match Value::resolve(&IdedExpr { id: 0, expr: Expr::Call(probe) }, &Context::with_env(library())) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let cause = text.lines().rfind(|line| line.starts_with("error:")).unwrap_or("error: it cannot be compiled");
            fail(ErrorKind::Syntax, format!("`{}` is not a regular expression: {}", pattern.inner(), &cause[7..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expression;

    #[test]
    fn every_listed_function_exists() {
        for name in GLOBAL.iter().chain(MEMBER).filter(|name| MACROS.iter().all(|(is, _)| is != *name)) {
            let listed_twice = GLOBAL.contains(name) && MEMBER.contains(name);
            assert!(library_knows(name), "{name}");
            assert!(!listed_twice || matches!(*name, "matches" | "size"), "{name}");
        }
    }

    fn library_knows(name: &str) -> bool {
        let call = |target| {
            let args = vec![];
            let call = CallExpr { func_name: name.to_owned(), target, args };
            Value::resolve(&IdedExpr { id: 0, expr: Expr::Call(call) }, &Context::with_env(library()))
        };
        let null = || Some(Box::new(IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) }));
        [call(None), call(null())]
            .iter()
            .any(|result| !matches!(result, Err(cel::ExecutionError::UndeclaredReference(_))))
    }

    #[track_caller]
    fn check(source: &str, want: &str) {
        let error = Expression::compile(source).unwrap_err();
        assert_eq!(format!("{:?} at {:?}: {}", error.kind, error.offset, error.message), want);
    }

    #[test]
    fn unknown_functions_are_named() {
        check("sise(input)", "Reference at Some(0): there is no function `sise`; did you mean `size`?");
        check(
            "input.a.startswith('x')",
            "Reference at Some(8): there is no function `startswith`; did you mean `startsWith`?",
        );
        check(
            "contains(input.a, 'x')",
            "Reference at Some(0): there is no function `contains`; it is called as `x.contains(…)`",
        );
        check("input.a.map(x)", "Reference at Some(8): `map` is called like this: `input.list.map(x, x.name)`");
        check("input.a.upper()", "Reference at Some(8): there is no function `upper`");
    }

    #[test]
    fn patterns_are_checked_before_a_run() {
        assert!(Expression::compile("input.a.matches('^a{1,3}$')").is_ok());
        check("input.a.matches('(')", "Syntax at Some(8): `(` is not a regular expression: unclosed group");
        check("input.a.matches(input.b)", "Bound at Some(8): the pattern of `matches` is a string literal");
        check(
            "input.a.exists(x, x.matches('a{9}'))",
            "Bound at Some(20): a pattern with counted repetition (`{…}`) is too slow to be used for each item of a list",
        );
        assert!(Expression::compile(&format!("matches(input.a, '{}')", "a".repeat(300))).is_err());
    }
}
