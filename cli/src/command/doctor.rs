//! `kapelle doctor`: does everything that should answer answer? One line a check, with what mends it.

mod broker;
mod coordinator;
mod machine;

use std::path::PathBuf;

use serde::Serialize;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::output::{Table, dim};
use crate::stack::Address;

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Address,
    /// The data folder of `kapelle dev`, to see how full its disk is; not looked at if it is not there
    #[arg(long, default_value = ".kapelle/dev", value_name = "DIR")]
    data_dir: PathBuf,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    /// It is as it should be.
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not answer, or will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    status: Verdict,
    message: String,
    /// What mends it; empty if nothing has to be mended.
    hint: String,
}

/// All checks.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, status: Verdict::Ok, message: message.into(), hint: String::new() }
    }

    fn warn(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, status: Verdict::Warn, message: message.into(), hint: hint.into() }
    }

    fn fail(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, status: Verdict::Fail, message: message.into(), hint: hint.into() }
    }
}

/// `kapelle doctor`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let mut checks = broker::checks(&args.broker).await;
    checks.extend(coordinator::checks(&app.target).await);
    checks.extend(machine::disk(&args.data_dir));
    let report = Report { ok: checks.iter().all(|c| c.status != Verdict::Fail), checks };
    app.output.show(&report, render)?;
    Ok(exit(&report))
}

/// 5 if somebody does not answer at all, 1 if something else is wrong.
fn exit(report: &Report) -> Exit {
    let silent =
        |c: &Check| c.status == Verdict::Fail && (c.name == broker::REACHABLE || c.name == coordinator::REACHABLE);
    match report {
        Report { ok: true, .. } => Exit::Ok,
        Report { checks, .. } if checks.iter().any(silent) => Exit::Unavailable,
        Report { .. } => Exit::Failed,
    }
}

fn render(report: &Report) -> String {
    let mut table = Table::new(&["status", "check", "found"]);
    for c in &report.checks {
        table.row([c.status.word(), c.name, &c.message]);
    }
    let mut text = table.render("Nothing was checked.");
    let hints: Vec<_> = report.checks.iter().filter(|c| !c.hint.is_empty()).collect();
    if !hints.is_empty() {
        text += "\n\n";
        text += &hints.iter().map(|c| format!("{}: {}", c.name, c.hint)).collect::<Vec<_>>().join("\n");
    }
    let sentence = if report.ok { "Everything that should answer does." } else { "Something needs mending." };
    format!("{text}\n\n{}", dim(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(checks: Vec<Check>) -> Report {
        Report { ok: checks.iter().all(|c| c.status != Verdict::Fail), checks }
    }

    #[test]
    fn the_exit_code_says_whether_somebody_is_silent() {
        let warned = report(vec![Check::ok("broker", ""), Check::warn("disk", "", "")]);
        assert_eq!(exit(&warned), Exit::Ok);
        assert_eq!(exit(&report(vec![Check::fail("streams", "", "")])), Exit::Failed);
        assert_eq!(
            exit(&report(vec![Check::fail("streams", "", ""), Check::fail("broker", "", "")])),
            Exit::Unavailable
        );
    }

    #[test]
    fn each_check_is_a_line_and_hints_come_after() {
        let all = report(vec![
            Check::ok("broker", "nats-server 2.15.1 at nats://127.0.0.1:7422"),
            Check::fail("workers", "nobody serves a@1.0.0", "Start one with `kapelle worker start`."),
        ]);
        insta::assert_snapshot!("report", anstream::adapter::strip_str(&render(&all)).to_string());
    }
}
