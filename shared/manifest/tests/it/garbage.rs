//! No text makes this crate panic, overflow its stack or take long.

use crate::samples::{AGENT, AGENTS, WORKFLOW, problems};
use kapelle_manifest::{Manifest, Sourced, check};
use proptest::prelude::*;

/// Reads, checks, renders, writes.
fn try_all(text: &str) {
    for problem in problems(text) {
        assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
        assert!(!problem.render(false).is_empty());
    }
    if let Ok(document) = serde_json::from_str::<Manifest>(text) {
        let _ = check(&Sourced::from(document), &crate::samples::agents());
    }
}

/// Runs `test` with the stack of an ordinary thread.
fn small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(test).unwrap().join().unwrap();
}

#[test]
fn deep_documents_fit_a_small_stack() {
    small_stack(|| {
        for times in [10, 50, 60, 64, 65, 100, 1_000, 100_000] {
            for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("a: &x *", ""), ("!!map ", "")] {
                try_all(&format!("{}1{}", open.repeat(times), close.repeat(times)));
                let inside = format!("schema: {}{{}}{}", "{ not: ".repeat(times), "}".repeat(times));
                try_all(&AGENT.replacen("schema:", &format!("{inside} #"), 1));
            }
            let nested: String = (0..times.min(1_000)).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
            try_all(&nested);
        }
    });
}

#[test]
fn wide_documents_end() {
    let fields: String = (0..20_000).map(|n| format!("f{n}: 1\n")).collect();
    try_all(&fields);
    try_all(&format!("{AGENT}{}", fields.replace('f', "  f")));
    try_all(&"---\na: 1\n".repeat(20_000));
    try_all(&WORKFLOW.replace("size(steps", &"!".repeat(100_000)));
}

/// One change of a text: where, which, and a second place that some need. The places count round the text's end.
type Change = (usize, usize, usize);

/// The text with the changes made, one after the other; changes of a text that is empty by then do nothing.
fn changed(base: &str, changes: &[Change]) -> String {
    let mut text: Vec<char> = base.chars().collect();
    for (at, kind, other) in changes {
        let (Some(at), Some(other)) = (at.checked_rem(text.len()), other.checked_rem(text.len())) else { break };
        match kind {
            0 => drop(text.remove(at)),
            1 => text.insert(at, ' '),
            2 => text.insert(at, '\n'),
            3 => text.insert(at, '{'),
            4 => text.insert(at, '"'),
            5 => text.insert(at, '$'),
            6 => text.insert(at, '\t'),
            7 => text.insert(at, 'ä'),
            8 => text.insert(at, ':'),
            9 => text.swap(at, other),
            10 => text.truncate(at),
            _ => {
                let line: Vec<char> = text[other..].iter().take_while(|c| **c != '\n').copied().collect();
                text.splice(at..at, line);
            }
        }
    }
    text.into_iter().collect()
}

/// A manifest with some of its bytes or lines changed.
fn mutated() -> impl Strategy<Value = String> {
    let base = prop::sample::select(vec![AGENT, AGENTS, WORKFLOW]);
    let change = (0usize..2_000, 0usize..12, 0usize..2_000);
    (base, prop::collection::vec(change, 1..6)).prop_map(|(base, changes)| changed(base, &changes))
}

/// Found by [`mutated`] once: the text was cut to one character, that one removed, and then there was nothing to change.
#[test]
fn a_text_that_is_changed_until_nothing_is_left() {
    let text = changed(AGENT, &[(0, 10, 0), (0, 1, 0)]);
    assert_eq!(text, "");
    try_all(&text);
    try_all(&changed(AGENT, &[(1, 10, 0), (0, 0, 0), (7, 9, 7)]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        try_all(&text);
    }

    #[test]
    fn any_lines(text in "([ a-z\\-\\[\\]{}:&*!|>'\"#%@`?,0-9]{0,12}\n){0,12}") {
        try_all(&text);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        try_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn almost_manifests(text in mutated()) {
        try_all(&text);
    }
}
