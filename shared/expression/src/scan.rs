//! Finding `${…}` in a string, and weighing an expression before it is parsed.
//!
//! Both walk CEL's own tokens, so that a brace inside a string literal, a comment or a nested map is not mistaken for
//! the end of an expression.

use cel::parser::pratt_parser::{Lexer, Token, TokenKind};
use kapelle_types::limits::EXPRESSION_DEPTH_MAX;

/// A part of a template string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text as it is, with `$${` already turned into `${`.
    Text(String),
    /// What stands between `${` and its `}`.
    Expression(&'a str),
}

/// A `${` that is never closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unclosed<'a> {
    /// What follows the `${`.
    pub(crate) rest: &'a str,
}

/// Splits a template string into text and expressions. `$${` stands for a literal `${`.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Unclosed<'_>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = closing_brace(inside).ok_or(Unclosed { rest: inside })?;
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Expression(&inside[..end]));
        rest = &inside[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// The position of the `}` that closes the `${` before `inside`.
fn closing_brace(inside: &str) -> Option<usize> {
    let mut open = 0usize;
    for token in tokens(inside) {
        match token.kind {
            TokenKind::TokLeftBrace => open += 1,
            TokenKind::TokRightBrace if open == 0 => return Some(token.start),
            TokenKind::TokRightBrace => open -= 1,
            _ => {}
        }
    }
    None
}

/// The tokens of a source, without white space and comments. A character that is no token is skipped: the parser says
/// what is wrong with it.
pub(crate) fn tokens(source: &str) -> impl Iterator<Item = Token> + '_ {
    let mut lexer = Lexer::new(source);
    let mut last_end = 0;
    std::iter::from_fn(move || {
        loop {
            let token = lexer.lex();
            match token.kind {
                TokenKind::TokEnd => return None,
                TokenKind::TokWhitespace | TokenKind::TokComment => {}
                // An error that does not move on would be found for ever.
                TokenKind::TokError if token.end <= last_end => return None,
                _ => {
                    last_end = token.end;
                    return Some(token);
                }
            }
            last_end = token.end;
        }
    })
}

/// Why a source is refused before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooDeep {
    /// Where it becomes too deep.
    pub(crate) offset: usize,
}

/// Operators, dots and the like in one chain (`a.b.c`, `a + b + c`, `!!!a`): each is a level of the syntax tree. The
/// parser, the copies it makes while expanding macros and the tree's destructor recurse over them and know no bound, so
/// this one is set before; the exact one, `EXPRESSION_DEPTH_MAX`, is checked on the tree. 512 levels took less than a
/// quarter of a 2 MiB stack.
const CHAIN_MAX: usize = 512;

/// Refuses what the parser should not even see: brackets or conditionals nested too deep, chains too long.
pub(crate) fn weigh(source: &str) -> Result<(), TooDeep> {
    let depth_max = EXPRESSION_DEPTH_MAX as usize;
    // For every open bracket: links of its chain since the last comma, and conditionals among them.
    let mut open = vec![(0usize, 0usize)];
    let (mut links, mut questions) = (0usize, 0usize);
    for token in tokens(source) {
        match token.kind {
            TokenKind::TokLeftParen | TokenKind::TokLeftBracket | TokenKind::TokLeftBrace => {
                count(&mut open, &mut links);
                open.push((0, 0));
            }
            TokenKind::TokRightParen | TokenKind::TokRightBracket | TokenKind::TokRightBrace if open.len() > 1 => {
                let (group_links, group_questions) = open.pop().unwrap_or_default();
                links -= group_links;
                questions -= group_questions;
            }
            TokenKind::TokComma => {
                if let Some((group_links, group_questions)) = open.last_mut() {
                    links -= std::mem::take(group_links);
                    questions -= std::mem::take(group_questions);
                }
            }
            TokenKind::TokQuestion => {
                count(&mut open, &mut links);
                questions += 1;
                if let Some(group) = open.last_mut() {
                    group.1 += 1;
                }
            }
            kind if deepens(kind) => count(&mut open, &mut links),
            _ => {}
        }
        if open.len() > depth_max + 1 || links > CHAIN_MAX || questions > depth_max {
            return Err(TooDeep { offset: token.start });
        }
    }
    Ok(())
}

