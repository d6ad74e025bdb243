//! Recorded run histories against today's engine: what a released version decided, this one decides too.
//!
//! `KAPELLE_RECORD=v0.2.0 cargo nextest run -p kapelle-tests --test replay` records what a new version has no file for yet;
//! how, and why a file is never changed, stands in `tests/src/history.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is the failure of a test")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kapelle_engine::{Ignored, Run, behaviour};
use kapelle_tests::history::{Bench, History, all, check_cuts, differences, fold, names, record};

/// What to do about a difference.
const ADVICE: &str = "Runs like these are under way wherever a released version runs. If the change is a mistake, mend it. If \
    it is meant, it takes the next number in shared/engine/src/behaviour.rs: runs that were submitted under a lower number \
    keep the old decision, and new histories are recorded under the new one. A recorded file is never changed.";

/// Reasons that no history shows: a halt takes a log of 50,000 entries or a behaviour that no release had, and too many signals
/// are 1,000. A decision after its time finds that the timer was there first, but for a moment that nobody can aim at.
const UNSEEN: [Ignored; 3] = [Ignored::RunHalted, Ignored::TooManySignals, Ignored::ApprovalExpired];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_history_is_decided_as_it_was() {
    let bench = Bench::start().await;
    let mut problems = Vec::new();
    for (file, history) in all() {
        let found = match bench.run(&history).await {
            Ok(run) => catch_unwind(AssertUnwindSafe(|| replay(&history, &run)))
                .unwrap_or_else(|_| vec!["it panicked".to_owned()]),
            Err(why) => vec![why],
        };
        problems.extend(found.into_iter().map(|p| format!("\n  {file}.json: {p}")));
    }
    assert!(problems.is_empty(), "\n{} differences:{}\n\n{ADVICE}\n", problems.len(), problems.concat());
}

fn replay(history: &History, fresh: &Run) -> Vec<String> {
    let mut found = differences(&history.made, &fold(history, fresh));
    found.extend(check_cuts(history, fresh));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_has_its_history() {
    if let Ok(version) = std::env::var("KAPELLE_RECORD") {
        Box::pin(record(&version)).await;
    }
    let recorded: BTreeSet<String> =
        all().into_keys().filter_map(|file| file.split_once('/').map(|(_, name)| name.to_owned())).collect();
    let missing: Vec<_> = names().filter(|name| !recorded.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "no version has recorded {missing:?}; set KAPELLE_RECORD to the version to be released"
    );
}

#[test]
fn the_histories_show_every_kind_of_entry_and_every_reason() {
    let histories = all();
    let answers = || histories.values().flat_map(|h| &h.made.records).flat_map(|r| &r.entries);
    let kinds: BTreeSet<&str> = answers().filter_map(|a| a.entry.split(' ').next()).collect();
    assert_eq!(kinds.len(), 14, "{kinds:?}");
    let seen: BTreeSet<&str> = answers().filter_map(|a| a.ignored.as_deref()).collect();
    let unseen: Vec<_> = Ignored::ALL.iter().filter(|i| !seen.contains(i.name())).copied().collect();
    assert_eq!(unseen, UNSEEN, "no history shows these");
    let behaviours: BTreeSet<u32> = histories.values().filter_map(|h| h.made.behaviour).collect();
    assert_eq!(behaviours, (1..=behaviour::CURRENT).collect(), "the behaviours that the histories were decided under");
    let endings: BTreeSet<&str> = histories.values().map(|h: &History| h.made.status.as_str()).collect();
    assert_eq!(Vec::from_iter(endings), ["CANCELED", "COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"]);
}
