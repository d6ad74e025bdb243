//! Masks what looks like a credential by the name that stands before it, whoever's it is.
//!
//! Secrets that a worker hands out are known and masked by their values (`secrets.rs`). An agent may have got others from
//! elsewhere: a session that it opened, a key in an answer. In what it writes they mostly stand behind their names, in
//! one of four forms: a field of JSON or of a dictionary, an assignment, a header, a URL. A list or an object behind such a name
//! is masked whole, whatever is in it.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands in the place of a value.
const REDACTED: &str = "[redacted]";
/// Names that credentials have, as parts of longer ones too: `X-Api-Key`, `client_secret`, `GITHUB_TOKEN`.
const NAME: &str = r"[\w.-]*(?:authorization|passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|cookie)[\w.-]*";

/// Finds a credential; the first group stays, the second is the value.
static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let forms = [
        // A field: "password": "…" with either quote, also one that was cut off before its end.
        format!(r#"(["']{NAME}["']\s*[:=]\s*)("(?:[^"\\]|\\.)*(?:"|\\?\z)|'(?:[^'\\]|\\.)*(?:'|\\?\z))"#),
        // The same inside a text that is itself quoted: \"password\": \"…\"
        format!(r#"(\\["']{NAME}\\["']\s*[:=]\s*)(\\".*?(?:\\"|\z)|\\'.*?(?:\\'|\z))"#),
        // A header, to the end of its line.
        r"((?:proxy-)?authorization:[ \t]*|(?:set-)?cookie:[ \t]*|x-[\w-]*(?:key|token|secret):[ \t]*)([^\s][^\r\n]*)"
            .to_owned(),
        // An assignment, as in an environment or a query: api_key=…
        format!(r#"(\b{NAME}=)("[^"\r\n]*"?|'[^'\r\n]*'?|[^\s&;,"'][^\s&;,"']*)"#),
        // A word before a value: password: …, and what every token of OAuth stands behind
        r#"(\b(?:password|passwd|passphrase|secret|api[_ -]?key):[ \t]+|\bbearer[ \t]+)([^\s,;"'][^\s,;"']{3,})"#
            .to_owned(),
        // The user of a URL: https://name:…@host
        r"(://[^\s/:@]*:)([^\s/@\[][^\s/@]*)(?:@)".to_owned(),
    ];
    let compiled = forms.iter().map(|form| Regex::new(&format!("(?i){form}")));
    compiled.collect::<Result<_, _>>().unwrap_or_default() // they are constants, and a test reads them all
});

/// The beginning of a field of JSON or of a dictionary that is a list or an object; the first group stays.
static NESTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // The quote may be quoted itself, and that again.
    Regex::new(&format!(r#"(?i)(\\*["']{NAME}\\*["']\s*[:=]\s*)[\[{{]"#)).ok() // it is a constant, and a test reads it
});

/// The text without values that stand behind the names of credentials.
pub(crate) fn by_name(text: &str) -> Cow<'_, str> {
    let mut redacted = without_nested(text);
    for form in FORMS.iter() {
        if form.is_match(&redacted) {
            let without = form.replace_all(&redacted, |found: &Captures<'_>| {
                let whole = found.get(0).map_or("", |m| m.as_str());
                let [before, value] = [1, 2].map(|n| found.get(n).map_or("", |m| m.as_str()));
                let after = &whole[before.len() + value.len()..];
                format!("{before}{}{after}", masked(value))
            });
            redacted = Cow::Owned(without.into_owned());
        }
    }
    redacted
}

/// The text without lists and objects that stand behind the names of credentials.
fn without_nested(text: &str) -> Cow<'_, str> {
    let Some(nested) = NESTED.as_ref().filter(|nested| nested.is_match(text)) else { return Cow::Borrowed(text) };
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    while let Some(found) = nested.captures_at(text, from) {
        let Some(name) = found.get(1) else { break };
        let escapes = name.as_str().bytes().take_while(|byte| *byte == b'\\').count();
        let quote = name.as_str().get(..=escapes).unwrap_or("\"");
        kept.push_str(text.get(from..name.end()).unwrap_or_default());
        kept.push_str(&format!("{quote}{REDACTED}{quote}"));
        from = name.end() + nested_len(text.get(name.end()..).unwrap_or_default(), escapes);
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(kept)
}

