//! The report for people: the components, the trial, what it touches, what is open, what became of it.

use std::fmt::Write as _;

use serde_json::Value;

use super::draft::{Fact, State};
use super::touched::Touched;
use super::trial::{Task, Trial};
use super::{File, Report};
use crate::command::{apply, diff};
use crate::output::{Table, bold, dim};

/// Characters of a value in a table; `-o json` has all of it.
const VALUE_CHARS_MAX: usize = 60;
/// Fields of a schema that a table names.
const FIELDS_MAX: usize = 6;

/// Everything, in the order in which it was done.
pub(super) fn page(report: &Report, program: &str) -> String {
    let mut text = bold(&report.agent);
    if let Some(source) = &report.source {
        let _ = write!(text, "  {} ({})", source.url, source.digest); // a String takes it
    }
    section(&mut text, "components", &components(&report.components));
    let tried = report.trial.as_ref().map_or("None: this version is registered with this content.".to_owned(), tried);
    section(&mut text, "trial", &tried);
    section(&mut text, "touches", &touches(&report.touches, report.asked));
    if !report.open.is_empty() {
        section(&mut text, "open", &report.open.join("\n"));
    }
    section(&mut text, "file", &file(&report.file, report.plan));
    if report.plan {
        let note =
            if report.asked { "" } else { " No coordinator answers, so nothing that is registered was looked at." };
        let _ = write!(text, "\n\n{}", dim(&format!("A plan: nothing was registered or written.{note}"))); // a String takes it
    } else {
        section(&mut text, "registered", &apply::table(&report.applied));
        let name = report.agent.split('@').next().unwrap_or_default();
        let _ = write!(text, "\n\n{}", dim(&format!("`{program} agent impact {name}` shows who depends on it."))); // a String takes it
    }
    text
}

/// What a trial that failed shows: every sample, what the agent was refused, its last words.
pub(super) fn failed(trial: &Trial) -> String {
    let mut text = tried(trial);
    for task in &trial.tasks {
        let Some(error) = &task.error else { continue };
        let _ = write!(text, "\n\n{}  {}", error.code, error.message); // a String takes it
        for line in error.evidence.lines() {
            let _ = write!(text, "\n  | {line}"); // a String takes it
        }
    }
    for refusal in &trial.refused {
        let _ = write!(text, "\n\nrefused   {}\n  grant it  {}", refusal.what, refusal.grant); // a String takes it
    }
    text
}

fn section(text: &mut String, name: &str, body: &str) {
    let _ = write!(text, "\n\n{}\n{body}", bold(name)); // a String takes it
}

fn components(facts: &[Fact]) -> String {
    let mut table = Table::new(&["component", "what", "is", "known from"]);
    let mut last = "";
    for fact in facts {
        let component = if fact.component == last { "" } else { fact.component };
        last = fact.component;
        let from = match fact.state {
            State::Proposed => format!("proposed: {}", fact.from),
            State::Missing => format!("open: {}", fact.from),
            State::Default => "default".to_owned(),
            State::Written | State::Given | State::Inferred | State::Measured => fact.from.clone(),
        };
        table.row([component, fact.about, &shown(&fact.value), &from]);
    }
    table.render("")
}

fn tried(trial: &Trial) -> String {
    let mut table = Table::new(&["sample", "status", "took", "cost", "tokens", "as in the sample"]);
    for Task { sample, status, duration_ms, cost_usd, input_tokens, output_tokens, as_in_sample, .. } in &trial.tasks {
        let tokens = input_tokens + output_tokens;
        let same = as_in_sample.map_or("-", |same| if same { "yes" } else { "no" });
        let (took, cost) = (format!("{duration_ms} ms"), usd(*cost_usd));
        table.row([sample, status, &took, &cost, &tokens.to_string(), same]);
    }
    let sandbox = if trial.sandbox { "" } else { "\nWithout a sandbox: what it would have been refused is not known." };
    format!("{}{sandbox}", table.render(""))
}

