//! Secrets: found for an agent when it is served, handed to its processes, and masked in all that those write.
//!
//! Only the exact value is recognised. An agent that encodes or cuts a secret before it writes it defeats that; it is
//! there against mistakes, not against an agent that was given a secret and means harm.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use kapelle_types::{Code, Diagnosis, SecretName};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::config::Environment;
use crate::redact;

/// Characters of a secret at least: a shorter one would be found in texts that have nothing to do with it.
const CHARS_MIN: usize = 8;
/// Bytes of a secret that was cut off by the end of a text before they are masked: fewer give nothing away.
const BEGUN_BYTES_MIN: usize = 4;
/// Bytes of a secret at most; a variable holds 128 KiB.
const BYTES_MAX: usize = 64 * 1024;
/// Rights that a secret's file must not give: the group may not write it, others may do nothing.
const TOO_OPEN: u32 = 0o027;
/// What the variables of secrets begin with.
const PREFIX: &str = "KAPELLE_SECRET_";

/// The secrets of one agent.
#[derive(Default)]
pub(crate) struct Secrets {
    held: Vec<(SecretName, SecretString)>,
    /// Finds them; which pattern is whose. `None` if there is nothing to find.
    finder: Option<(AhoCorasick, Vec<usize>)>,
    /// What it looks for.
    patterns: Vec<SecretString>,
    /// Bytes of the longest pattern.
    longest: usize,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.held.iter().map(|(name, _)| name.as_str())).finish()
    }
}

impl Secrets {
    /// Finds secrets by their names: in the folder, one file each, or in the environment of the worker.
    ///
    /// # Errors
    /// One is missing or cannot be used; which, and why.
    pub(crate) fn find(names: &[SecretName], dir: Option<&Path>, environment: &Environment) -> Result<Self, Diagnosis> {
        let one = |name: &SecretName| {
            let value = from_file(name, dir)
                .and_then(|found| found.map_or_else(|| from_environment(name, environment), Ok))
                .and_then(checked);
            value.map(|value| (name.clone(), value)).map_err(|why| {
                let message = format!("The secret `{name}` cannot be handed to the agent: {why}.");
                let hint = format!(
                    "Put it into a file `{name}` of `--secrets-dir`, or into {PREFIX}{} of the worker's environment.",
                    name.variable()
                );
                Diagnosis::new(Code::SECRET_MISSING, message).hint(hint)
            })
        };
        Self::of(names.iter().map(one).collect::<Result<_, _>>()?)
    }

