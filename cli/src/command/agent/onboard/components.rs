//! The seven components of an agent, one after the other: what is written of each, what is inferred, what nobody says.

use std::path::Path;

use kapelle_manifest::{CONCURRENCY_DEFAULT, Contract, infer};
use kapelle_types::limits::TIMEOUT_DEFAULT;
use kapelle_types::{AgentName, RetryPolicy, Version};
use serde_json::{Value, json};

use super::draft::{Draft, Fact, Otherwise, Slot, State};
use super::program::Program;
use super::samples::{self, Sample};
use crate::output::span;

/// What it gives.
const OUTPUT: Slot = slot("contract", "output", "spec.output.schema");
/// The version of an agent that was never registered.
const VERSION: &str = "1.0.0";

/// What the command line says of the agent.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What the folder does not say")]
pub(super) struct Stated {
    /// Its name. Default: that of agent.yaml, else the folder's
    #[arg(long)]
    pub(super) name: Option<AgentName>,
    /// Its version. Default: that of agent.yaml, else 1.0.0
    #[arg(long)]
    pub(super) version: Option<Version>,
    /// Who answers for it: a person or, better, a team. Default: that of agent.yaml, else it is asked
    #[arg(long)]
    pub(super) owner: Option<String>,
    /// What it is for, in one sentence. Default: that of agent.yaml, else it is asked
    #[arg(long)]
    pub(super) purpose: Option<String>,
    /// What it answers for; repeat it for more
    #[arg(long = "responsibility", value_name = "TEXT")]
    pub(super) responsibilities: Vec<String>,
    /// What it can do, as a name that steps ask for; repeat it for more
    #[arg(long = "capability", value_name = "NAME")]
    pub(super) capabilities: Vec<String>,
    /// How much harm it can do: minimal, limited or high. Default: that of agent.yaml, else it is asked and may stay open
    #[arg(long, value_parser = ["minimal", "limited", "high"], hide_possible_values = true)]
    pub(super) risk: Option<String>,
    /// The program with its arguments, divided at blanks. Default: that of agent.yaml, else the only program in the folder
    #[arg(long)]
    pub(super) command: Option<String>,
    /// How it is spoken to: jsonl (one process, task after task) or once (a process a task). Default: jsonl
    #[arg(long, value_parser = ["jsonl", "once"], hide_possible_values = true)]
    pub(super) protocol: Option<String>,
    /// How long one attempt may take, as 20s or 5m. Default: that of agent.yaml, else ten times the slowest trial
    #[arg(long, value_name = "DURATION")]
    pub(super) timeout: Option<String>,
}

/// Everything that is known before the agent was tried.
pub(super) fn complete(draft: &mut Draft, stated: &Stated, folder: &Path, programs: &[Program], samples: &[Sample]) {
    role(draft, stated, folder);
    contract(draft, samples);
    access(draft);
    runtime(draft, stated, programs);
    resilience(draft, stated);
    let how = "`--risk minimal|limited|high`, after EU AI Act tiers; docs/guides/roles.md";
    let given = stated.risk.clone().map(|it| ("--risk", it.into()));
    draft.settle(slot("risk", "tier", "spec.risk"), given, Otherwise::Missing(how));
    limits(draft);
}

const fn slot(component: &'static str, about: &'static str, field: &'static str) -> Slot {
    Slot { component, about, field }
}

