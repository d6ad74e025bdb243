//! Files and functions stay small enough to be read in one go.

use crate::hold;
use crate::tree::with_ending;

/// Lines of one file.
const FILE_LINES_MAX: usize = 400;
/// Lines of one function; clippy holds the same for Rust (`clippy.toml`).
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn files_are_short() {
    let long = with_ending(&[".rs", ".py", ".sh", ".proto"])
        .map(|f| (f, f.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(f, lines)| format!("{}: {lines} lines", f.path));
    hold(
        "A file has 400 lines at most.",
        "give the file a second duty's file: `foo/bar.rs` beside `foo.rs`, tests to a file of their own.",
        &long.collect::<Vec<_>>(),
    );
}

#[test]
fn python_functions_are_short() {
    let long = with_ending(&[".py"]).flat_map(|f| {
        let found = python_functions(&f.text).into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
        found.map(|(name, line, lines)| format!("{}:{line}: `{name}` has {lines} lines", f.path))
    });
    hold("A function has 70 lines at most.", "take a part out that has a name of its own.", &long.collect::<Vec<_>>());
}

#[test]
fn clippy_holds_the_same_for_rust() {
    let configured = crate::tree::file("clippy.toml").text.contains("too-many-lines-threshold = 70");
    let on = crate::tree::file("Cargo.toml").text.contains("too_many_lines = \"warn\"");
    let problems: Vec<_> = (!configured || !on).then(|| "clippy.toml, Cargo.toml".to_owned()).into_iter().collect();
    hold("clippy's `too_many_lines` is on, at 70.", "put both lines back.", &problems);
}

/// Name, first line and number of lines of every function, nested ones included.
fn python_functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let head = |line: &str| {
        let line = line.trim_start().trim_start_matches("async ");
        line.strip_prefix("def ").map(|rest| rest.split('(').next().unwrap_or_default().to_owned())
    };
    let functions = lines.iter().enumerate().filter_map(|(first, line)| Some((first, head(line)?)));
    let measured = functions.map(|(first, name)| {
        let own = indent(lines[first]);
        let body = lines[first + 1..].iter().take_while(|l| {
            // A signature over several lines closes at the indentation of its `def`.
            l.trim().is_empty() || indent(l) > own || l.trim_start().starts_with(')')
        });
        let body: Vec<_> = body.collect();
        let length = body.iter().rposition(|l| !l.trim().is_empty()).map_or(1, |last| last + 2);
        (name, first + 1, length)
    });
    measured.collect()
}

#[test]
fn python_functions_are_measured_to_their_last_line() {
    let text = "def a(\n    x,\n):\n    def b():\n        return 1\n\n    return b\n\n\nclass C:\n    async def c(self):\n        pass\n";
    let want = [("a", 1, 7), ("b", 4, 2), ("c", 11, 2)].map(|(n, first, lines)| (n.to_owned(), first, lines));
    assert_eq!(python_functions(text), want);
}
