//! Every error code has its page, and every page its code.

use kapelle_types::Code;

use crate::hold;
use crate::tree::{FILES, File};

/// Lines of one page: a person in trouble reads it.
const PAGE_LINES_MAX: usize = 60;

fn pages() -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(|f| f.folder() == "docs/errors" && f.name() != "README.md")
}

#[test]
fn every_code_has_a_page() {
    let missing = Code::ALL.iter().filter(|c| !pages().any(|p| p.name() == format!("{c}.md")));
    hold(
        "Every code of shared/types/src/code.rs has a page.",
        "write docs/errors/<code>.md: what happened, why, an example, what to do.",
        &missing.map(ToString::to_string).collect::<Vec<_>>(),
    );
}

#[test]
fn every_page_has_a_code() {
    let strays = pages().filter(|p| p.name().strip_suffix(".md").and_then(Code::parse).is_none());
    hold(
        "Every page of docs/errors/ belongs to a code.",
        "take the page away, or name it after its code.",
        &strays.map(|p| p.path.clone()).collect::<Vec<_>>(),
    );
}

#[test]
fn pages_say_what_to_do() {
    let mut problems = Vec::new();
    for page in pages() {
        let code = page.name().trim_end_matches(".md");
        if !page.text.starts_with(&format!("# {code}: ")) {
            problems.push(format!("{}: it opens with `# {code}: …`", page.path));
        }
        if !page.text.lines().any(|l| l.starts_with("## ")) {
            problems.push(format!("{}: it has a section on what to do", page.path));
        }
        if page.text.lines().count() > PAGE_LINES_MAX {
            problems.push(format!("{}: it has {PAGE_LINES_MAX} lines at most", page.path));
        }
    }
    hold("A page has the shape of the others.", "see docs/errors/K0003.md.", &problems);
}

#[test]
fn the_index_has_every_code() {
    let index = &crate::tree::file("docs/errors/README.md").text;
    let missing = Code::ALL.iter().filter(|c| !index.contains(&format!("[{c}]({c}.md)")));
    hold(
        "docs/errors/README.md lists every code.",
        "add a row to it.",
        &missing.map(ToString::to_string).collect::<Vec<_>>(),
    );
}
