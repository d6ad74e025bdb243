//! `kapelle approval bulk …`: what is alike, decided by one rule. Each is decided by its own digest, as if it were asked for alone.

use clap::{Args, ValueEnum};
use kapelle_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Table;
use crate::view::Approval;

/// What is decided together.
#[derive(Debug, Args)]
pub(crate) struct Bulk {
    /// What is said to each of them
    #[arg(value_enum)]
    decision: Decision,
    /// The workflow whose runs ask
    #[arg(long, value_name = "WORKFLOW")]
    workflow: String,
    /// The step that asks, with all its members if it has any
    #[arg(long, value_name = "STEP")]
    step: String,
    /// Only those whose arguments, as `input`, this accepts: 'input.amount < 100'. Default: all
    #[arg(long = "where", default_value = "", hide_default_value = true, value_name = "EXPRESSION")]
    rule: String,
    /// Leave so many of them, spread by their digests, for people to look at one by one
    #[arg(long, default_value_t = 0, value_name = "N")]
    sample: u32,
    /// Why, for whoever reads the runs' logs and the audit trail. Default: nothing is said
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    comment: String,
    /// Decide, instead of showing what would be decided
    #[arg(long)]
    yes: bool,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    Approve,
    Reject,
}

impl Decision {
    const fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// What became of one of them, or would.
#[derive(Debug, Serialize)]
struct Outcome {
    run_id: String,
    step: String,
    digest: String,
    arguments: Value,
    /// `would`, `left`, `waiting`, `decided`, `rejected` or `refused`
    outcome: String,
    /// Why it was refused.
    why: String,
}

/// What became of all of them.
#[derive(Debug, Serialize)]
struct Report {
    decision: &'static str,
    decided: bool,
    /// There are more than one selection finds.
    more: bool,
    approvals: Vec<Outcome>,
}

pub(super) async fn decide(app: &App, bulk: Bulk) -> Result<Exit, Failure> {
    let client = app.client().await?;
    let Bulk { decision, workflow, step, rule, sample, comment, yes } = bulk;
    let request = v1::AlikeRequest { workflow, step, r#where: rule, sample };
    let answer = client.approvals().alike(request).await.map_err(|s| client.failure(s))?.into_inner();
    let mut report = Report { decision: decision.word(), decided: yes, more: answer.more, approvals: Vec::new() };
    for found in answer.found {
        let Some(view) = found.approval else { continue };
        let (mut outcome, mut why) = (if found.left { "left" } else { "would" }.to_owned(), String::new());
        if yes && !found.left {
            let request = v1::DecideApprovalRequest {
                run_id: view.run_id.clone(),
                step: view.step.clone(),
                digest: view.digest.clone(),
                decision: decision.word().to_owned(),
                comment: comment.clone(),
                ..v1::DecideApprovalRequest::default()
            };
            match client.approvals().decide(request).await {
                Ok(answer) => outcome = answer.into_inner().outcome,
                Err(refused) => (outcome, why) = ("refused".to_owned(), client.failure(refused).message().to_owned()),
            }
        }
        let Approval { run_id, step, digest, arguments, .. } = view.into();
        report.approvals.push(Outcome { run_id, step, digest, arguments, outcome, why });
    }
    let refused = report.approvals.iter().any(|it| it.outcome == "refused");
    app.output.show(&report, page)?;
    Ok(if refused { Exit::Failed } else { Exit::Ok })
}

fn page(report: &Report) -> String {
    let mut table = Table::new(&["run", "step", "given", "outcome"]);
    for it in &report.approvals {
        let outcome = if it.why.is_empty() { it.outcome.clone() } else { format!("{}: {}", it.outcome, it.why) };
        table.row([it.run_id.clone(), it.step.clone(), it.arguments.to_string(), outcome]);
    }
    let mut text = table.render("Nothing that is alike waits for people.");
    if !report.decided && !report.approvals.is_empty() {
        let left = report.approvals.iter().filter(|it| it.outcome == "left").count();
        let would = report.approvals.len() - left;
        text +=
            &format!("\nNothing was decided. {would} would be: {}; {left} left. Say it with --yes.", report.decision);
    }
    if report.more {
        text += "\nThere are more: repeat it when these are decided.";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_says_what_would_be_decided_and_what_is_left() {
        let one = |outcome: &str| Outcome {
            run_id: "r-1".into(),
            step: "gate".into(),
            digest: "ab".into(),
            arguments: serde_json::json!({ "amount": 5 }),
            outcome: outcome.into(),
            why: String::new(),
        };
        let mut report =
            Report { decision: "approve", decided: false, more: true, approvals: vec![one("would"), one("left")] };
        let told = page(&report);
        assert!(told.contains("1 would be: approve; 1 left") && told.contains("There are more"), "{told}");
        report.decided = true;
        assert!(!page(&report).contains("Nothing was decided"));
    }
}