fn touches(touched: &Touched, asked: bool) -> String {
    let mut parts = Vec::new();
    match &touched.contract {
        Some(diff) => parts.push(diff::page(diff)),
        None if !asked => parts.push("contract  not compared: no coordinator answers".to_owned()),
        None => {}
    }
    let mut steps = Table::new(&["workflow", "step", "asks for", "now"]);
    for it in &touched.steps {
        steps.row([&it.workflow, &it.step, &it.asks_for, it.now.as_deref().unwrap_or("nobody")]);
    }
    parts.push(steps.render("No step of a registered workflow gets it by this."));
    let subjects = touched.permissions.publish.iter().map(|it| format!("publish    {it}"));
    let subjects = subjects.chain(touched.permissions.subscribe.iter().map(|it| format!("subscribe  {it}")));
    parts.push(format!(
        "Its worker's user at the broker needs, more than others:\n{}",
        subjects.collect::<Vec<_>>().join("\n")
    ));
    let needs = touched.needs.told();
    if !needs.is_empty() {
        parts.push(format!("Workers have to provide:\n{}", needs.join("\n")));
    }
    if let Some(cost) = touched.cost.as_ref().filter(|it| it.per_task_usd_max > 0.0) {
        parts.push(format!(
            "It may cost, by the trial: {} a task, {} a step with all its retries, {} for all that may run at a time.",
            usd(cost.per_task_usd_max),
            usd(cost.per_step_usd_max),
            usd(cost.at_a_time_usd_max)
        ));
    }
    let mut findings = Table::new(&["status", "finding", "found"]);
    for it in &touched.findings {
        findings.row([if it.severity == "error" { "FAIL" } else { "WARN" }, it.finding, &it.message]);
    }
    if !touched.findings.is_empty() {
        parts.push(format!("`agent check` will say:\n{}", findings.render("")));
    }
    parts.join("\n\n")
}

fn file(file: &File, plan: bool) -> String {
    let path = file.path.display();
    match (file.outcome, plan) {
        ("unchanged", _) => format!("{path} stays as it is"),
        ("created", false) => format!("{path} was written"),
        ("created", true) => format!("{path} would be written"),
        (_, plan) => {
            let would =
                if plan { "would change, with `--write`:" } else { "was changed; agent.yaml.orig is as it was:" };
            let changes = file.changes.iter().map(|it| {
                let was =
                    if it.was.is_null() { String::new() } else { format!("\n- {}: {}", it.field, shown(&it.was)) };
                format!("{was}\n+ {}: {}", it.field, shown(&it.is))
            });
            format!("{path} {would}{}", changes.collect::<String>())
        }
    }
}

