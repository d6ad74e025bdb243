//! Texts that keep some rules, and examples of what a pattern matches.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::rules::Rules;

/// Characters of a text that is made up.
const CHARS_MAX: u64 = 10_000;
/// Examples of one pattern: enough for its alternatives and for lengths near its bounds.
const EXAMPLES_MAX: usize = 24;
/// Bytes of one character at most.
const BYTES_A_CHAR: u64 = 4;
/// Repetitions inside each other: patterns nest a few levels deep.
const NESTING_MAX: usize = 32;

/// What is known of the texts that fulfil some rules.
#[derive(Debug)]
pub(super) enum Texts {
    /// There is none.
    None,
    /// These are worth a try; without patterns one of them fits.
    Some(Vec<String>),
    /// More is not known, because of this rule.
    Unsure(&'static str),
}

/// Texts that fulfil the rules, as far as these can be taken apart.
pub(super) fn texts(rules: &Rules<'_>) -> Texts {
    let (min, max) = (rules.length.min, rules.length.max);
    if min > CHARS_MAX {
        return Texts::Unsure("minLength");
    }
    let min = usize::try_from(min).unwrap_or(usize::MAX);
    let fits = |text: &String| {
        let len = text.chars().count();
        len >= min && len as u64 <= max && !rules.excluded.iter().any(|it| it.as_str() == Some(text))
    };
    let plain = plain(min, rules.excluded.iter().filter_map(|it| it.as_str()).count());
    if rules.patterns.is_empty() && rules.no_patterns.is_empty() {
        return plain.into_iter().find(fits).map_or(Texts::None, |text| Texts::Some(vec![text]));
    }
    if rules.patterns.iter().any(|pattern| least(pattern) as u64 > max.saturating_mul(BYTES_A_CHAR)) {
        return Texts::None;
    }
    let mut found: Vec<String> = rules.patterns.iter().flat_map(|pattern| examples(pattern, min)).collect();
    found.extend(plain);
    found.extend(["A", "0", "-", " ", "é"].map(|it| it.repeat(min.max(1))));
    found.retain(fits);
    Texts::Some(found)
}

/// The empty text, and more different texts of the least length than are excluded.
fn plain(min: usize, excluded: usize) -> Vec<String> {
    let last = ('a'..).take(excluded + 1);
    let texts = last.map(|last| "a".repeat(min.saturating_sub(1)) + &last.to_string());
    (min == 0).then(String::new).into_iter().chain(texts).collect()
}

/// The bytes of the shortest text that a pattern matches, or less.
fn least(pattern: &str) -> usize {
    regex_syntax::parse(pattern).ok().and_then(|hir| hir.properties().minimum_len()).unwrap_or(0)
}

/// Texts that a pattern matches, most of them; whoever uses them tries them out.
pub(super) fn examples(pattern: &str, len: usize) -> Vec<String> {
    let Ok(hir) = regex_syntax::parse(pattern) else { return vec![] };
    let mut examples: Vec<String> = Vec::new();
    for (variant, pad) in (0..EXAMPLES_MAX).zip('a'..) {
        let mut text = String::new();
        // Later variants repeat more, the last of each four as often as the length asks for.
        let more = if variant % 4 == 3 { len } else { variant % 4 };
        write(&hir, variant / 4, more, 0, &mut text);
        // A pattern without an end matches whatever comes behind, which makes room for lengths and exceptions.
        let missing = len.saturating_sub(text.chars().count());
        let longer = [missing, missing.max(1)].map(|count| text.clone() + &pad.to_string().repeat(count));
        for text in [text].into_iter().chain(longer) {
            if !examples.contains(&text) {
                examples.push(text);
            }
        }
    }
    examples
}

fn write(hir: &Hir, variant: usize, more: usize, depth: usize, text: &mut String) {
    if depth > NESTING_MAX || text.len() as u64 > CHARS_MAX {
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let contains = |c: &char| class.ranges().iter().any(|it| it.start() <= *c && *c <= it.end());
            let usual: Vec<char> = ['a', '0', 'b', 'A', '1', '-', '_', ' '].into_iter().filter(contains).collect();
            let first = class.ranges().first().map(|it| it.start());
            text.extend(if usual.is_empty() { first } else { usual.get(variant % usual.len()).copied() });
        }
        HirKind::Class(Class::Bytes(_)) => {}
        HirKind::Repetition(repetition) => {
            let max = repetition.max.map_or(usize::MAX, |it| it as usize);
            for _ in 0..(repetition.min as usize).saturating_add(more).min(max).min(CHARS_MAX as usize) {
                // Repetitions inside are kept to their least, so that the whole does not grow by powers.
                write(&repetition.sub, variant, 0, depth + 1, text);
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, variant, more, depth + 1, text),
        HirKind::Concat(parts) => parts.iter().for_each(|it| write(it, variant, more, depth + 1, text)),
        HirKind::Alternation(options) => {
            if let Some(option) = options.get(variant % options.len().max(1)) {
                write(option, variant, more, depth + 1, text);
            }
        }
    }
}
