//! What a project remembers: its changelog and its decisions.

use crate::hold;
use crate::tree::{FILES, File, file};

/// Lines of one decision: a page.
const DECISION_LINES_MAX: usize = 60;

#[test]
fn the_changelog_has_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let there = file("CHANGELOG.md").text.lines().any(|l| l.starts_with(&format!("## [{version}]")));
    let problems: Vec<_> = (!there).then(|| format!("{version} is missing")).into_iter().collect();
    hold(
        "CHANGELOG.md has a section for the version in Cargo.toml.",
        "open the section and say what a user can see of it.",
        &problems,
    );
}

#[test]
fn decisions_are_numbered_short_and_dated() {
    let decisions: Vec<&File> = FILES.iter().filter(|f| f.folder() == "docs/adr" && f.name() != "README.md").collect();
    let index = &file("docs/adr/README.md").text;
    let mut problems = Vec::new();
    for (number, f) in (1..).zip(&decisions) {
        if !f.name().starts_with(&format!("{number:04}-")) {
            problems.push(format!("{}: number {number:04} comes next", f.path));
        }
        if f.text.lines().count() > DECISION_LINES_MAX {
            problems.push(format!("{}: longer than a page ({DECISION_LINES_MAX} lines)", f.path));
        }
        for part in ["\nDate: 20", "\n## Context", "\n## Decision", "\n## Consequences"] {
            if !f.text.contains(part) {
                problems.push(format!("{}: `{}` is missing", f.path, part.trim()));
            }
        }
        if !index.contains(&format!("]({})", f.name())) {
            problems.push(format!("{}: docs/adr/README.md does not list it", f.path));
        }
    }
    hold("A decision is one page, numbered and dated.", "see docs/adr/0001.", &problems);
}