fn role(draft: &mut Draft, stated: &Stated, folder: &Path) {
    let text = |flag: &'static str, value: &Option<String>| value.clone().map(|it| (flag, Value::from(it)));
    let list = |flag: &'static str, all: &[String]| (!all.is_empty()).then(|| (flag, json!(all)));
    let name = match named_after(folder) {
        Some(name) => Otherwise::Needed(name.into(), "the folder's name".into()),
        None => Otherwise::Lacking("say it with `--name`; the folder's name is none for an agent".into()),
    };
    let given = stated.name.as_ref().map(|it| ("--name", it.as_str().into()));
    draft.settle(slot("role", "name", "metadata.name"), given, name);
    let given = stated.version.as_ref().map(|it| ("--version", it.to_string().into()));
    let first = Otherwise::Needed(VERSION.into(), "the first version".into());
    draft.settle(slot("role", "version", "metadata.version"), given, first);
    let owner = Otherwise::Lacking("say with `--owner` who answers for it".into());
    draft.settle(slot("role", "owner", "metadata.owner"), text("--owner", &stated.owner), owner);
    let purpose = Otherwise::Lacking("say with `--purpose` in one sentence what it is for".into());
    draft.settle(slot("role", "purpose", "spec.role.purpose"), text("--purpose", &stated.purpose), purpose);
    let given = list("--responsibility", &stated.responsibilities);
    let how = Otherwise::Missing("`--responsibility TEXT`: what it answers for");
    draft.settle(slot("role", "responsibilities", "spec.role.responsibilities"), given, how);
    let given = list("--capability", &stated.capabilities);
    let how = Otherwise::Missing("`--capability NAME`: what steps may ask for instead of its name");
    draft.settle(slot("role", "capabilities", "spec.role.capabilities"), given, how);
}

fn contract(draft: &mut Draft, samples: &[Sample]) {
    let inputs = samples.iter().map(|it| &it.input);
    draft.settle(
        slot("contract", "input", "spec.input.schema"),
        None,
        Otherwise::Better(infer(inputs).schema().clone(), told(samples.len(), "sample")),
    );
    let outputs: Vec<&Value> = samples.iter().filter_map(|it| it.output.as_ref()).collect();
    let otherwise = if outputs.is_empty() {
        Otherwise::Missing("no sample has an output; the trial may tell")
    } else {
        Otherwise::Better(infer(outputs.iter().copied()).schema().clone(), told(outputs.len(), "sample"))
    };
    draft.settle(OUTPUT, None, otherwise);
}

/// What the outputs of the trial say beside those of the samples, where no author said more.
pub(super) fn learn_outputs(draft: &mut Draft, samples: &[Sample], outputs: &[&Value]) {
    let expected = samples.iter().filter_map(|it| it.output.as_ref());
    let schema = infer(expected.chain(outputs.iter().copied())).schema().clone();
    draft.learn(OUTPUT, schema, told(outputs.len(), "output of the trial"));
}

/// What a schema was inferred from. One value shows no field that may be left out.
fn told(count: usize, what: &str) -> String {
    let (one, many) = what
        .split_once(' ')
        .map_or((what.to_owned(), format!("{what}s")), |(noun, rest)| (what.to_owned(), format!("{noun}s {rest}")));
    match count {
        1 => format!("1 {one}, so every field counts as required"),
        count => format!("{count} {many}"),
    }
}

fn access(draft: &mut Draft) {
    let nothing = Otherwise::Default(json!({}));
    draft.settle(slot("access", "grants", "spec.access"), None, nothing);
}

