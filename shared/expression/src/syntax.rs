//! From source to syntax tree: the one place that knows the parser.
//!
//! `cel`'s default parser overflows a 2 MiB stack at a dozen nested parentheses; its Pratt parser does not, but is not
//! public API, so the version is pinned and nothing else names it. Bounds are checked before parsing (`scan::weigh`)
//! and, exactly, on the tree.

use cel::common::ast::{EntryExpr, Expr};
use cel::parser::PrattParser;
use cel::{IdedExpr, ParseError};
use kapelle_types::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX};

use crate::{Error, ErrorKind, scan};

/// Parses one expression, without its `${ }`.
pub(crate) fn parse(source: &str) -> Result<IdedExpr, Error> {
    if source.len() > EXPRESSION_BYTES_MAX {
        let message = format!("the expression is {} bytes long, {EXPRESSION_BYTES_MAX} are allowed", source.len());
        let cut = source.char_indices().map(|(at, _)| at).take_while(|at| *at <= 80).last().unwrap_or(0);
        return Err(Error::new(ErrorKind::Bound, &source[..cut], message));
    }
    if source.trim().is_empty() {
        return Err(Error::new(ErrorKind::Syntax, source, "the expression is empty").at(Some(0)));
    }
    scan::weigh(source).map_err(|deep| too_deep(source).at(Some(deep.offset)))?;
    let tree = PrattParser::new()
        .max_recursion_depth(u16::try_from(EXPRESSION_DEPTH_MAX).unwrap_or(u16::MAX))
        .max_expression_node_count(EXPRESSION_NODES_MAX as usize)
        .parse(source)
        .map_err(|errors| translate(source, &errors.errors))?;
    measure(source, &tree)?;
    Ok(tree)
}

fn too_deep(source: &str) -> Error {
    let message = format!(
        "the expression is nested more than {EXPRESSION_DEPTH_MAX} levels deep; compute a part of it in a step"
    );
    Error::new(ErrorKind::Bound, source, message)
}

/// Checks depth and size of the tree. Not recursive: the tree may still be deeper than it may be.
fn measure(source: &str, tree: &IdedExpr) -> Result<(), Error> {
    let mut nodes = 0u32;
    let mut open = vec![(tree, 1u32)];
    while let Some((node, depth)) = open.pop() {
        nodes += 1;
        if nodes > EXPRESSION_NODES_MAX {
            let message = format!("the expression has more than {EXPRESSION_NODES_MAX} parts");
            return Err(Error::new(ErrorKind::Bound, source, message));
        }
        if depth > EXPRESSION_DEPTH_MAX {
            return Err(too_deep(source));
        }
        children(&node.expr, |child| open.push((child, depth + 1)));
    }
    Ok(())
}

/// Calls `visit` for each direct part of an expression.
pub(crate) fn children<'e>(expr: &'e Expr, mut visit: impl FnMut(&'e IdedExpr)) {
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).for_each(visit),
        Expr::Select(select) => visit(&select.operand),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Map(map) => entries(&map.entries, visit),
        Expr::Struct(message) => entries(&message.entries, visit),
        Expr::Comprehension(it) => {
            [&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result].into_iter().for_each(visit);
        }
    }
}

fn entries<'e>(entries: &'e [cel::common::ast::IdedEntryExpr], mut visit: impl FnMut(&'e IdedExpr)) {
    for entry in entries {
        match &entry.expr {
            EntryExpr::StructField(field) => visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                visit(&entry.key);
                visit(&entry.value);
            }
        }
    }
}

