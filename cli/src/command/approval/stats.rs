//! `kapelle approval stats`: how well people decide.

use clap::Args;
use kapelle_proto::v1;
use serde_json::{Value, json};

use crate::app::App;
use crate::command::audit::Moment;
use crate::failure::Failure;

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// Since when: how long ago (7d) or a moment in RFC 3339
    #[arg(long, default_value = "7d", value_name = "WHEN")]
    since: Moment,
    /// Only of this workflow. Default: of all
    #[arg(long, default_value = "", hide_default_value = true, value_name = "WORKFLOW")]
    workflow: String,
}

pub(super) async fn show(app: &App, asked: Asked) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::ApprovalStatsRequest { since_unix_nanos: asked.since.nanos(), workflow: asked.workflow };
    let stats = client.approvals().stats(request).await.map_err(|s| client.failure(s))?.into_inner();
    app.output.show(&shown(&stats), |_| page(&stats))
}

fn shown(it: &v1::ApprovalStats) -> Value {
    json!({
        "asked": it.asked, "approved": it.approved, "rejected": it.rejected, "expired": it.expired,
        "withdrawn": it.withdrawn, "open": it.open,
        "decide_seconds": { "p50": it.decide_p50_seconds, "p95": it.decide_p95_seconds },
        "open_seconds": { "p50": it.open_p50_seconds, "p95": it.open_p95_seconds },
        "decisions": it.decisions, "unopened": it.unopened, "rubber_stamps": it.rubber_stamps,
        "succeeded_after": it.succeeded_after, "failed_after": it.failed_after,
        "blocked_seconds": it.blocked_seconds, "blocked_cost_usd": it.blocked_cost_usd,
        "complete": it.complete,
    })
}

fn page(it: &v1::ApprovalStats) -> String {
    if it.asked == 0 {
        return "Nobody was asked for anything that was decided or over since then.".to_owned();
    }
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<16}{value}"));
    let v1::ApprovalStats { asked, approved, rejected, expired, withdrawn, open, .. } = *it;
    line(
        "asked",
        format!(
            "{asked}: {approved} approved, {rejected} rejected, {expired} expired, {withdrawn} withdrawn, {open} open"
        ),
    );
    line("until opened", format!("{} (half), {} (95 %)", time(it.open_p50_seconds), time(it.open_p95_seconds)));
    line("until decided", format!("{} (half), {} (95 %)", time(it.decide_p50_seconds), time(it.decide_p95_seconds)));
    line("decisions", format!("{}, {} of them unopened", it.decisions, it.unopened));
    line("rubber stamps", format!("{}: agreed to unopened, or within 10 s of opening it", it.rubber_stamps));
    line("then", format!("{} steps succeeded, {} failed", it.succeeded_after, it.failed_after));
    line("runs waited", format!("{} in all, having cost ${:.4}", time(it.blocked_seconds), it.blocked_cost_usd));
    if !it.complete {
        lines.push("There was more than one answer reads: these are the latest.".to_owned());
    }
    lines.join("\n")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time for people")]
fn time(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    humantime::format_duration(std::time::Duration::from_secs(seconds as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_how_well_people_decide() {
        let stats = v1::ApprovalStats { asked: 3, approved: 2, open: 1, rubber_stamps: 1, ..Default::default() };
        let told = page(&stats);
        assert!(told.contains("3: 2 approved") && told.contains("1: agreed to unopened"), "{told}");
        assert!(told.contains("more than one answer reads"), "{told}");
        assert!(page(&v1::ApprovalStats::default()).contains("Nobody was asked"));
        assert_eq!((time(1.25), time(3_600.4)), ("1.2s".to_owned(), "1h".to_owned()));
    }
}
