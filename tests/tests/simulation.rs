//! Runs the simulation over many seeds: `KAPELLE_SIM_SEEDS` more or fewer of them, from `KAPELLE_SIM_START` on.
//!
//! A failing seed prints its number and a trace of the last things that happened. Put the number into
//! `simulation/seeds.txt` with a word about what it found: from then on it is run for ever.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what fails here is a test, and it tells what happened"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use kapelle_tests::simulation::{Report, simulate, trace};

/// Seeds that `make test` runs.
const SEEDS: u64 = 10_000;
/// Tests that they are spread over, so that cores share them.
const SHARDS: u64 = 4;
/// Lines of a trace that are printed.
const TRACE_LINES: usize = 150;

#[test]
fn seeds_of_the_first_quarter() {
    run_shard(0);
}

#[test]
fn seeds_of_the_second_quarter() {
    run_shard(1);
}

#[test]
fn seeds_of_the_third_quarter() {
    run_shard(2);
}

#[test]
fn seeds_of_the_last_quarter() {
    run_shard(3);
}

/// A line is a number and what it found.
#[test]
fn seeds_that_once_failed() {
    let listed = include_str!("../simulation/seeds.txt");
    let lines = listed.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let seeds = lines.map(|line| line.split_whitespace().next().unwrap().parse().expect("a line begins with a seed"));
    run("seeds that once failed", seeds);
}

/// The planted bugs of `mutations/run.py` still fit the code.
#[test]
fn planted_bugs_can_be_planted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let blocks = include_str!("../mutations/bugs.txt").split("\n=== ").skip(1);
    let mut count = 0;
    for block in blocks {
        let (head, rest) = block.split_once('\n').unwrap();
        let file = head.rsplit('|').next().unwrap().trim();
        let old = rest.split_once("--- old\n").unwrap().1.split_once("\n--- new").unwrap().0;
        let found = std::fs::read_to_string(root.join(file)).unwrap().matches(old).count();
        assert_eq!(found, 1, "{head}: write its old text anew in mutations/bugs.txt; it was\n{old}");
        count += 1;
    }
    assert!(count >= 10, "{count} planted bugs");
}

#[test]
fn a_seed_always_means_the_same() {
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

fn run_shard(shard: u64) {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (start, seeds) = (number("KAPELLE_SIM_START", 0), number("KAPELLE_SIM_SEEDS", SEEDS));
    let (first, last) = (start + seeds * shard / SHARDS, start + seeds * (shard + 1) / SHARDS);
    run(&format!("seeds {first} to {last}"), first..last);
}

fn run(what: &str, seeds: impl Iterator<Item = u64>) {
    let clock = tokio::time::Instant::now();
    let (mut count, mut sum) = (0u32, Report::default());
    for seed in seeds {
        let report = check(seed);
        count += 1;
        sum.events += report.events;
        sum.records += report.records;
        sum.finished += report.finished;
        sum.waiting += report.waiting;
        sum.rest_ms = sum.rest_ms.max(report.rest_ms);
    }
    let rate = f64::from(count) / clock.elapsed().as_secs_f64();
    println!("{what}: {count} seeds, {rate:.0} seeds/s; in all {sum:?}, the longest way to rest included");
}

/// Runs a seed; tells what happened before it failed.
fn check(seed: u64) -> Report {
    let failure = match catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
        Ok(Ok(report)) => return report,
        Ok(Err(violation)) => format!("{}: {}", violation.name, violation.detail),
        Err(_) => "it panicked".to_owned(),
    };
    let lines = catch_unwind(AssertUnwindSafe(|| trace(seed))).unwrap_or_default();
    for line in lines.iter().skip(lines.len().saturating_sub(TRACE_LINES)) {
        println!("{line}");
    }
    panic!("seed {seed}: {failure}\nrun it alone: KAPELLE_SIM_START={seed} KAPELLE_SIM_SEEDS=1");
}
