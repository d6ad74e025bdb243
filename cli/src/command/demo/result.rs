//! What the demo ends with: how the run ended, what was found, where it lies, what to try next.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::log;
use super::sbom::Verdict;
use crate::command::run::{advice, steps};
use crate::output::{bold, dim, span, status};
use crate::view::Run;
use kapelle_types::Timestamp;

/// The demo's result; the run's own fields stand at the top, as `run execute` prints them.
#[derive(Debug, Serialize)]
pub(super) struct Result {
    #[serde(flatten)]
    run: Run,
    sbom: Verdict,
    /// Where the demo's log is.
    log: String,
}

impl Result {
    pub(super) fn new(run: Run, sbom: Verdict, folder: &Path) -> Self {
        Self { run, sbom, log: folder.join(log::FILE).display().to_string() }
    }

    /// Whether the run COMPLETED and its SBOM is valid.
    pub(super) fn is_good(&self) -> bool {
        self.run.status == "COMPLETED" && self.sbom.valid
    }
}

/// How things are named on the page.
pub(super) struct Shown<'a> {
    /// As this program was called.
    pub(super) program: &'a str,
    /// As it was given.
    pub(super) data_dir: &'a Path,
}

impl Shown<'_> {
    /// The path of a file in the data folder as a person would type it.
    fn path(&self, output: &Value, pointer: &str) -> String {
        let path = output.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        Path::new(path)
            .file_name()
            .map_or_else(|| path.to_owned(), |name| self.data_dir.join(name).display().to_string())
    }
}

/// The result for people.
pub(super) fn page(result: &Result, shown: &Shown<'_>) -> String {
    let run = &result.run;
    let mut text = format!("\n  {}", bold(&status(&run.status)));
    if let Some(took) = took(run) {
        let _ = write!(text, " in {took}"); // a String takes whatever is written to it
    }
    let _ = writeln!(text, "   {}\n", dim(&format!("run {}", run.run_id)));
    if run.status != "COMPLETED" {
        return text + &trouble(result);
    }
    let output = &run.output;
    let count = |pointer: &str| output.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let word = |pointer: &str| output.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    let ours = format!(
        "{} third-party, {} of the project's own",
        count("/summary/third_party"),
        count("/summary/first_party")
    );
    line("components", &format!("{} ({ours})", count("/summary/components")));
    line("licences", &categories(output));
    let risk = output["risk"].as_f64().unwrap_or_default();
    line("risk", &format!("{risk:.2} ({}), {} components with a finding", word("/level"), count("/findings")));
    line("SBOM", &shown.path(output, "/sbom/path"));
    line("", &validity(result));
    line("report", &shown.path(output, "/report/path"));
    let retries: u32 = run.steps.iter().map(crate::view::Step::failed_attempts).sum();
    let attempts: u32 = run.steps.iter().map(|s| s.attempts).sum();
    let retries = if retries == 1 { "1 retry".to_owned() } else { format!("{retries} retries") };
    line("tasks", &format!("{attempts} executed, {retries}"));
    text + &next(result, shown)
}

fn validity(result: &Result) -> String {
    if result.sbom.valid {
        return format!("{} against the CycloneDX 1.6 schema", status("OK").replace("OK", "valid"));
    }
    format!(
        "{} against the CycloneDX 1.6 schema: {}",
        status("FAIL").replace("FAIL", "NOT VALID"),
        result.sbom.problems.join("; ")
    )
}

/// Third-party components by the category of their licence, the most frequent first.
fn categories(output: &Value) -> String {
    let mut counts: Vec<_> =
        output["categories"].as_object().into_iter().flatten().filter_map(|(k, v)| Some((v.as_u64()?, k))).collect();
    counts.sort_by(|a, b| b.cmp(a));
    counts.iter().map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

fn trouble(result: &Result) -> String {
    let run = &result.run;
    let mut text = steps(&run.steps);
    if let Some(error) = &run.error {
        let _ = write!(text, "\n\n  {} {}\n", error.code, error.message);
        for line in error.evidence.lines() {
            let _ = writeln!(text, "    {}", dim(line));
        }
    }
    let _ = write!(text, "\n  The log is {}. {}", result.log, dim(&advice(run)));
    text
}

fn next(result: &Result, shown: &Shown<'_>) -> String {
    let Shown { program, data_dir } = shown;
    let mut text = format!("\n  {}\n", bold("What to try next"));
    for (command, why) in [
        (format!("less {}", shown.path(&result.run.output, "/report/path")), "what was found, for people"),
        (
            format!("{program} dev --data-dir {}", data_dir.display()),
            "everything again on this run's store; then beside it:",
        ),
        (format!("{program} run describe {}", result.run.run_id), "the run and its steps"),
        (format!("{program} run show {}", result.run.run_id), "its log, every recorded fact"),
        (format!("{program} demo --input examples/software-intake/samples/npm"), "an npm project"),
    ] {
        let _ = writeln!(text, "  {command}\n      {}", dim(why));
    }
    text
}

fn took(run: &Run) -> Option<String> {
    let (from, to) = (run.submitted_at.as_deref()?, run.finished_at.as_deref()?);
    Some(span(Timestamp::parse(to)?.since(Timestamp::parse(from)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_proto::v1;
    use serde_json::json;

    fn result(status: v1::RunStatus, valid: bool) -> Result {
        let output = json!({
            "sbom": { "path": "/d/sbom.cdx.json", "components": 3 }, "report": { "path": "/d/report.md" },
            "risk": 0.314, "level": "medium", "findings": 2,
            "summary": { "components": 412, "third_party": 400, "first_party": 12 },
            "categories": { "permissive": 390, "unknown": 2, "weak-copyleft": 8 },
        });
        let view = v1::RunView {
            run_id: "r-1".into(),
            status: status as i32,
            output: output.to_string().into(),
            steps: vec![v1::StepView {
                step: "review".into(),
                status: "SUCCEEDED".into(),
                attempts: 413,
                members_total: 412,
                members_done: 412,
                ..Default::default()
            }],
            submitted_at_unix_nanos: 1_000_000_000,
            finished_at_unix_nanos: 7_420_000_000,
            ..Default::default()
        };
        let problems = if valid { vec![] } else { vec!["/components/0: wrong".to_owned()] };
        Result::new(view.into(), Verdict { valid, problems }, Path::new("/d"))
    }

    #[test]
    fn the_result_says_what_was_found_and_where() {
        let page = page(
            &result(v1::RunStatus::Completed, true),
            &Shown { program: "target/debug/kapelle", data_dir: Path::new(".kapelle/demo") },
        );
        insta::assert_snapshot!("page", anstream::adapter::strip_str(&page).to_string());
    }

    #[test]
    fn only_completed_with_a_valid_sbom_is_good() {
        assert!(result(v1::RunStatus::Completed, true).is_good());
        assert!(!result(v1::RunStatus::Completed, false).is_good());
        assert!(!result(v1::RunStatus::Stalled, true).is_good());
        let json = serde_json::to_value(result(v1::RunStatus::Completed, true)).unwrap();
        assert_eq!((&json["status"], &json["sbom"]["valid"]), (&json!("COMPLETED"), &json!(true)));
    }
}
