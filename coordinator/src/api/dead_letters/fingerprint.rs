//! Which dead letters are alike: those of one agent, in any version, that failed with the same code and in the same words.
//!
//! Words that differ in numbers, ids and times alone are the same ones, since these differ from run to run while the cause does
//! not. Codes stay: an exit code or a status of HTTP often is all that tells two causes apart. A fingerprint is made of what its
//! reader may see, so that nobody learns from it what is hidden from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use kapelle_proto::v1;
use kapelle_types::Sha256;
use regex::{Captures, Regex};

/// Characters of the words that count. What comes after is rarely what tells causes apart.
const TEXT_CHARS_MAX: usize = 300;
/// Hexadecimal digits of a fingerprint: enough to tell thousands of groups apart, few enough to be typed.
const DIGITS: usize = 12;
/// Workflows that a group names.
const WORKFLOWS_MAX: usize = 20;
/// What stands where something differs.
const DIFFERS: &str = "…";

/// What differs from run to run; or, as `kept`, a number that says what went wrong.
#[expect(clippy::unwrap_used, reason = "a constant; `texts_that_differ_in_what_says_nothing` compiles it")]
static DIFFERENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<kept>\b(?i:code|status|signal|errno|http|exit)(?:/[0-9.]+)?[ :=]{1,3}-?[0-9]{1,5}\b)",
        r"|\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",
        r"|\b[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?",
        r"|\b0x[0-9a-fA-F]+\b|\b[0-9a-fA-F]{8,}\b",
        r"|\b[0-9]+(?:[.,:][0-9]+)*",
    ))
    .unwrap()
});

/// A failure's words, with `…` where two of the same cause differ.
fn words(view: &v1::DeadLetterView) -> String {
    let Some(cause) = &view.cause else { return String::new() };
    let last = cause.evidence.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let whole = last.map_or_else(|| cause.message.clone(), |last| format!("{} | {last}", cause.message));
    let masked = DIFFERENT.replace_all(&whole, |found: &Captures<'_>| {
        found.name("kept").map_or_else(|| DIFFERS.to_owned(), |kept| kept.as_str().to_owned())
    });
    masked.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TEXT_CHARS_MAX).collect()
}

/// The name of an agent, without its version.
fn name(agent: &str) -> (&str, &str) {
    agent.split_once('@').unwrap_or((agent, ""))
}

/// The fingerprint of a dead letter, as its reader sees it.
pub(super) fn of(view: &v1::DeadLetterView) -> String {
    let code = view.cause.as_ref().map_or("", |cause| &cause.code);
    let hash = Sha256::of([name(&view.agent).0, code, &words(view)].join("\0").as_bytes());
    hash.to_string().chars().take(DIGITS).collect()
}