fn count(open: &mut [(usize, usize)], links: &mut usize) {
    *links += 1;
    if let Some(group) = open.last_mut() {
        group.0 += 1;
    }
}

fn deepens(kind: TokenKind) -> bool {
    use TokenKind as T;
    matches!(
        kind,
        T::TokIn
            | T::TokDot
            | T::TokMinus
            | T::TokPlus
            | T::TokAsterisk
            | T::TokSlash
            | T::TokPercent
            | T::TokExclamation
            | T::TokEqual
            | T::TokEqualEqual
            | T::TokExclamationEqual
            | T::TokLess
            | T::TokLessEqual
            | T::TokGreater
            | T::TokGreaterEqual
            | T::TokLogicalAnd
            | T::TokLogicalOr
    )
}

/// Where a dotted name such as `steps.scroe` first stands in a source.
pub(crate) fn find(source: &str, words: &[&str]) -> Option<usize> {
    let (starts, tokens): (Vec<usize>, Vec<&str>) =
        tokens(source).filter_map(|t| Some((t.start, source.get(t.start..t.end)?))).unzip();
    let mut wanted: Vec<&str> = Vec::new();
    for word in words {
        if !wanted.is_empty() {
            wanted.push(".");
        }
        wanted.push(word);
    }
    if wanted.is_empty() {
        return None;
    }
    // A name behind a dot is a field, not what is looked for.
    let at = (0..tokens.len()).find(|&at| tokens[at..].starts_with(&wanted) && (at == 0 || tokens[at - 1] != "."))?;
    starts.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Piece::{Expression as E, Text as T};

    fn t(text: &str) -> Piece<'_> {
        T(text.to_owned())
    }

    #[test]
    fn finds_expressions() {
        for (text, want) in [
            ("", vec![t("")]),
            ("plain $ text } {", vec![t("plain $ text } {")]),
            ("${a}", vec![E("a")]),
            ("x ${a} y ${b}", vec![t("x "), E("a"), t(" y "), E("b")]),
            ("${{'a': {'b': 1}}.a}", vec![E("{'a': {'b': 1}}.a")]),
            ("${'}' + \"}\" + '''}'''}!", vec![E("'}' + \"}\" + '''}'''"), t("!")]),
            (r"${'\'}'}", vec![E(r"'\'}'")]),
            (r"${r'\'}", vec![E(r"r'\'")]),
            ("$${a} ${b}", vec![t("${a} "), E("b")]),
            ("$$${a}", vec![t("$${a}")]),
            ("${}", vec![E("")]),
            ("ä${a}ö", vec![t("ä"), E("a"), t("ö")]),
        ] {
            assert_eq!(pieces(text), Ok(want), "{text}");
        }
        for text in ["${", "${a", "x ${'}", "${{}"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn deep_sources_are_refused_and_wide_ones_are_not() {
        assert!(weigh(&"(".repeat(60)).is_err());
        assert!(weigh(&"!".repeat(1_000)).is_err());
        assert!(weigh(&"a?b:".repeat(60)).is_err());
        assert!(weigh(&format!("a{}", ".b".repeat(600))).is_err());
        assert!(weigh(&format!("[{}]", "a.b + c.d, ".repeat(300))).is_ok());
        assert!(weigh(")]}".repeat(100).as_str()).is_ok());
    }

    #[test]
    fn names_are_found_where_they_stand() {
        assert_eq!(find("'steps' + x.steps + steps . y", &["steps", "y"]), Some(20));
        assert_eq!(find("a.b", &["b"]), None);
    }
}