fn runtime(draft: &mut Draft, stated: &Stated, programs: &[Program]) {
    if let Some(native) = draft.written("spec.runtime.native").cloned() {
        let from = draft.name();
        let fact =
            Fact { component: "runtime", about: "native", value: native, state: State::Written, from: from.clone() };
        draft.note(fact);
        let why = "it is code in a worker of your own, which is not tried here; apply it with `kapelle apply`";
        draft.lacks.push(format!("native: {from} says that {why}"));
        return;
    }
    // A model has no program; who gives one besides is told that an agent has one runtime.
    if let (Some(model), None) = (draft.written("spec.runtime.model"), &stated.command) {
        let value = json!(format!("{} at {}", plain(&model["model"]), plain(&model["endpoint"])));
        let from = draft.name();
        draft.note(Fact { component: "runtime", about: "model", value, state: State::Written, from });
        return;
    }
    let given = stated.command.as_ref().map(|it| ("--command", json!(it.split_whitespace().collect::<Vec<_>>())));
    let command = match programs {
        [one] => Otherwise::Needed(json!(one.command), one.because.clone()),
        [] => Otherwise::Lacking(
            "say it with `--command`; the folder has no program that says by itself how it is run".into(),
        ),
        several => {
            let names: Vec<String> = several.iter().map(|it| format!("`{}`", it.command.join(" "))).collect();
            Otherwise::Lacking(format!("say with `--command` which of these it is: {}", names.join(", ")))
        }
    };
    draft.settle(slot("runtime", "command", "spec.runtime.process.command"), given, command);
    let given = stated.protocol.as_ref().map(|it| ("--protocol", it.as_str().into()));
    let usual = Otherwise::Default("jsonl".into());
    draft.settle(slot("runtime", "protocol", "spec.runtime.process.protocol"), given, usual);
}

/// A text as it is; nothing for what is none, which the check of the manifest reports.
fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn resilience(draft: &mut Draft, stated: &Stated) {
    let given = stated.timeout.as_ref().map(|it| ("--timeout", it.as_str().into()));
    let usual = Otherwise::Default(span(TIMEOUT_DEFAULT).into());
    draft.settle(slot("resilience", "timeout", "spec.role.limits.timeout"), given, usual);
    let usual = Otherwise::Default(json!({ "max_attempts": RetryPolicy::default().max_attempts }));
    draft.settle(slot("resilience", "retry", "spec.retry"), None, usual);
    let usual = Otherwise::Default(CONCURRENCY_DEFAULT.into());
    draft.settle(slot("resilience", "concurrency", "spec.role.limits.concurrency"), None, usual);
}

/// Limits beside those that every agent has.
fn limits(draft: &mut Draft) {
    let mut others = draft.written("spec.role.limits").and_then(Value::as_object).cloned().unwrap_or_default();
    others.retain(|name, _| !["timeout", "concurrency"].contains(&name.as_str()));
    if !others.is_empty() {
        let (value, from) = (Value::Object(others), draft.name());
        draft.note(Fact { component: "cost", about: "limits", value, state: State::Written, from });
    }
}

/// A timeout that follows from what was measured.
pub(super) fn learn_timeout(draft: &mut Draft, timeout: &str, why: String) {
    let otherwise = Otherwise::Better(timeout.into(), why);
    draft.settle(slot("resilience", "timeout", "spec.role.limits.timeout"), None, otherwise);
}

/// That there is something to try it with.
pub(super) fn need_samples(draft: &mut Draft, samples: &[Sample]) {
    if samples.is_empty() {
        draft.lacks.push(format!("samples: there is none to try it with. {}", samples::FORM));
    }
}

/// A name for an agent, made of the folder's.
fn named_after(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?.to_ascii_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    name.parse::<AgentName>().ok().map(|it| it.as_str().to_owned())
}

/// The contracts as they stand in the draft.
pub(super) fn contracts(draft: &Draft) -> [Contract; 2] {
    ["spec.input.schema", "spec.output.schema"]
        .map(|field| draft.written(field).map_or_else(Contract::any, |it| Contract::new(it.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_name_if_it_is_one() {
        for (folder, name) in [
            ("/x/word-count", Some("word-count")),
            ("/x/Word_Count 2", Some("word-count-2")),
            ("/x/_internal_", Some("internal")),
            ("/x/2nd", None),
            ("/", None),
        ] {
            assert_eq!(named_after(Path::new(folder)).as_deref(), name, "{folder}");
        }
    }

    #[test]
    fn few_samples_are_said_to_be_few() {
        assert_eq!(told(1, "output of the trial"), "1 output of the trial, so every field counts as required");
        assert_eq!(told(2, "output of the trial"), "2 outputs of the trial");
        assert_eq!(told(3, "sample"), "3 samples");
    }
}
