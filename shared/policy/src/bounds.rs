//! What a policy's text may be at most. Cedar's reader calls itself for every level of nesting and overflows the stack on
//! a text that is built for it; here such a text is refused before it is read.

use std::ops::Range;

use kapelle_types::limits::{POLICY_BYTES_MAX, POLICY_DEPTH_MAX};

/// The first place where a text exceeds a bound, with what is wrong.
pub(crate) fn exceeded(text: &str) -> Option<(Range<usize>, String)> {
    let (mut start, mut depth) = (0, 0_usize);
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => skip_string(&mut rest),
            '/' if text[at..].starts_with("//") => while rest.next().is_some_and(|(_, c)| c != '\n') {},
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' => start = at + 1,
            _ => {}
        }
        if depth > POLICY_DEPTH_MAX {
            return Some((at..at + 1, format!("brackets are nested deeper than {POLICY_DEPTH_MAX}")));
        }
        if at.saturating_sub(start) > POLICY_BYTES_MAX {
            return Some((start..start + 1, format!("a policy is longer than {POLICY_BYTES_MAX} bytes")));
        }
    }
    None
}

/// Goes on behind the string that has been opened.
fn skip_string(rest: &mut std::str::CharIndices<'_>) {
    while let Some((_, c)) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_are_brackets() {
        let deep = |open: &str| format!("permit (principal) when {{ {} }};", open.repeat(POLICY_DEPTH_MAX));
        for harmless in [
            deep("()"),
            format!("// {}\n", "(".repeat(99)),
            format!("@why(\"{}\\\"{}\")", "(".repeat(99), "[".repeat(99)),
        ] {
            assert_eq!(exceeded(&harmless), None, "{harmless}");
        }
        for open in ["(", "[", "{", "\n // (\n ["] {
            assert!(exceeded(&deep(open)).unwrap().1.contains("nested"), "{open}");
        }
    }

    #[test]
    fn a_policy_has_a_length_and_a_file_has_many() {
        let one = format!("permit (principal, action, resource); //{}\n", " ".repeat(POLICY_BYTES_MAX / 2));
        assert_eq!(exceeded(&one.repeat(100)), None);
        let long = format!("{one}permit {}", "a.".repeat(POLICY_BYTES_MAX / 2));
        assert!(exceeded(&long).unwrap().1.contains("longer"));
    }
}
