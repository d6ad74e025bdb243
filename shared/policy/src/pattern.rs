//! Subjects with wildcards, as the broker matches them.

/// Whether a pattern covers a subject: `*` is one token, `>` is one or more at the end.
#[must_use]
pub fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(token), Some(other)) if token == "*" || token == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn patterns_cover_what_the_broker_lets_them_cover() {
        for (pattern, subject) in [("a.b", "a.b"), ("a.*", "a.b"), ("a.*.c", "a.b.c"), ("a.>", "a.b.c"), (">", "a")] {
            assert!(covers(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in
            [("a.b", "a"), ("a", "a.b"), ("a.*", "a.b.c"), ("a.>", "a"), ("a.*", "b.b"), ("*", "")]
        {
            assert_eq!(covers(pattern, subject), pattern == "*", "{pattern} {subject}");
        }
    }
}
