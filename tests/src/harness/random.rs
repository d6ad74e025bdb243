//! Random workflows as manifests: the plans of the simulation, written down as people would, over one agent that is a program.

use kapelle_types::{RunId, Sha256, StepRef};
use serde_json::{Map, Value, json};

use crate::simulation::random_workflow_of;

/// The agent of all random workflows.
pub const PLAYER: &str = "player";
/// Those whom its steps may be handed to.
pub const HANDS: [&str; 2] = ["agent-hand-a", "agent-hand-b"];
/// The program of them all: it keeps what it did in a file of its own, outside Kapelle.
const PROGRAM: &str = include_str!("player.py");
/// Workflows that steps may run, of each of two levels.
const BELOW: u64 = 8;
/// Steps of a workflow that jobs name, and of one that steps run.
const STEPS_MAX: usize = 6;
const STEPS_MAX_BELOW: usize = 3;
/// How long people are asked, in ms: not all of them are answered.
const EXPIRES_MS_MAX: u64 = 5_000;

/// The name of a random workflow.
#[must_use]
pub fn random_name(seed: u64) -> String {
    format!("random-{seed}")
}

/// The input of a job of this number.
#[must_use]
pub fn random_job(seed: u64) -> Value {
    kapelle_engine::testing::random_input(seed)
}

/// The agents' program.
#[must_use]
pub const fn player() -> &'static str {
    PROGRAM
}

/// The agents of random workflows.
#[must_use]
pub fn random_agents(command: &[&str]) -> Vec<Value> {
    [PLAYER].iter().chain(&HANDS).map(|name| agent(name, command)).collect()
}

fn agent(name: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "role": {
                "purpose": "Does what its input says.", "responsibilities": ["play"], "capabilities": ["test.play"],
                "limits": { "concurrency": 400, "timeout": "20s" },
            },
            "input": { "schema": {} },
            "output": { "schema": {
                "type": "object", "required": ["n", "list"],
                "properties": { "n": { "type": "integer" }, "list": { "type": "array", "items": { "type": "integer" } } },
            } },
            "runtime": { "process": { "command": command, "protocol": "jsonl" } },
        },
    })
}

/// What steps of random workflows run, the innermost first.
#[must_use]
pub fn random_below(seed: u64) -> Vec<Value> {
    let leaves = (0..BELOW).map(|nth| of_a_step(seed ^ 0x1eaf, &format!("leaf-{nth}"), nth, None));
    let others =
        (0..BELOW).map(|nth| of_a_step(seed ^ 0x0743, &format!("other-{nth}"), nth, Some(format!("leaf-{nth}"))));
    leaves.chain(others).collect()
}

fn of_a_step(seed: u64, name: &str, nth: u64, below: Option<String>) -> Value {
    let below = below.map(|name| format!("{name}@1.0.0"));
    manifest(name, &random_workflow_of(seed.wrapping_add(nth), STEPS_MAX_BELOW, below.as_deref(), true))
}

/// A random workflow that jobs name.
#[must_use]
pub fn random_manifest(seed: u64) -> Value {
    let below = format!("other-{}@1.0.0", seed % BELOW);
    manifest(&random_name(seed), &random_workflow_of(seed, STEPS_MAX, Some(&below), false))
}

/// What the agent returns when it succeeds. The program says the same.
#[must_use]
pub fn random_output(run: RunId, place: &StepRef) -> Value {
    let digest = Sha256::of(format!("{run}/{place}").as_bytes()).to_string();
    let digit = |at: usize| digest.as_bytes().get(digest.len() - 1 - at).map_or(0, |it| u64::from(*it));
    let list: Vec<u64> = (0..digit(1) % 4).zip(2..).map(|(_, at)| digit(at) % 8).collect();
    json!({ "n": digit(0) % 10, "list": list, "of": place.to_string() })
}

fn manifest(name: &str, spec: &Value) -> Value {
    let opaque: Vec<&str> =
        listed(&spec["steps"]).filter(|of| is_opaque(of)).filter_map(|of| of["id"].as_str()).collect();
    let about = |source: &str| opaque.iter().any(|id| source.starts_with(&format!("steps.{id}.output.")));
    let steps: Vec<Value> = listed(&spec["steps"])
        .map(|of| {
            let mut of = of.clone();
            for (field, instead) in [("when", "input.go"), ("foreach", "input.list")] {
                if of.get(field).and_then(Value::as_str).is_some_and(about) {
                    of.insert(field.to_owned(), json!(instead));
                }
            }
            step(&of)
        })
        .collect();
    let mut written = json!({ "input": { "schema": {} }, "steps": steps, "output": spec["output"] });
    written["signals"] = json!({ "go": {}, "stop": {} });
    for field in ["on_failure", "finally"] {
        if spec[field].is_array() {
            written[field] = listed(&spec[field]).map(step).collect();
        }
    }
    if spec["continue"].is_object() {
        written["continue"] =
            json!({ "when": expression(&spec["continue"]["when"]), "with": spec["continue"]["with"] });
    }
    for (field, ms) in [("close_within", "close_ms"), ("deadline", "deadline_ms")] {
        if let Some(ms) = spec[ms].as_u64() {
            // Real processes need longer than those of the model.
            written[field] = json!(format!("{}ms", ms.max(1) * 10));
        }
    }
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" }, "spec": written,
    })
}

