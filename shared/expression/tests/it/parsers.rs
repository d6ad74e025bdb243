//! The pinned Pratt parser against `cel`'s own default parser: the same source means the same.

use cel::parser::{Parser, PrattParser};
use cel::{Context, Value};

#[test]
fn both_parsers_agree() {
    for source in [
        "1 + 2 * 3 - 4 / 2 % 3",
        "-1 - -1",
        "!true || !!false && 1 < 2",
        "1 < 2 == true",
        "true ? 1 : false ? 2 : 3",
        "(true ? false : true) ? 1 : 2",
        "[1, 2, 3][1] + {'a': 4}['a']",
        "{'a': {'b': [1, 2]}}.a.b[1]",
        "'a' in ['a'] && 1 in {1: 2}",
        "[1, 2, 3].map(x, x * 2)",
        "[1, 2, 3].map(x, x > 1, x * 2)",
        "[1, 2, 3].filter(x, x > 1).all(y, y > 1)",
        "[1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x == 2)",
        "has({'a': 1}.a) && !has({'a': 1}.b)",
        "size('äöü') == 3 && 'abc'.startsWith('a')",
        r#""\u00e4\n\t\x41\101" + 'it''s' "#,
        r#""\u00e4\n\t\x41\101" + r'\n' + '''a'b''' "#,
        "0x1F + 1 == 32 && 1u + 0xFu == 16u && 1.5e3 == 1500.0",
        "-9223372036854775808 < 0",
        "b'abc' == b'\\x61bc'",
        "duration('90s') > duration('1m')",
        "timestamp('2026-11-22T00:00:00Z').getFullYear()",
        "1 + // comment\n 2",
        "a.b.c",
        "1 +",
        "[1, 2",
        "1 2",
    ] {
        let context = Context::default();
        let run = |tree: Option<cel::IdedExpr>| tree.map(|tree| format!("{:?}", Value::resolve(&tree, &context)));
        let pratt = run(PrattParser::new().parse(source).ok());
        let antlr = run(Parser::default().parse(source).ok());
        assert_eq!(pratt, antlr, "{source}");
    }
}
