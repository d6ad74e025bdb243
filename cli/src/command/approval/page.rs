//! What `kapelle approval show` prints: everything that somebody who decides has to know.

use serde_json::Value;

use crate::output::bold;
use crate::view::{Approval, Change};

/// Differences that are printed; `-o json` has all.
const CHANGES_SHOWN: usize = 40;

/// One step that waits for people.
pub(super) fn page(it: &Approval) -> String {
    let mut lines = vec![bold(&it.title)];
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{name:<13}{value}"));
        }
    };
    line("why", &it.reason);
    line("run", &format!("{}  {}", it.run_id, it.workflow));
    line("step", &it.step);
    line("done by", it.agent.as_deref().unwrap_or_default());
    if let Some(performer) = &it.performer {
        line("it is for", &performer.purpose);
        line("it belongs to", &performer.owner);
        line("its risk", performer.risk.as_deref().unwrap_or("not said"));
        line("its limits", &limits(&performer.limits));
    }
    for other in &it.alternatives {
        let risk = other.risk.as_deref().unwrap_or("not said");
        line(
            "instead",
            &format!("{}  {}  (risk {risk}; {})", other.agent, other.purpose, other.capabilities.join(", ")),
        );
    }
    line("submitted by", it.submitted_by.as_deref().unwrap_or("nobody known"));
    line("asked", &if it.groups.is_empty() { "any approver".to_owned() } else { it.groups.join(", ") });
    line("agreed", &format!("{} of {}  {}", it.agreed.len(), it.quorum, it.agreed.join(", ")));
    line("asked at", it.asked_at.as_deref().unwrap_or_default());
    line("reminded at", &it.reminds_at.join(", "));
    for rung in &it.escalation {
        line("asked too", &format!("{} from {} on", rung.groups.join(", "), rung.at.as_deref().unwrap_or_default()));
    }
    line("denied at", it.expires_at.as_deref().unwrap_or_default());
    line("cost so far", &if it.run_cost_usd > 0.0 { format!("${:.4}", it.run_cost_usd) } else { String::new() });
    line("digest", &it.digest);
    line("if approved", &it.on_approve);
    line("if rejected", &it.on_reject);
    line("if silent", &it.on_expiry);
    for source in &it.sources {
        let by = source.agent.as_ref().map(|agent| format!("  by {agent}")).unwrap_or_default();
        line("made of", &format!("{}{by}", source.reference));
    }
    let edited = if it.edited { "given (edited)" } else { "given" };
    let arguments = serde_json::to_string_pretty(&it.arguments).unwrap_or_default();
    lines.push(format!("{edited}\n{arguments}"));
    lines.extend(differences(it));
    lines.join("\n")
}

fn differences(it: &Approval) -> Vec<String> {
    let Some(run) = &it.compared_with else { return Vec::new() };
    let at = it.compared_at.as_deref().unwrap_or_default();
    if it.changes.is_empty() {
        return vec![format!("the same as was agreed to last, at {at} in run {run}")];
    }
    let mut lines = vec![format!("different from what was agreed to last, at {at} in run {run}")];
    lines.extend(it.changes.iter().take(CHANGES_SHOWN).map(difference));
    let more = it.changes.len().saturating_sub(CHANGES_SHOWN);
    if more > 0 {
        lines.push(format!("  and {more} more: `-o json` has all"));
    }
    lines
}

fn difference(it: &Change) -> String {
    let path = if it.path.is_empty() { "the whole" } else { &it.path };
    match it.kind {
        "added" => format!("  + {path}  {}", it.after),
        "removed" => format!("  - {path}  {}", it.before),
        _ => format!("  ~ {path}  {} is now {}", it.before, it.after),
    }
}

fn limits(limits: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = limits.as_object().into_iter().flatten();
    fields.map(|(name, value)| format!("{name} {}", text(value))).collect::<Vec<_>>().join(", ")
}
