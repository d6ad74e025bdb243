//! `kapelle approval …`: steps that wait for people, looked at and decided. A decision names the digest of what was shown.

mod bulk;
mod delegations;
mod page;
mod stats;

use clap::{Args, Subcommand};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use serde_json::json;

use super::fleet::since;
use super::run::input;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Table;
use crate::view::Approval;
use bulk::Bulk;
use delegations::Given;
use page::page;
use stats::Asked;

/// What can be done about approvals.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
What is decided is exactly what `show` shows, by its digest; if anything about it changes, the decision counts for nothing.
It takes a person: sign in with a JWT of an issuer, API tokens approve nothing.")]
pub(crate) enum Verb {
    /// What waits for people, the latest runs first
    List {
        /// How many runs at most
        #[arg(short = 'n', long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// One step that waits: what would be done, by whom, with what
    Show(Place),
    /// Agree to it as it is
    Approve(Decision),
    /// Say no: it is not done
    Reject(Decision),
    /// Agree to it with other arguments, which is another question to everybody else who is asked
    Edit {
        #[command(flatten)]
        decision: Decision,
        /// The arguments: a file, `-` for stdin, or JSON such as '{"amount": 5}'
        #[arg(long, value_name = "FILE")]
        arguments: String,
    },
    /// Let it be done though others would have to agree; for administrators, and an event of its own
    Override(Decision),
    /// Take back that you agreed, while more persons have to
    Undo(Decision),
    /// Decide what is alike by one rule: a preview, then `--yes`. Each is decided by its own digest
    Bulk(Bulk),
    /// Let somebody decide in your place until a time
    Delegate(Given),
    /// Who decides in whose place now
    Delegations,
    /// Take back that somebody decides in your place
    Undelegate {
        /// The person
        #[arg(long, value_name = "PERSON")]
        to: String,
    },
    /// How well people decide: how long they take, whether they look, and what came of it
    Stats(Asked),
}

/// A step that waits.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The run's id
    run: String,
    /// The step, or one member of it: review:17
    step: String,
}

/// What somebody says.
#[derive(Debug, Args)]
pub(crate) struct Decision {
    #[command(flatten)]
    place: Place,
    /// The digest that `kapelle approval show` showed
    #[arg(long)]
    digest: String,
    /// Why, for whoever reads the run's log and the audit trail. Default: nothing is said
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    comment: String,
}

/// `kapelle approval …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::List { limit } => list(app, limit).await?,
        Verb::Show(place) => show(app, place).await?,
        Verb::Approve(decision) => decide(app, "approve", decision, bytes::Bytes::new()).await?,
        Verb::Reject(decision) => decide(app, "reject", decision, bytes::Bytes::new()).await?,
        Verb::Edit { decision, arguments } => {
            let arguments = input::read(Some(&arguments))?.into();
            decide(app, "edit", decision, arguments).await?;
        }
        Verb::Override(decision) => overrule(app, decision).await?,
        Verb::Undo(decision) => decide(app, "undo", decision, bytes::Bytes::new()).await?,
        Verb::Bulk(bulk) => return bulk::decide(app, bulk).await,
        Verb::Delegate(given) => delegations::give(app, given).await?,
        Verb::Delegations => delegations::list(app).await?,
        Verb::Stats(asked) => stats::show(app, asked).await?,
        Verb::Undelegate { to } => delegations::end(app, &to).await?,
    }
    Ok(Exit::Ok)
}

async fn list(app: &App, limit: u32) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.approvals().list(v1::ListApprovalsRequest { limit }).await;
    let answer = answer.map_err(|s| client.failure(s))?.into_inner();
    let approvals: Vec<Approval> = answer.approvals.into_iter().map(Into::into).collect();
    app.output.show(&approvals, |approvals| table(approvals))
}

async fn show(app: &App, place: Place) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::GetApprovalRequest { run_id: place.run, step: place.step };
    let answer = client.approvals().get(request).await.map_err(|s| client.failure(s))?;
    app.output.show(&Approval::from(answer.into_inner()), page)
}

async fn decide(app: &App, decision: &str, said: Decision, arguments: bytes::Bytes) -> Result<(), Failure> {
    let Decision { place: Place { run, step }, digest, comment } = said;
    let client = app.client().await?;
    let request = v1::DecideApprovalRequest {
        run_id: run.clone(),
        step: step.clone(),
        digest,
        decision: decision.to_owned(),
        arguments,
        comment,
        id: String::new(),
    };
    let answer = client.approvals().decide(request).await.map_err(|s| client.failure(s))?.into_inner();
    tell(app, &run, &step, &answer)
}

