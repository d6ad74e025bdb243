//! The manifests that scenarios are made of.

use serde_json::{Value, json};

/// The agent that most steps use: three attempts, quick retries.
pub(super) const PLAYER: &str = "player@^1";
/// Another one, so that a worker has two queues.
pub(super) const SECOND: &str = "second@^1";

/// One that takes and gives objects with a number `value`.
pub(super) const STRICT: &str = "strict@^1";

/// One that may spend little.
pub(super) const THRIFTY: &str = "thrifty@^1";

/// One whose tasks share limits by what they are given.
pub(super) const KEYED: &str = "keyed@^1";

/// All agents.
pub(super) fn agents() -> Vec<Value> {
    let mut strict = agent("strict");
    let schema = json!({ "type": "object", "required": ["value"], "properties": { "value": { "type": "number" } } });
    strict["spec"]["input"]["schema"] = schema.clone();
    strict["spec"]["output"]["schema"] = schema;
    let mut thrifty = agent("thrifty");
    let limits = json!({ "concurrency": 16, "timeout": "60s", "cost_per_run": 1, "tokens": 100, "payload": "1KiB" });
    thrifty["spec"]["role"]["limits"] = limits;
    let mut keyed = agent("keyed");
    keyed["spec"]["role"]["limits"]["by_key"] = json!({ "key": "${input.host}", "concurrency": 2, "rate": "100/s" });
    vec![agent("player"), agent("second"), strict, thrifty, keyed]
}

fn agent(name: &str) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "role": {
                "purpose": "Does what its input says.", "responsibilities": ["play"], "capabilities": ["test.play"],
                "limits": { "concurrency": 16, "timeout": "60s" },
            },
            "input": { "schema": {} }, "output": { "schema": {} }, "runtime": { "native": {} },
            "retry": { "max_attempts": 3, "initial": "50ms", "max": "200ms" },
        },
    })
}

/// A workflow over any object.
pub(super) fn workflow(name: &str, steps: &Value, output: &str) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": { "input": { "schema": { "type": "object" } }, "steps": steps, "output": output },
    })
}

/// Steps in a row, each handing on what it gets.
pub(super) fn chain(name: &str, length: usize) -> Value {
    let step = |n: usize| {
        let with = if n == 0 { "${input}".to_owned() } else { format!("${{steps.s{}.output}}", n - 1) };
        json!({ "id": format!("s{n}"), "agent": PLAYER, "with": with })
    };
    let steps: Vec<Value> = (0..length).map(step).collect();
    workflow(name, &json!(steps), &format!("${{steps.s{}.output}}", length - 1))
}

/// One step over `input.items`.
pub(super) fn fan_out(name: &str, max_parallel: u32) -> Value {
    let each = json!({
        "id": "each", "agent": PLAYER, "foreach": "${input.items}", "max_parallel": max_parallel,
        "with": "${item}",
    });
    workflow(name, &json!([each]), "${steps.each.outputs}")
}
