//! The operations guide is checked against the source: the table of metrics and the ports.

use std::fs;

use crate::hold;
use crate::tree::{file, root};

/// The guide.
const GUIDE: &str = "docs/operations.md";
/// Where the metrics are defined.
const TABLE: &str = "shared/telemetry/src/metrics.rs";
/// Where the ports are.
const PORTS: &str = "cli/src/stack/ports.rs";
const BEGIN: &str = "<!-- metrics: generated from the table in shared/telemetry/src/metrics.rs -->\n";
const END: &str = "<!-- /metrics -->";

/// A row of the table of metrics, as its source has it.
struct Row {
    kind: String,
    name: String,
    labels: Vec<String>,
    help: String,
}

#[test]
fn the_guide_has_every_metric() {
    let guide = &file(GUIDE).text;
    let want = render(&rows(&file(TABLE).text));
    let (before, rest) = guide.split_once(BEGIN).expect("the guide marks where the metrics begin");
    let (found, after) = rest.split_once(END).expect("the guide marks where the metrics end");
    if found != want && std::env::var("KAPELLE_TIDY").is_ok_and(|mode| mode == "write") {
        return fs::write(root().join(GUIDE), format!("{before}{BEGIN}{want}{END}{after}")).unwrap();
    }
    let missing = want.lines().filter(|l| !found.lines().any(|f| f == *l));
    let stray = found.lines().filter(|l| !want.lines().any(|w| w == *l));
    let problems = missing.map(|l| format!("missing: {l}")).chain(stray.map(|l| format!("not so: {l}")));
    hold(
        "docs/operations.md lists the metrics that there are.",
        "run `KAPELLE_TIDY=write cargo test -p kapelle-tests --test tidy`; it writes the table.",
        &problems.collect::<Vec<_>>(),
    );
}

#[test]
fn the_guide_has_every_port() {
    let source = &file(PORTS).text;
    let numbers = source.lines().filter(|l| l.starts_with("pub(crate) const")).filter_map(|l| {
        let digits: String = l.rsplit('=').next()?.chars().filter(char::is_ascii_digit).collect();
        (digits.len() == 4).then_some(digits)
    });
    let guide = &file(GUIDE).text;
    let missing: Vec<_> = numbers.filter(|n| !guide.contains(&format!("`{n}`"))).collect();
    hold("docs/operations.md names the default ports.", "name the port of cli/src/stack/ports.rs there.", &missing);
}

fn render(rows: &[Row]) -> String {
    let mut text = "| metric | kind | labels | what it says |\n|---|---|---|---|\n".to_owned();
    for Row { kind, name, labels, help } in rows {
        let labels: Vec<_> = labels.iter().map(|l| format!("`{l}`")).collect();
        text += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(" "));
    }
    text
}

/// Reads the invocation of `metrics!`: `CONSTANT Kind "name" ["label"] "help" (in BUCKETS)?;`
fn rows(source: &str) -> Vec<Row> {
    let (_, body) = source.split_once("\nmetrics! {").expect("the table is one invocation of `metrics!`");
    let (body, _) = body.split_once("\n}").expect("the invocation ends");
    let code: String = body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let rows: Vec<_> = code.split(";\n").map(str::trim).filter(|row| !row.is_empty()).map(read).collect();
    assert_eq!(rows.len(), code.matches("\"kapelle_").count(), "every row of the table is understood");
    rows
}

fn read(row: &str) -> Row {
    let (labels, help) = row.split_once('[').and_then(|(_, rest)| rest.split_once(']')).expect("a row has labels");
    let kind = row.split_whitespace().nth(1).expect("a row has a kind").to_lowercase();
    let quoted = |text: &str| text.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let name = quoted(row).swap_remove(0);
    Row { kind, name, labels: quoted(labels), help: quoted(help).swap_remove(0) }
}

#[test]
fn rows_are_read_as_they_stand() {
    let source = "\nmetrics! {\n    // One\n    A Counter \"kapelle_a_total\" [] \"A; and b\";\n    B Histogram \"kapelle_b\" \
                  [\"x\", \"y\"]\n        \"Both\" in IO;\n}\n";
    let want = "| `kapelle_a_total` | counter |  | A; and b |\n| `kapelle_b` | histogram | `x` `y` | Both |\n";
    assert!(render(&rows(source)).ends_with(want));
}