/// Whether it is known of a step that its output has nothing of what agents return: whoever asks for that is refused.
fn is_opaque(of: &Map<String, Value>) -> bool {
    ["approval", "detach", "emit", "wait", "switch"].iter().any(|kind| of.contains_key(*kind))
}

fn listed(list: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    list.as_array().into_iter().flatten().filter_map(Value::as_object)
}

/// A step as manifests have it: what a plan of a test may say and a manifest may not is left out.
fn step(of: &Map<String, Value>) -> Value {
    let kinds = ["value", "switch", "wait", "signal", "emit", "workflow", "approval"];
    let kind = kinds.into_iter().find(|kind| of.contains_key(*kind)).unwrap_or("agent");
    let mut written = Map::new();
    let mut put = |field: &str, value: Value| drop(written.insert(field.to_owned(), value));
    for field in ["id", "needs", "join", "max_parallel", "batch", "max_failures", "emit", "signal", "wait", "value"] {
        if let Some(value) = of.get(field).filter(|value| **value != json!([])) {
            put(field, value.clone());
        }
    }
    for field in ["when", "foreach"] {
        of.get(field).into_iter().for_each(|source| put(field, expression(source)));
    }
    let is_reported = ["agent", "emit", "workflow"].contains(&kind);
    if is_reported || kind == "approval" {
        put("with", of.get("with").map_or_else(|| json!({}), with));
    }
    if is_reported {
        put("retry", of.get("retry").map_or_else(|| json!({}), retry));
    }
    if !["value", "switch", "wait"].contains(&kind) {
        of.get("on_give_up").into_iter().for_each(|it| put("on_give_up", it.clone()));
    }
    match kind {
        "agent" => put("agent", json!(format!("{PLAYER}@^1"))),
        "switch" => put("switch", of["switch"].as_array().into_iter().flatten().map(case).collect()),
        "workflow" => put("workflow", json!(of["workflow"].as_str().map(|it| it.replace("@1.0.0", "@^1")))),
        "signal" => {
            put("timeout", json!(format!("{}ms", of.get("timeout_ms").and_then(Value::as_u64).unwrap_or(2_000))))
        }
        _ => {}
    }
    of.get("detach").into_iter().for_each(|it| put("detach", it.clone()));
    for field in ["approve", "approval"] {
        of.get(field).into_iter().for_each(|it| put(field, approval(it)));
    }
    if let Some(of) = of.get("repeat").filter(|_| ["agent", "workflow"].contains(&kind)) {
        let on_max = if of["accept"] == true { "accept" } else { "give_up" };
        put("repeat", json!({ "until": expression(&of["until"]), "max": of["max"], "on_max": on_max }));
    }
    if let Some(of) = of.get("handoff").filter(|_| kind == "agent") {
        let to = HANDS.map(|name| format!("{name}@^1"));
        let mut handoff = json!({ "to": to, "next": expression(&of["next"]), "max": of["max"] });
        of.get("with").into_iter().for_each(|with| handoff["with"] = with.clone());
        put("handoff", handoff);
    }
    if let Some(undo) = of.get("compensate").and_then(Value::as_object) {
        put("compensate", step(undo));
    }
    Value::Object(written)
}

/// What breaks on purpose in the model would not be registered.
fn with(of: &Value) -> Value {
    let mut of = of.clone();
    of.as_object_mut().map(|fields| fields.remove("breaks"));
    of
}

fn case(of: &Value) -> Value {
    let mut case = json!({ "case": of["case"] });
    if of["when"].is_string() {
        case["when"] = expression(&of["when"]);
    }
    case
}

fn expression(source: &Value) -> Value {
    json!(format!("${{{}}}", source.as_str().unwrap_or_default()))
}

fn retry(of: &Value) -> Value {
    json!({ "max_attempts": of["max_attempts"], "initial": "50ms", "max": "200ms", "jitter": of["jitter"] })
}

fn approval(of: &Value) -> Value {
    let ms = |value: &Value| format!("{value}ms");
    let expires = of["expires_ms"].as_u64().unwrap_or_default().min(EXPIRES_MS_MAX);
    let mut written = json!({
        "title": "may it?", "quorum": of["quorum"], "expires": format!("{expires}ms"),
        "self_approval": of["self"], "groups": of["groups"],
    });
    let rungs = of["escalate"].as_array().cloned().unwrap_or_default();
    // A rung that nobody needs is refused.
    if of["groups"] != json!([]) && rungs.iter().all(|it| it["after_ms"].as_u64() < Some(expires)) {
        let rung = |it: &Value| json!({ "after": ms(&it["after_ms"]), "to": it["to"] });
        written["escalate"] = rungs.iter().map(rung).collect();
    }
    written
}
