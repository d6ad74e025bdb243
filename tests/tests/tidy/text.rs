//! Reading Markdown: prose without its code blocks, links, code spans.

/// The lines of prose, numbered from 1, without fenced code blocks and blocks indented by four.
pub(crate) fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut before_blank = true;
    let mut lines = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let indented = line.starts_with("    ") && before_blank;
        before_blank = line.trim().is_empty() || indented;
        if !fenced && !indented {
            lines.push((n + 1, line));
        }
    }
    lines
}

/// What stands between single backticks.
pub(crate) fn code_spans(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).filter(|s| !s.is_empty()).collect()
}

/// The targets of `[text](target)`; code spans are passed over.
pub(crate) fn links(line: &str) -> Vec<String> {
    let without_code: String = line.split('`').step_by(2).collect::<Vec<_>>().join("x");
    let targets = without_code.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.collect()
}

/// The fragment that a heading gets: lower case, words joined by `-`.
pub(crate) fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn markdown_is_read_as_it_is_shown() {
    let text = "See `a/b.rs`.\n\n    code `x/y.rs`\n\n```\n`z`\n```\n- [one](two.md#three) and `no [link](x)`\n";
    let prose = prose(text);
    assert_eq!(prose.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 4, 8]);
    assert_eq!(code_spans(prose[0].1), ["a/b.rs"]);
    assert_eq!(links(prose[3].1), ["two.md#three"]);
    assert_eq!(slug("## What `kill -9` costs"), "what-kill--9-costs");
}
