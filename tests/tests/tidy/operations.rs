//! The operations guide is checked against the source: the table of metrics and the ports.

use std::fs;

use kapelle_telemetry::metrics::{ALL, Kind, Metric};

use crate::hold;
use crate::tree::{file, root};

/// The guide.
const GUIDE: &str = "docs/operations.md";
/// Where the ports are.
const PORTS: &str = "cli/src/stack/ports.rs";
const BEGIN: &str = "<!-- metrics: generated from the table in shared/telemetry/src/metrics.rs -->\n";
const END: &str = "<!-- /metrics -->";

#[test]
fn the_guide_has_every_metric() {
    let guide = &file(GUIDE).text;
    let want = render();
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

/// The table of metrics as the guide has it.
fn render() -> String {
    let mut text = "| metric | kind | labels | what it says |\n|---|---|---|---|\n".to_owned();
    for Metric { name, kind, labels, help, .. } in ALL {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = labels.iter().map(|l| format!("`{l}`")).collect();
        text += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(" "));
    }
    text
}