    fn of(held: Vec<(SecretName, SecretString)>) -> Result<Self, Diagnosis> {
        let mut patterns: Vec<(String, usize)> = Vec::new();
        for (index, (_, value)) in held.iter().enumerate() {
            let value = value.expose_secret();
            // In a line that is not understood it stands as JSON writes it.
            let escaped = Value::from(value).to_string();
            let escaped = &escaped[1..escaped.len() - 1];
            patterns.extend([value, escaped].map(|pattern| (pattern.to_owned(), index)));
        }
        patterns.sort();
        patterns.dedup_by(|a, b| a.0 == b.0);
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let longest = patterns.iter().map(|(pattern, _)| pattern.len()).max().unwrap_or(0);
        let texts = patterns.iter().map(|(pattern, _)| pattern);
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts).map_err(|_| {
            Diagnosis::new(Code::SECRET_MISSING, "The secrets of the agent are too large to be looked for.")
        })?;
        let (patterns, whose): (Vec<_>, _) = patterns.into_iter().map(|(text, it)| (text.into(), it)).unzip();
        Ok(Self { held, finder: Some((finder, whose)), patterns, longest })
    }

    /// The variables that the agent gets.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        self.held.iter().map(|(name, value)| (name.variable(), value.expose_secret()))
    }

    /// The value of one.
    pub(crate) fn value(&self, name: &SecretName) -> Option<&str> {
        self.held.iter().find(|(held, _)| held == name).map(|(_, value)| value.expose_secret())
    }

    /// What somebody else wrote, as text without these secrets. It is data to whoever gets it, so nothing is masked by its
    /// name.
    pub(crate) fn without_values(&self, bytes: &[u8]) -> String {
        let (mut text, mut at) = (String::new(), 0);
        for (whose, range) in self.matches(bytes) {
            text.push_str(&String::from_utf8_lossy(&bytes[at..range.start]));
            text.push_str(&format!("[secret:{whose}]"));
            at = range.end;
        }
        text.push_str(&String::from_utf8_lossy(&bytes[at..]));
        text
    }

    /// The first secret in a text: whose it is, and where it begins.
    pub(crate) fn first_in(&self, text: &str) -> Option<(&SecretName, usize)> {
        let (finder, whose) = self.finder.as_ref()?;
        finder.find(text).map(|found| (&self.held[whose[found.pattern().as_usize()]].0, found.start()))
    }

    /// Where in a text a secret may have begun that goes on behind its end. What is before is part of none that is not whole.
    pub(crate) fn begun_in(&self, text: &str) -> Option<usize> {
        let text = text.as_bytes();
        let begun = |at: usize| {
            let end = &text[at..];
            let patterns = self.patterns.iter().map(|it| it.expose_secret().as_bytes());
            patterns.into_iter().any(|it| it.len() > end.len() && it.starts_with(end))
        };
        (text.len().saturating_sub(self.longest.saturating_sub(1))..text.len()).find(|at| begun(*at))
    }

    /// Bytes that may have to be known before a place to tell whether a secret goes over it.
    pub(crate) const fn longest(&self) -> usize {
        self.longest
    }

    /// What an agent wrote, as text without secrets.
    pub(crate) fn mask(&self, bytes: &[u8]) -> String {
        self.mask_from(bytes, 0)
    }

    /// The same from a place on; a secret that goes over it is masked whole.
    pub(crate) fn mask_from(&self, bytes: &[u8], start: usize) -> String {
        let (mut text, mut at) = (String::new(), start);
        for (whose, range) in self.matches(bytes).filter(|(_, range)| range.end > start) {
            text.push_str(&String::from_utf8_lossy(&bytes[at.min(range.start)..range.start]));
            text.push_str(&format!("[secret:{whose}]"));
            at = range.end;
        }
        let rest = &bytes[at..];
        let (whole, begun) = self.begun_at_the_end(rest);
        text.push_str(&String::from_utf8_lossy(&rest[..rest.len() - begun]));
        text.extend(whole.map(|name| format!("[secret:{name}]")));
        match redact::by_name(&text) {
            Cow::Owned(redacted) => redacted,
            Cow::Borrowed(_) => text,
        }
    }

    /// A secret that was being written when the text ended, as of an agent that was killed: whose, and bytes of it.
    fn begun_at_the_end(&self, text: &[u8]) -> (Option<&SecretName>, usize) {
        let begun = |value: &str| {
            let lengths = (BEGUN_BYTES_MIN..value.len().min(text.len() + 1)).rev();
            lengths.into_iter().find(|&length| text.ends_with(&value.as_bytes()[..length]))
        };
        let found = self.held.iter().filter_map(|(name, value)| Some((name, begun(value.expose_secret())?)));
        found.max_by_key(|(_, length)| *length).map_or((None, 0), |(name, length)| (Some(name), length))
    }

    /// A secret that an output holds, in any of its texts, keys and numbers.
    pub(crate) fn found_in(&self, output: &Value) -> Option<&SecretName> {
        self.finder.as_ref()?; // nothing to find: the usual case, which walks through no output
        match output {
            Value::String(text) => self.in_text(text),
            Value::Number(number) => self.in_text(&number.to_string()),
            Value::Array(items) => items.iter().find_map(|it| self.found_in(it)),
            Value::Object(fields) => {
                fields.iter().find_map(|(key, it)| self.in_text(key).or_else(|| self.found_in(it)))
            }
            Value::Null | Value::Bool(_) => None,
        }
    }

    fn in_text(&self, text: &str) -> Option<&SecretName> {
        self.first_in(text).map(|(name, _)| name)
    }

    fn matches<'s>(&'s self, bytes: &'s [u8]) -> impl Iterator<Item = (&'s SecretName, Range<usize>)> {
        self.finder.iter().flat_map(move |(finder, whose)| {
            finder.find_iter(bytes).map(move |found| (&self.held[whose[found.pattern().as_usize()]].0, found.range()))
        })
    }
}

fn from_file(name: &SecretName, dir: Option<&Path>) -> Result<Option<SecretString>, String> {
    let Some(path) = dir.map(|dir| dir.join(name.as_str())).filter(|path| path.exists()) else { return Ok(None) };
    let unreadable = |e: std::io::Error| format!("{} cannot be read: {e}", path.display());
    let facts = fs::metadata(&path).map_err(unreadable)?;
    let mode = facts.permissions().mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        return Err(format!("{} has the mode {mode:o}, which lets others at it; 640 is the most", path.display()));
    }
    if facts.len() > BYTES_MAX as u64 {
        return Err(format!("{} has more than {BYTES_MAX} bytes", path.display()));
    }
    let mut text = fs::read_to_string(&path).map_err(unreadable)?;
    // Editors and `echo` end a file with a line's end that is no part of the secret.
    let end = text.strip_suffix('\n').map_or(text.len(), str::len);
    text.truncate(end);
    Ok(Some(text.into()))
}

fn from_environment(name: &SecretName, environment: &Environment) -> Result<SecretString, String> {
    let value = environment.get(&format!("{PREFIX}{}", name.variable())).ok_or("this worker does not have it")?;
    value.to_str().map(|text| text.to_owned().into()).ok_or_else(|| "it is not text".to_owned())
}