/// The groups of those that are alike, the largest first.
pub(super) fn groups<'v>(letters: impl Iterator<Item = &'v v1::DeadLetterView>) -> Vec<v1::DeadLetterGroup> {
    let mut groups: BTreeMap<&str, (v1::DeadLetterGroup, BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for letter in letters {
        let (agent, version) = name(&letter.agent);
        let (group, versions, workflows) = groups.entry(&letter.fingerprint).or_insert_with(|| {
            let begun = v1::DeadLetterGroup {
                fingerprint: letter.fingerprint.clone(),
                agent: agent.to_owned(),
                code: letter.cause.as_ref().map_or_else(String::new, |cause| cause.code.clone()),
                text: words(letter),
                oldest_unix_nanos: i64::MAX,
                newest_unix_nanos: i64::MIN,
                ..v1::DeadLetterGroup::default()
            };
            (begun, BTreeSet::new(), BTreeSet::new())
        });
        group.count += 1;
        group.oldest_unix_nanos = group.oldest_unix_nanos.min(letter.at_unix_nanos);
        if letter.at_unix_nanos >= group.newest_unix_nanos {
            group.newest_unix_nanos = letter.at_unix_nanos;
            (group.run_id, group.step) = (letter.run_id.clone(), letter.step.clone());
        }
        versions.insert(version);
        workflows.insert(&letter.workflow);
    }
    let named = |set: BTreeSet<&str>, max: usize| set.into_iter().take(max).map(str::to_owned).collect();
    let whole = |(group, versions, workflows)| v1::DeadLetterGroup {
        versions: named(versions, usize::MAX),
        workflows: named(workflows, WORKFLOWS_MAX),
        ..group
    };
    let mut groups: Vec<_> = groups.into_values().map(whole).collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(agent: &str, message: &str, evidence: &str) -> v1::DeadLetterView {
        let cause = v1::StepFailure {
            code: "K0402".into(),
            message: message.into(),
            evidence: evidence.into(),
            ..v1::StepFailure::default()
        };
        let view = v1::DeadLetterView { agent: agent.into(), cause: Some(cause), ..v1::DeadLetterView::default() };
        v1::DeadLetterView { fingerprint: of(&view), ..view }
    }

    #[test]
    fn texts_that_differ_in_what_says_nothing() {
        for (one, other) in [
            ("no answer in 20 s", "no answer in 1.5 s"),
            ("order 4711 is locked", "order 12 is locked"),
            ("run 0190c5a8-0000-7000-8000-000000000001 is gone", "run 0190c5a8-ffff-7000-8000-0000000000ab is gone"),
            ("late since 2026-11-22T10:00:00Z", "late since 2026-11-23 11:12:13.456+01:00"),
            ("at 0x7ffdeadbeef0: no", "at 0x1: no"),
            ("blob 5f2b8a77c0ffee01 is broken", "blob 99aabbccddeeff00 is broken"),
            ("connection to 127.0.0.1:4222 lost", "connection to 10.0.0.7:80 lost"),
            ("two  words\n", "two words"),
        ] {
            assert_eq!(
                letter("a@1.0.0", one, "").fingerprint,
                letter("a@2.0.0", other, "").fingerprint,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn texts_that_differ_in_what_went_wrong() {
        let same = letter("a@1.0.0", "it ended with exit code 1", "ValueError: no licence");
        for other in [
            letter("b@1.0.0", "it ended with exit code 1", "ValueError: no licence"),
            letter("a@1.0.0", "it ended with exit code 137", "ValueError: no licence"),
            letter("a@1.0.0", "it ended with exit code 1", "KeyError: no licence"),
            letter("a@1.0.0", "it ended", "ValueError: no licence"),
        ] {
            assert_ne!(same.fingerprint, other.fingerprint, "{other:?}");
        }
        for (one, other) in
            [("HTTP/1.1 404", "HTTP/1.1 503"), ("status: 404", "status: 503"), ("signal 9", "signal 11")]
        {
            assert_ne!(letter("a@1.0.0", one, "").fingerprint, letter("a@1.0.0", other, "").fingerprint, "{one}");
        }
    }

    /// Only the last line of what an agent wrote says why it ended; what comes before is its way there.
    #[test]
    fn of_the_evidence_the_last_line_counts() {
        let one = letter("a@1.0.0", "it broke", "read 12 files\nValueError: no licence\n\n");
        let other = letter("a@1.0.0", "it broke", "read some files\nthen more\nValueError: no licence");
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!(one.fingerprint.len(), DIGITS);
    }

    #[test]
    fn groups_say_what_is_common_and_what_is_not() {
        let at = |letter: v1::DeadLetterView, at: i64, workflow: &str| v1::DeadLetterView {
            at_unix_nanos: at,
            workflow: workflow.into(),
            run_id: format!("r-{at}"),
            ..letter
        };
        let all = [
            at(letter("a@1.0.0", "order 1 is locked", ""), 3, "w@1.0.0"),
            at(letter("a@1.1.0", "order 2 is locked", ""), 9, "v@1.0.0"),
            at(letter("a@1.0.0", "order 3 is locked", ""), 5, "w@1.0.0"),
            at(letter("b@1.0.0", "it broke", ""), 7, "w@1.0.0"),
        ];
        let groups = groups(all.iter());
        assert_eq!(groups.len(), 2);
        let first = &groups[0];
        assert_eq!((first.agent.as_str(), first.count, first.text.as_str()), ("a", 3, "order … is locked"));
        assert_eq!((first.oldest_unix_nanos, first.newest_unix_nanos, first.run_id.as_str()), (3, 9, "r-9"));
        assert_eq!(
            (&first.versions[..], &first.workflows[..]),
            (&["1.0.0".to_owned(), "1.1.0".to_owned()][..], &["v@1.0.0".to_owned(), "w@1.0.0".to_owned()][..],)
        );
    }
}
