//! The agent of the scripted worker, and workflows over it.

use serde_json::{Value, json};

/// The name of the scripted agent.
pub const SCRIPTED: &str = "scripted";

/// The agent that does what its input says; see `src/bin/scripted-worker.rs`.
#[must_use]
pub fn scripted_agent(concurrency: u32) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": SCRIPTED, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "role": {
                "purpose": "Does what its input says.", "responsibilities": ["play"], "capabilities": ["test.play"],
                "limits": { "concurrency": concurrency, "timeout": "20s" },
            },
            "input": { "schema": { "type": "object" } }, "output": { "schema": { "type": "object" } },
            "runtime": { "native": {} },
            "retry": { "max_attempts": 4, "initial": "50ms", "max": "500ms" },
        },
    })
}

/// Steps in a row, each handing on what it gets and adding one to `value`.
#[must_use]
pub fn chain(name: &str, length: usize) -> Value {
    let step = |n: usize| {
        let with = if n == 0 { "${input}".to_owned() } else { format!("${{steps.s{}.output}}", n - 1) };
        json!({ "id": format!("s{n}"), "agent": format!("{SCRIPTED}@^1"), "with": with })
    };
    let steps: Vec<Value> = (0..length).map(step).collect();
    workflow(name, &json!(steps), &format!("${{steps.s{}.output}}", length - 1))
}

/// Any workflow over an object.
#[must_use]
pub fn workflow(name: &str, steps: &Value, output: &str) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": { "input": { "schema": { "type": "object" } }, "steps": steps, "output": output },
    })
}

/// A process agent: the manifest of a program that lies beside it.
#[must_use]
pub fn process_agent(name: &str, command: &[&str], protocol: &str, timeout: &str) -> String {
    let command = serde_json::to_string(command).expect("text is JSON");
    format!(
        "apiVersion: kapelle.dev/v1\nkind: Agent\n\
         metadata: {{ name: {name}, version: 1.0.0, owner: tests@example.com }}\n\
         spec:\n  role:\n    purpose: Plays one part in a test.\n    responsibilities: [play]\n    \
         capabilities: [test.play]\n    limits: {{ concurrency: 8, timeout: {timeout} }}\n  \
         input: {{ schema: {{ type: object }} }}\n  output: {{ schema: {{ type: object }} }}\n  \
         runtime: {{ process: {{ command: {command}, protocol: {protocol} }} }}\n  \
         retry: {{ max_attempts: 2, initial: 50ms, max: 100ms }}\n"
    )
}

/// A workflow of one step that hands the input to an agent and gives back its output.
#[must_use]
pub fn one_step(name: &str, agent: &str) -> String {
    format!(
        "apiVersion: kapelle.dev/v1\nkind: Workflow\n\
         metadata: {{ name: {name}, version: 1.0.0, owner: tests@example.com }}\n\
         spec:\n  input: {{ schema: {{ type: object }} }}\n  steps:\n    \
         - {{ id: play, agent: {agent}@^1, with: \"${{input}}\" }}\n  output: \"${{steps.play.output}}\"\n"
    )
}
