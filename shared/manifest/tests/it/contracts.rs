//! What steps are given against what their agents take.

use std::sync::Arc;

use kapelle_manifest::{Agents, Manifest, Problem, check, parse, warnings};

/// An agent with these schemas, as YAML in flow style.
fn agent(name: &str, input: &str, output: &str) -> String {
    format!(
        "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: {name}, version: 1.0.0, owner: o }}\nspec:\n  \
         role: {{ purpose: Plays a part. }}\n  input: {{ schema: {input} }}\n  output: {{ schema: {output} }}\n  \
         runtime: {{ native: {{}} }}\n---\n"
    )
}

fn workflow(input: &str, steps: &str) -> String {
    format!(
        "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: {{ name: w, version: 1.0.0, owner: o }}\nspec:\n  \
         input: {{ schema: {input} }}\n  output: 1\n  steps:\n{steps}"
    )
}

/// One line for each problem of the workflow: error or warning, place, message.
fn told(text: &str) -> Vec<String> {
    let manifests = parse("w.yaml", text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let agents: Agents = manifests
        .iter()
        .filter_map(|it| match &it.manifest {
            Manifest::Agent(agent) => Some(Arc::new(agent.clone())),
            Manifest::Workflow(_) => None,
        })
        .collect();
    let line = |it: Problem| {
        format!("{} {} {}: {}", if it.warning { "warning" } else { "error" }, it.code(), it.pointer, it.message)
    };
    let all = |it| check(it, &agents).into_iter().chain(warnings(it, &agents));
    manifests.iter().flat_map(all).map(line).collect()
}

const NUMBER: &str = "{ type: object, required: [n], properties: { n: { type: integer, minimum: 0 } } }";
const TEXT: &str = "{ type: object, required: [t], properties: { t: { type: string }, u: { type: string } } }";

/// What becomes of one step's `with` whose agent takes `takes`, after a step `a` that gives `gives`.
fn of(input: &str, gives: &str, takes: &str, step: &str) -> Vec<String> {
    let steps = format!("    - {{ id: a, agent: a }}\n    - {{ id: b, agent: b, {step} }}\n");
    told(&(agent("a", "{}", gives) + &agent("b", takes, "{}") + &workflow(input, &steps)))
}

#[test]
fn what_fits_is_passed_in_silence() {
    for (input, gives, takes, step) in [
        ("{}", NUMBER, NUMBER, "with: \"${steps.a.output}\""),
        ("{}", NUMBER, NUMBER, "with: { n: \"${steps.a.output.n}\" }"),
        (TEXT, "{}", TEXT, "with: { t: \"${input.t}\" }"),
        (TEXT, "{}", TEXT, "with: { t: \"number ${input.t}\", u: \"${run.id}\" }"),
        // A blank behind it makes it a text.
        (TEXT, "{}", TEXT, "with: { t: \"${size(input.t)} \" }"),
        // Nothing is known of what is calculated, of what is not declared, and of fields nobody lists.
        (TEXT, "{}", NUMBER, "with: { n: \"${size(input.t)}\" }"),
        (TEXT, "{}", NUMBER, "with: \"${steps.a.output}\""),
        ("{}", "{}", NUMBER, "with: { n: \"${input.n}\" }"),
        ("{}", TEXT, "{ type: object, properties: { other: { type: integer } } }", "with: \"${steps.a.output}\""),
        // Of a list: its items, their index, all outputs.
        (
            "{ type: object, required: [l], properties: { l: { type: array, items: { type: string } } } }",
            "{}",
            TEXT,
            "foreach: \"${input.l}\", with: { t: \"${item}\" }",
        ),
        (
            "{ type: object, required: [l], properties: { l: { type: array, items: { type: string } } } }",
            "{}",
            NUMBER,
            "foreach: \"${input.l}\", with: { n: \"${index}\" }",
        ),
        // One's own condition is taken for a look at what may be missing.
        (TEXT, "{}", TEXT, "when: \"${has(input.u)}\", with: { t: \"${input.u}\" }"),
    ] {
        assert_eq!(of(input, gives, takes, step), [""; 0], "{step}");
    }
}

#[test]
fn what_can_never_fit_is_an_error() {
    for (input, gives, takes, step, said) in [
        (
            TEXT,
            "{}",
            NUMBER,
            "with: { n: \"${input.t}\" }",
            "error K0113 /spec/steps/1/with/n: the agent `b@1.0.0` takes nothing of what can be given here: the value is not of type \"integer\" (rule /properties/n/type)",
        ),
        (
            "{}",
            "{}",
            NUMBER,
            "with: { n: -1 }",
            "error K0113 /spec/steps/1/with/n: the agent `b@1.0.0` takes nothing of what can be given here: the value is less than the minimum of 0 (rule /properties/n/minimum)",
        ),
        (
            "{}",
            "{}",
            NUMBER,
            "with: { n: \"a ${input.x}\" }",
            "error K0113 /spec/steps/1/with/n: the agent `b@1.0.0` takes nothing of what can be given here: the value is not of type \"integer\" (rule /properties/n/type)",
        ),
        ("{}", "{}", NUMBER, "with: {}", "error K0113 /spec/steps/1/with: the agent `b@1.0.0` needs `n`"),
        (
            "{}",
            "{ type: array }",
            NUMBER,
            "with: \"${steps.a.output}\"",
            "error K0113 /spec/steps/1/with: the agent `b@1.0.0` takes nothing of what can be given here: the value is not of type \"object\" (rule /type)",
        ),
        (
            "{}",
            "{ type: object, additionalProperties: false }",
            NUMBER,
            "with: \"${steps.a.output}\"",
            "error K0113 /spec/steps/1/with: the agent `b@1.0.0` takes nothing of what can be given here: \"n\" is a required property (rule /required)",
        ),
        (
            "{}",
            "{}",
            TEXT,
            "with: { t: [1] }",
            "error K0113 /spec/steps/1/with/t: the agent `b@1.0.0` takes nothing of what can be given here: the value is not of type \"string\" (rule /properties/t/type)",
        ),
    ] {
        let told = of(input, gives, takes, step);
        assert_eq!(told.iter().filter(|it| it.starts_with("error")).collect::<Vec<_>>(), [said], "{told:#?}");
    }
}

#[test]
fn what_need_not_fit_is_a_warning() {
    let list =
        "{ type: object, required: [l], properties: { l: { type: array, items: { type: [string, \"null\"] } } } }";
    for (input, gives, takes, step, said) in [
        (
            "{}",
            "{ type: object, properties: { n: { type: integer } } }",
            NUMBER,
            "with: \"${steps.a.output}\"",
            "warning K0113 /spec/steps/1/with: the agent `b@1.0.0` may refuse this: \"n\" is a required property (rule /required)",
        ),
        (
            "{}",
            "{ type: object, required: [n], properties: { n: { type: number } } }",
            NUMBER,
            "with: { n: \"${steps.a.output.n}\" }",
            "warning K0113 /spec/steps/1/with/n: the agent `b@1.0.0` may refuse this: the value is not of type \"integer\" (rule /properties/n/type)",
        ),
        (
            list,
            "{}",
            TEXT,
            "foreach: \"${input.l}\", with: { t: \"${item}\" }",
            "warning K0113 /spec/steps/1/with/t: the agent `b@1.0.0` may refuse this: the value is not of type \"string\" (rule /properties/t/type)",
        ),
        (
            TEXT,
            "{}",
            TEXT,
            "with: { t: \"${input.u}\" }",
            "warning K0113 /spec/steps/1/with/t: `input.u` does not have to be there, says its schema; then the run stalls",
        ),
    ] {
        let told = of(input, gives, takes, step);
        assert!(told.iter().any(|it| it == said), "{told:#?}");
        assert!(told.iter().all(|it| it.starts_with("warning")), "{told:#?}");
    }
}

#[test]
fn a_step_that_may_be_skipped_gives_null() {
    let steps = "    - { id: a, agent: a, when: \"${has(input.x)}\" }\n    - { id: b, agent: b, with: \"${steps.a.output}\" }\n";
    let text = agent("a", "{}", NUMBER) + &agent("b", NUMBER, "{}");
    let told_of = |steps: &str| told(&(text.clone() + &workflow("{}", steps)));
    assert_eq!(
        told_of(steps),
        [
            "warning K0113 /spec/steps/1/with: the agent `b@1.0.0` may refuse this: the value is not of type \"object\" (rule /type)"
        ]
    );
    let guarded = steps.replace("agent: b,", "agent: b, when: \"${steps.a.status == 'SUCCEEDED'}\",");
    assert_eq!(told_of(&guarded), [""; 0]);
    let path = steps.replace("with: \"${steps.a.output}\"", "with: { n: \"${steps.a.output.n}\" }");
    assert_eq!(
        told_of(&path),
        [
            "warning K0113 /spec/steps/1/with/n: `steps.a.output` is null when the step `a` is skipped or gone on without; then the run stalls"
        ]
    );
}
