//! Tidy: the house rules that a program can check, on every file of the tree.
//!
//! ```text
//!   tree (files, once) ──▶ size, source, crates, docs, errors, operations, records ──▶ problems, each with its mend
//! ```
//!
//! Each rule is a test that lists every place where it is broken and says how to mend it. Nothing here starts a process
//! but `cargo metadata`, and nothing is written, unless `KAPELLE_TIDY=write` asks for the tables that are generated.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is the failure of a test")]

mod crates;
mod docs;
mod errors;
mod operations;
mod records;
mod size;
mod source;
mod text;
mod tree;

/// Fails with every place where a rule is broken, and with what mends it.
#[track_caller]
fn hold(rule: &str, mend: &str, problems: &[String]) {
    assert!(problems.is_empty(), "\n{rule}\n{}\n\nTo mend it: {mend}\n", list(problems));
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}