fn checked(value: SecretString) -> Result<SecretString, String> {
    let text = value.expose_secret();
    if text.chars().count() < CHARS_MIN {
        return Err(format!(
            "it has fewer than {CHARS_MIN} characters, too few to be recognised in what an agent writes"
        ));
    }
    if text.contains('\0') || text.len() > BYTES_MAX {
        return Err(format!("it has a zero byte, or more than {BYTES_MAX} bytes: no variable holds it"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const VALUE: &str = "canary-\"77\"-value";

    fn secrets(values: &[&str]) -> Secrets {
        let held = values.iter().enumerate().map(|(n, v)| (format!("s{n}").parse().unwrap(), (*v).to_owned().into()));
        Secrets::of(held.collect()).unwrap()
    }

    #[test]
    fn values_are_masked_wherever_they_stand() {
        let it = secrets(&[VALUE, "canary-\"77\"-value-longer"]);
        let escaped = json!({ "a": VALUE }).to_string();
        for (text, masked) in [
            ("", ""),
            ("nothing", "nothing"),
            (VALUE, "[secret:s0]"),
            (&format!("a {VALUE}, {VALUE} z"), "a [secret:s0], [secret:s0] z"),
            (&format!("{VALUE}-longer"), "[secret:s1]"),
            (&escaped, r#"{"a":"[secret:s0]"}"#),
        ] {
            assert_eq!(it.mask(text.as_bytes()), masked, "{text}");
        }
        assert_eq!(it.mask(b"\xff"), "\u{fffd}");
        assert_eq!(Secrets::default().mask(VALUE.as_bytes()), VALUE);
        assert!(!format!("{it:?}").contains("canary"));
    }

    /// Wherever a text is cut, no part of a secret is left of it.
    #[test]
    fn a_cut_never_leaves_a_part_of_a_secret() {
        let it = secrets(&["0123456789"]);
        let text = b"ab0123456789cd";
        for start in 0..text.len() {
            let masked = it.mask_from(text, start);
            assert!(!masked.contains(|c: char| c.is_ascii_digit() && c != '0'), "{start}: {masked}");
            assert_eq!(masked.contains("[secret:s0]"), start < 12, "{start}: {masked}");
        }
        for end in 0..text.len() {
            let masked = it.mask(&text[..end]);
            assert!(!masked.contains("0123"), "{end}: {masked}");
            assert_eq!(masked.contains("[secret:s0]"), end >= 6, "{end}: {masked}");
        }
    }

    #[test]
    fn an_output_is_searched_in_all_its_parts() {
        let it = secrets(&[VALUE, "1234567890"]);
        for bad in [
            json!(VALUE),
            json!([1, { "deep": [format!("x{VALUE}x")] }]),
            json!({ VALUE: 1 }),
            json!(1_234_567_890),
            json!("0012345678900"),
        ] {
            assert!(it.found_in(&bad).is_some(), "{bad}");
        }
        for good in [json!(null), json!({ "a": [true, 12_345, "canary"] })] {
            assert!(it.found_in(&good).is_none(), "{good}");
        }
    }

    /// Wherever a text is cut, a secret that goes over the cut begins where it is said, or later.
    #[test]
    fn a_secret_that_has_begun_is_seen_before_it_is_whole() {
        let it = secrets(&["abcabcabd", "0123456789"]);
        for (text, at) in [("", None), ("x", None), ("xa", Some(1)), ("xabcabca", Some(1)), ("abcabcabcab", Some(3))] {
            assert_eq!(it.begun_in(text), at, "{text}");
        }
        let text = "xabcabcabcabd 0123456789";
        let whole: Vec<_> = it.matches(text.as_bytes()).map(|(_, range)| range).collect();
        for cut in 0..=text.len() {
            let over = whole.iter().find(|range| range.start < cut && cut < range.end);
            let begun = it.begun_in(&text[..cut]).unwrap_or(cut);
            assert!(over.is_none_or(|range| begun <= range.start), "{cut}: {begun}");
        }
        assert_eq!(it.first_in(text).map(|(name, at)| (name.as_str(), at)), Some(("s0", 4)));
        assert_eq!((Secrets::default().begun_in("a"), Secrets::default().first_in("a")), (None, None));
    }

    #[test]
    fn a_secret_is_found_or_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        file("crm-token", "from the file\n", 0o640);
        file("open", "long enough", 0o644);
        file("short", "1234567", 0o600);
        let variables =
            [("KAPELLE_SECRET_CRM_TOKEN", "the environment"), ("KAPELLE_SECRET_OTHER", "from the environment")];
        let environment = variables.map(|(name, value)| (name.into(), value.into())).into_iter().collect();
        let find = |name: &str| Secrets::find(&[name.parse().unwrap()], Some(folder.path()), &environment);
        let value = |name: &str| find(name).unwrap().variables().map(|(_, value)| value.to_owned()).collect::<String>();
        assert_eq!((value("crm-token"), value("other")), ("from the file".into(), "from the environment".into()));
        for (name, why) in [("open", "mode 644"), ("short", "fewer than 8"), ("absent", "does not have it")] {
            let refused = find(name).unwrap_err();
            assert_eq!(refused.code, Code::SECRET_MISSING);
            assert!(refused.message.contains(why) && refused.message.contains(name), "{refused}");
            assert!(!refused.message.contains("1234567"), "{refused}");
        }
    }
}
