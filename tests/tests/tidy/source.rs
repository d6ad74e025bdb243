//! What every source file keeps: it says what it is, lies where it is looked for, and owes nothing without a number.

use crate::hold;
use crate::tree::{File, with_ending};

/// Crates that do no IO and know no clock and no randomness.
pub(crate) const PURE: [&str; 7] = [
    "shared/types",
    "shared/expression",
    "shared/contract",
    "shared/prompt",
    "shared/manifest",
    "shared/engine",
    "shared/policy",
];

/// What none of their files may say: the packages that offer it (`chrono`, `uuid`) are reachable, for their values.
const IMPURE: [&str; 14] = [
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "now_v1(",
    "now_v6(",
    "now_v7(",
    "new_v4(",
    "getrandom",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

#[test]
fn modules_say_what_they_are() {
    let silent = with_ending(&[".rs"]).filter(|f| f.text.lines().next().is_none_or(|l| !l.starts_with("//! ")));
    hold(
        "Every Rust file opens with `//!`.",
        "say in its first lines what it owns, who calls it and what it never does.",
        &silent.map(|f| f.path.clone()).collect::<Vec<_>>(),
    );
}

#[test]
fn no_file_is_a_placeholder() {
    let empty =
        with_ending(&[".rs"]).filter(|f| f.text.lines().next().is_some_and(|l| l.starts_with("//! Placeholder")));
    hold("No crate is a placeholder.", "write it, or take it out of the workspace.", &paths(empty));
}

#[test]
fn modules_lie_beside_their_folder() {
    // Cargo would take `tests/common.rs` for a test of its own, so what integration tests share is `tests/common/mod.rs`.
    let shared_by_tests = |f: &File| f.folder().rsplit_once('/').is_some_and(|(above, _)| above.ends_with("/tests"));
    let found = with_ending(&["/mod.rs"]).filter(|f| !shared_by_tests(f));
    hold("There is no mod.rs.", "rename `foo/mod.rs` to `foo.rs`, beside the folder.", &paths(found));
}

#[test]
fn debts_have_a_number() {
    // In two parts, so that this file owes nothing.
    let words = ["TO", "FIX", "XX", "HA"].iter().zip(["DO", "ME", "X", "CK"]).map(|(a, b)| format!("{a}{b}"));
    let words: Vec<_> = words.collect();
    let files =
        with_ending(&[".rs", ".py", ".toml", ".yaml", ".yml", ".proto", ".sh", ".md", ".conf", "Makefile", "/run"]);
    let problems = files.flat_map(|f| {
        let owed = f.text.lines().enumerate().filter(|(_, line)| words.iter().any(|w| has_word(line, w)));
        owed.filter(|(_, line)| !has_number(line)).map(|(n, _)| format!("{}:{}", f.path, n + 1))
    });
    hold(
        "What is left to do has an issue.",
        "open an issue and write its number on the same line, as `(#12)`; or do it.",
        &problems.collect::<Vec<_>>(),
    );
}

#[test]
fn pure_crates_do_no_io() {
    let ours = |f: &&File| PURE.iter().any(|c| f.path.starts_with(&format!("{c}/src/")));
    let problems = with_ending(&[".rs"]).filter(ours).flat_map(|f| {
        let code = f.text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//"));
        code.flat_map(move |(n, line)| {
            let said = IMPURE.iter().filter(|what| line.contains(**what));
            said.map(move |what| format!("{}:{}: {what}", f.path, n + 1))
        })
    });
    // The engine measures its own cost in a test that is compiled for tests alone.
    let problems = problems.filter(|p| !p.starts_with("shared/engine/src/cost.rs") && !p.contains("/properties/"));
    hold(
        "types, expression, contract, manifest, engine and policy do no IO, read no clock and draw no random number.",
        "let the caller pass the value in: time is the entry's timestamp, seeds derive from the run id.",
        &problems.collect::<Vec<_>>(),
    );
}

fn paths<'a>(files: impl Iterator<Item = &'a File>) -> Vec<String> {
    files.map(|f| f.path.clone()).collect()
}

/// Whether a line has this word, not as a part of another one.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next()))
}

/// Whether a line names an issue: `#12`.
fn has_number(line: &str) -> bool {
    line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}