async fn overrule(app: &App, said: Decision) -> Result<(), Failure> {
    let Decision { place: Place { run, step }, digest, comment } = said;
    let client = app.client().await?;
    let request = v1::OverrideApprovalRequest { run_id: run.clone(), step: step.clone(), digest, comment };
    let answer = client.approvals().r#override(request).await.map_err(|s| client.failure(s))?.into_inner();
    tell(app, &run, &step, &answer)
}

fn tell(app: &App, run: &str, step: &str, answer: &v1::DecideApprovalResponse) -> Result<(), Failure> {
    let shown = json!({ "run_id": run, "step": step, "seq": answer.seq, "outcome": answer.outcome });
    app.output.show(&shown, |_| match answer.outcome.as_str() {
        "waiting" => format!("Recorded. Step {step} waits for more persons."),
        "rejected" => format!("Step {step} is rejected."),
        _ => format!("Step {step} is decided. It goes on if everybody who agreed still may."),
    })
}

fn table(approvals: &[Approval]) -> String {
    let mut table = Table::new(&["run", "step", "title", "agreed", "asked", "age", "expires"]);
    for it in approvals {
        let groups = if it.groups.is_empty() { "any approver".to_owned() } else { it.groups.join(" ") };
        let agreed = format!("{}/{}", it.agreed.len(), it.quorum);
        let age = since(it.asked_at.as_deref(), clock::now());
        let expires = it.expires_at.clone().unwrap_or_default();
        table.row([it.run_id.clone(), it.step.clone(), it.title.clone(), agreed, groups, age, expires]);
    }
    table.render("Nothing waits for people.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> Approval {
        v1::ApprovalView {
            run_id: "r-1".into(),
            step: "pay".into(),
            workflow: "invoice@1.0.0".into(),
            title: "Pay the invoice?".into(),
            groups: vec!["legal".into()],
            quorum: 2,
            agreed: vec!["bob@example.com".into()],
            agent: "payer@1.0.0".into(),
            arguments: r#"{"amount":5}"#.into(),
            digest: "ab".repeat(32),
            asked_at_unix_nanos: 1_000_000,
            expires_at_unix_nanos: 259_200_001_000_000,
            submitted_by: "ada@example.com".into(),
            on_reject: "it is not done (K0330), and the run ends FAILED".into(),
            performer: Some(v1::ApprovalAgent {
                purpose: "Pays invoices.".into(),
                owner: "finance@example.com".into(),
                risk: "high".into(),
                limits: r#"{"concurrency":1,"timeout":"20s"}"#.into(),
            }),
            alternatives: vec![v1::ApprovalAlternative {
                agent: "clerk@2.0.0".into(),
                purpose: "Has a clerk pay.".into(),
                risk: String::new(),
                capabilities: vec!["invoice.pay".into()],
            }],
            run_cost_usd: 0.25,
            sources: vec![v1::ApprovalSource { reference: "steps.review.output".into(), agent: "review@1.0.0".into() }],
            changes: vec![
                v1::ApprovalChange { path: "/amount".into(), before: "4".into(), after: "5".into() },
                v1::ApprovalChange { path: "/to".into(), before: "".into(), after: r#""x""#.into() },
            ],
            compared_with: "r-0".into(),
            ..v1::ApprovalView::default()
        }
        .into()
    }

    #[test]
    fn what_would_be_done_is_shown_whole() {
        let shown = anstream::adapter::strip_str(&page(&view())).to_string();
        for part in [
            "Pay the invoice?",
            "payer@1.0.0",
            "ada@example.com",
            "1 of 2  bob@example.com",
            "\"amount\": 5",
            "Pays invoices.",
            "concurrency 1, timeout 20s",
            "clerk@2.0.0  Has a clerk pay.  (risk not said; invoice.pay)",
            "steps.review.output  by review@1.0.0",
            "$0.2500",
            "the run ends FAILED",
            "~ /amount  4 is now 5",
            "+ /to  \"x\"",
            "in run r-0",
            &"ab".repeat(32),
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(table(&[view()]).contains("1/2") && table(&[]) == "Nothing waits for people.");
    }
}