/// The parser's first complaint, in words for somebody who does not know its grammar.
fn translate(source: &str, errors: &[ParseError]) -> Error {
    if errors.iter().any(|error| error.msg.contains("recursion limit")) {
        return too_deep(source);
    }
    if let Some(error) = errors.iter().find(|error| error.msg.contains("exceeds limit")) {
        let message = format!("the expression has more than {EXPRESSION_NODES_MAX} parts");
        return Error::new(ErrorKind::Bound, source, message).at(offset(source, error.pos));
    }
    let Some(error) = errors.iter().find(|error| error.pos.0 > 0).or(errors.first()) else {
        return Error::new(ErrorKind::Syntax, source, "this is not an expression");
    };
    let message = error.msg.lines().next().unwrap_or_default();
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = match message.strip_prefix("mismatched input ").and_then(|rest| rest.split_once(" expecting ")) {
        Some(("'<EOF>'" | "<EOF>", "expression")) => "the expression ends where a value is expected".to_owned(),
        Some(("<EOF>", wanted)) => format!("the expression ends where {} is expected", quoted(wanted)),
        Some((found, "<EOF>")) => format!("{} is not expected here", quoted(found)),
        Some((found, wanted)) => format!("expected {}, found {}", quoted(wanted), quoted(found)),
        None => reworded(message),
    };
    Error::new(ErrorKind::Syntax, source, message).at(offset(source, error.pos))
}

fn reworded(message: &str) -> String {
    if message.contains("has() macro") {
        return "`has` takes the field to look for: `has(input.name)`".to_owned();
    }
    if message == "unexpected token" {
        return "a value is expected here".to_owned();
    }
    if message.contains("must be a simple name") || message.contains("is not a simple name") {
        return "the first argument is the name for one item: `input.list.map(x, x.name)`".to_owned();
    }
    message.replace('\'', "`")
}

fn quoted(token: &str) -> String {
    format!("`{}`", token.trim_matches('\''))
}

/// The parser counts lines and bytes from 1.
fn offset(source: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let before: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    Some((before + column).min(source.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, want: &str) {
        let got = match parse(source) {
            Ok(_) => "ok".to_owned(),
            Err(e) => {
                format!("{:?} at {}: {}", e.kind, e.offset.map_or("?".to_owned(), |at| at.to_string()), e.message)
            }
        };
        assert_eq!(got, want, "{source}");
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        check("input.score >", "Syntax at 13: the expression ends where a value is expected");
        check("(input.a", "Syntax at 8: expected `)`");
        check("input.a b", "Syntax at 8: `b` is not expected here");
        check("size(input.a", "Syntax at 12: the expression ends where `)` is expected");
        check("input.a = 1", "Syntax at 8: `=` is not expected here");
        check("  ", "Syntax at 0: the expression is empty");
        check("has(input)", "Syntax at 4: `has` takes the field to look for: `has(input.name)`");
        check(
            "input.a.map(1, 2)",
            "Syntax at 12: the first argument is the name for one item: `input.list.map(x, x.name)`",
        );
        check("'abc", "Syntax at 0: unterminated string literal");
        check("input.\na +", "Syntax at 10: the expression ends where a value is expected");
        check("for + 1", "Syntax at 0: reserved identifier: for");
        check("1 +* 2", "Syntax at 3: a value is expected here");
    }

    #[test]
    fn bounds_hold() {
        let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
        assert_eq!(parse(&deep).unwrap_err().kind, ErrorKind::Bound);
        let chain = format!("1{}", " + 1".repeat(60));
        assert_eq!(parse(&chain).unwrap_err().kind, ErrorKind::Bound);
        let wide = format!("[{}]", "1,".repeat(2_010));
        assert_eq!(parse(&wide).unwrap_err().kind, ErrorKind::Bound);
        let long = format!("'{}'", "ä".repeat(EXPRESSION_BYTES_MAX));
        assert_eq!(parse(&long).unwrap_err().kind, ErrorKind::Bound);
        let fits = format!("[{}]", "1,".repeat(1_900));
        assert!(parse(&fits).is_ok());
        let ands = format!("input.a == 1{}", " && input.a == 1".repeat(60));
        assert!(parse(&ands).is_ok(), "a chain of conditions is a balanced tree");
    }
}