/// An amount to a millionth, without the zeros that say nothing.
fn usd(amount: f64) -> String {
    let text = format!("{amount:.6}");
    format!("${}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A value in a few words: a list of words as they are said, a schema by its fields.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Object(fields) if fields.is_empty() => "nothing".to_owned(),
        Value::Object(fields) if fields.contains_key("type") || fields.contains_key("properties") => schema(value),
        Value::Object(fields) => {
            fields.iter().map(|(name, it)| format!("{name} {}", shown(it))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn schema(value: &Value) -> String {
    let kind = match &value["type"] {
        Value::String(one) => one.clone(),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    };
    let Value::Object(fields) = &value["properties"] else { return kind };
    let required = value["required"].as_array().cloned().unwrap_or_default();
    let named =
        |name: &String| if required.contains(&name.as_str().into()) { name.clone() } else { format!("{name}?") };
    let mut names: Vec<String> = fields.keys().take(FIELDS_MAX).map(named).collect();
    if fields.len() > FIELDS_MAX {
        names.push("…".to_owned());
    }
    format!("{kind} of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use kapelle_manifest::Manifest;
    use serde_json::json;

    use super::super::components::{Stated, complete};
    use super::super::draft::Draft;
    use super::super::program::Program;
    use super::super::samples::Sample;
    use super::super::touched::Registered;
    use super::super::{learned, open, refused};
    use super::*;
    use crate::command::apply::Applied;
    use crate::view::Error;

    fn task(sample: &str, error: Option<Error>) -> Task {
        let status = if error.is_none() { "COMPLETED" } else { "FAILED" };
        Task {
            sample: sample.into(),
            status: status.into(),
            duration_ms: 1_234,
            cost_usd: 0.002,
            input_tokens: 10,
            output_tokens: 2,
            output: json!({ "words": 2 }),
            as_in_sample: error.is_none().then_some(true),
            error,
        }
    }

    /// What an agent without a manifest comes to, for which nobody said its risk.
    fn report(plan: bool) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let input = json!({ "text": "a b" });
        let samples = [Sample { name: "a".into(), input, output: Some(json!({ "words": 2 })) }];
        let program = Program { command: vec!["./count".into()], because: "#!/bin/sh".into() };
        let said = |text: &str| Some(text.to_owned());
        let name = Some("count".parse().unwrap());
        let stated = Stated { name, owner: said("me"), purpose: said("Count."), ..Stated::default() };
        let mut draft = Draft::read(folder.path(), false).unwrap();
        complete(&mut draft, &stated, folder.path(), &[program], &samples);
        let trial = Trial { passed: true, sandbox: true, tasks: vec![task("a", None)], refused: vec![] };
        learned::take(&mut draft, &samples, &trial);
        let (found, agent) = draft.manifests().unwrap();
        let cost = Some(learned::cost(&agent, &trial));
        let [kind, name, version, outcome] = ["Agent", "count", "1.0.0", "created"].map(str::to_owned);
        Report {
            agent: agent.version().to_string(),
            folder: "/agents/count".into(),
            source: None,
            open: open(&draft),
            touches: Touched::of(&agent, &found, (!plan).then(Registered::default).as_ref(), cost).unwrap(),
            file: File { path: "/agents/count/agent.yaml".into(), outcome: "created", changes: vec![] },
            manifest: Manifest::Agent(agent).to_value(),
            components: draft.facts,
            trial: Some(trial),
            applied: vec![Applied { kind, name, version, outcome }],
            plan,
            asked: !plan,
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn everything_is_said_in_the_order_in_which_it_was_done() {
        insta::assert_snapshot!("registered", plain(&page(&report(false), "kapelle")));
    }

    #[test]
    fn a_plan_says_that_it_is_one() {
        let page = plain(&page(&report(true), "kapelle"));
        assert!(page.contains("agent.yaml would be written") && !page.contains("OUTCOME"), "{page}");
        assert!(page.ends_with("nothing that is registered was looked at."), "{page}");
    }

    #[test]
    fn a_failed_trial_shows_what_is_known_of_it() {
        let error = Error {
            code: "K0402".into(),
            message: "the agent ended with exit status: 1 without an answer".into(),
            kind: "agent".into(),
            retryable: true,
            evidence: "Traceback\nPermissionError: [Errno 13] Permission denied: '/srv/models'".into(),
        };
        let refused = refused::explain(&error);
        let tasks = vec![task("a", None), task("b", Some(error))];
        let trial = Trial { passed: false, sandbox: false, tasks, refused };
        insta::assert_snapshot!("failed", plain(&failed(&trial)));
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!([0.0, 0.1 + 0.2, 0.0006, 12.0].map(usd), ["$0", "$0.3", "$0.0006", "$12"]);
    }

    #[test]
    fn values_are_said_in_a_few_words() {
        for (value, text) in [
            (json!(null), "-"),
            (json!(["python3", "main.py"]), "python3 main.py"),
            (json!({}), "nothing"),
            (json!({ "max_attempts": 3 }), "max_attempts 3"),
            (json!({ "type": ["string", "null"] }), "string or null"),
            (
                json!({ "type": "object", "required": ["text"], "properties": { "text": {}, "max": {} } }),
                "object of text, max?",
            ),
        ] {
            assert_eq!(shown(&value), text);
        }
        assert_eq!(shown(&json!("x".repeat(100))).chars().count(), VALUE_CHARS_MAX + 1);
    }
}