/// How many bytes the list or object at the beginning of the text has; all of them if it was cut off before its end. Its quotes
/// stand behind so many backslashes; each level of quoting doubles those that belong to what they enclose.
fn nested_len(text: &str, escapes: usize) -> usize {
    let (mut depth, mut backslashes, mut open) = (0_usize, 0_usize, None);
    for (at, byte) in text.bytes().enumerate() {
        match (byte, open) {
            (b'\\', _) => {
                backslashes += 1;
                continue;
            }
            (b'"' | b'\'', None) => open = Some(byte),
            (_, Some(quote)) if byte == quote && backslashes % (2 * (escapes + 1)) == escapes => open = None,
            (b'[' | b'{', None) => depth += 1,
            (b']' | b'}', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        backslashes = 0;
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// The mask, in the quotes that the value had, so that a line of JSON stays one.
fn masked(value: &str) -> String {
    let quote = ["\\\"", "\\'", "\"", "'"].into_iter().find(|quote| value.starts_with(quote)).unwrap_or_default();
    if ["[secret:", "[redacted]"].iter().any(|mask| value.trim_start_matches(quote).starts_with(mask)) {
        return value.to_owned(); // it is masked already, by its value
    }
    format!("{quote}{REDACTED}{quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_behind_the_names_of_credentials_are_masked_in_every_form() {
        for (text, masked) in [
            (r#"{"password": "hunter2", "user": "ada"}"#, r#"{"password": "[redacted]", "user": "ada"}"#),
            (r#"{"client_secret":"a\"b"}"#, r#"{"client_secret":"[redacted]"}"#),
            (r#"{"Authorization": "Basic YWRh"#, r#"{"Authorization": "[redacted]""#),
            ("{'X-Api-Key': 'k1', 'n': 1}", "{'X-Api-Key': '[redacted]', 'n': 1}"),
            (r#"body="{\"token\": \"t0p\"}""#, r#"body="{\"token\": \"[redacted]\"}""#),
            ("Authorization: Bearer abc.def.ghi\nHost: x", "Authorization: [redacted]\nHost: x"),
            ("Set-Cookie: sid=1; HttpOnly", "Set-Cookie: [redacted]"),
            ("x-goog-api-key: AIza", "x-goog-api-key: [redacted]"),
            ("GET /v1?api_key=k1&q=2 failed", "GET /v1?api_key=[redacted]&q=2 failed"),
            ("GITHUB_TOKEN=ghp_1 make", "GITHUB_TOKEN=[redacted] make"),
            ("DB_PASSWORD='p w' up", "DB_PASSWORD='[redacted]' up"),
            ("password: hunter2, then", "password: [redacted], then"),
            ("with Bearer eyJhbGciOi in it", "with Bearer [redacted] in it"),
            (r#"map[X-Api-Key:[k1] n:1]"#, "map[X-Api-Key:[redacted]"),
            ("postgres://ada:pw@db/x", "postgres://ada:[redacted]@db/x"),
        ] {
            assert_eq!(by_name(text), masked, "{text}");
        }
    }

    #[test]
    fn lists_and_objects_behind_the_names_of_credentials_are_masked_whole() {
        for (text, masked) in [
            (r#"{"tokens": ["t0p", "s3c"], "n": 1}"#, r#"{"tokens": "[redacted]", "n": 1}"#),
            (r#"{"credentials":{"user":"ada","pw":{"a":["x"]}},"n":[1]}"#, r#"{"credentials":"[redacted]","n":[1]}"#),
            (r#"{"secret": {"a": "]}", "b": "\"}"}, "n": 1}"#, r#"{"secret": "[redacted]", "n": 1}"#),
            (r#"{"secret": {"a": "x\\"}, "n": 1}"#, r#"{"secret": "[redacted]", "n": 1}"#),
            ("{'api_key': ['k1', 'k\"2'], 'n': 1}", "{'api_key': '[redacted]', 'n': 1}"),
            (
                r#"body="{\"token\": [\"t0\", {\"a\": \"}\"}], \"n\": 1}""#,
                r#"body="{\"token\": \"[redacted]\", \"n\": 1}""#,
            ),
            (r#"{"Set-Cookie": ["sid=1; a", "b=2"#, r#"{"Set-Cookie": "[redacted]""#),
            (
                r#"{"password": [[["hunter2"]]]} {"password": []}"#,
                r#"{"password": "[redacted]"} {"password": "[redacted]"}"#,
            ),
            (r#"{"names": ["ada"], "usage": {"n": 1}}"#, r#"{"names": ["ada"], "usage": {"n": 1}}"#),
        ] {
            assert_eq!(by_name(text), masked, "{text}");
        }
    }

    #[test]
    fn what_only_speaks_of_credentials_stays() {
        for text in [
            "SyntaxError: invalid token: }",
            r#"{"input_tokens": 512, "output_tokens": 7}"#,
            "the secret of the trade is to wait",
            "password: [secret:crm]",
            r#"{"token": "[secret:crm]"}"#,
            "unexpected token at 1:5",
            "http://127.0.0.1:8080/path",
            "12:30:59 done",
        ] {
            assert_eq!(by_name(text), text);
        }
    }

    /// Whatever an agent writes is redacted in time that grows with its length, and never makes the worker panic.
    #[test]
    fn every_form_is_a_pattern_and_any_text_is_taken() {
        assert_eq!(FORMS.len(), 6);
        assert!(NESTED.is_some());
        for text in [
            "\"password\":\"".repeat(10_000),
            "\"password\":[{".repeat(10_000),
            "token='\\".repeat(10_000),
            "\u{1F600}=secret=\u{fffd}".repeat(99),
        ] {
            let _ = by_name(&text);
        }
    }
}
