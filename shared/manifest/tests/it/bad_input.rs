//! What people get to see for each class of bad input. The snapshots are the product: read them when they change.

use crate::samples::{AGENT, WORKFLOW, problems};

/// Snapshots the rendered problems of a text.
#[track_caller]
fn shows(name: &str, text: &str) {
    let rendered: Vec<String> = problems(text).iter().map(|it| it.render(false)).collect();
    assert!(!rendered.is_empty(), "{name}: nothing is wrong");
    insta::assert_snapshot!(name, rendered.join("\n"));
}

/// The workflow with one text replaced by another.
#[track_caller]
fn workflow(from: &str, to: &str) -> String {
    replaced(WORKFLOW, from, to)
}

#[track_caller]
fn agent(from: &str, to: &str) -> String {
    replaced(AGENT, from, to)
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn yaml() {
    shows("yaml_indentation", &workflow("      agent: risk-score", "     agent: risk-score"));
    shows("yaml_unclosed", &workflow("needs: [inventory]", "needs: [inventory"));
    shows("yaml_colon", &agent("purpose: Say which", "purpose: Say: which"));
    shows("yaml_twice", &workflow("      timeout: 30s", "      timeout: 30s\n      timeout: 40s"));
    shows("yaml_number", &agent("concurrency: 32", "concurrency: 320000000000000000000000"));
    shows("yaml_tab", &workflow("      timeout: 30s", "\ttimeout: 30s"));
    shows("yaml_tag", &agent("timeout: 20s", "timeout: !seconds 20"));
    shows("yaml_not_an_object", "- a\n- b\n");
}

#[test]
fn bounds() {
    let bomb: String =
        (1..9).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))).collect();
    shows("bound_alias_bomb", &format!("a0: &a0 [x]\n{bomb}"));
    shows("bound_depth", &format!("a: {}\n", "[".repeat(100)));
    shows("bound_bytes", &"# a manifest is not a place for data\n".repeat(40_000));
    let steps: String = (0..501).map(|n| format!("    - {{ id: s{n}, agent: inventory }}\n")).collect();
    let head = "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: o }\n";
    shows("bound_steps", &format!("{head}spec:\n  output: 1\n  steps:\n{steps}"));
}

#[test]
fn shape() {
    shows("shape_kind", &workflow("kind: Workflow", "kind: Worklfow"));
    shows("shape_kind_later", &workflow("kind: Workflow", "kind: Policy"));
    shows("shape_api_version", &workflow("kapelle.dev/v1", "kapelle.dev/v2"));
    shows("shape_unknown_field", &workflow("max_parallel: 64", "max_paralel: 64"));
    shows("shape_unknown_field_far", &workflow("max_parallel: 64", "colour: blue"));
    shows("shape_later_step", &workflow("agent: risk-score", "degraded: { agent: other }"));
    shows("shape_later_agent", &agent("  retry:", "  breaker: {}\n  cost: { per_call: 0.1 }\n  retry:"));
    shows("shape_missing", &agent(", owner: legal-platform@example.com", ""));
    shows("shape_empty", &agent("owner: legal-platform@example.com", "owner:"));
    shows("shape_version_number", &agent("version: 1.2.0", "version: 1.2"));
    shows("shape_text_for_list", &workflow("needs: [inventory]", "needs: inventory"));
    shows("shape_protocol", &agent("protocol: jsonl", "protocol: json"));
    shows("shape_two_runtimes", &agent("protocol: jsonl } }", "protocol: jsonl }, native: {} }"));
    shows("shape_no_runtime", &agent("process: { command: [python3, licence_review.py], protocol: jsonl }", ""));
    shows("join_too_many", &workflow("needs: [inventory]", "needs: [inventory]\n      join: { quorum: 2 }"));
    shows("join_no_word", &workflow("needs: [inventory]", "needs: [inventory]\n      join: some"));
    shows("join_needed_elsewhere", &workflow("needs: [inventory]", "needs: [inventory]\n      join: any"));
    shows("list_words", &workflow("needs: [inventory]", "needs: [inventory]\n      max_failures: 10%\n      batch: 2"));
    shows("list_share", &workflow("max_parallel: 64", "max_failures: a tenth"));
    let many = workflow("id: score", "id: Score").replace("on_give_up: fail", "on_giveup: fail\n      timeout: 0s");
    shows("shape_everything_at_once", &many);
}

#[test]
fn rules() {
    shows("rule_step_id", &workflow("id: score", "id: risk-score"));
    shows("rule_name", &workflow("name: software-intake", "name: Software Intake"));
    shows("rule_version", &agent("version: 1.2.0", "version: v1.2.0"));
    shows("rule_agent", &workflow("licence-review@^1", "licence-review@latest"));
    shows("rule_duration", &workflow("timeout: 30s", "timeout: 30 seconds"));
    shows("rule_duration_number", &workflow("timeout: 30s", "timeout: 30"));
    shows(
        "rule_ranges",
        &agent("max_attempts: 4, initial: 200ms, multiplier: 2", "max_attempts: 0, jitter: 1.5, multiplier: 0.5"),
    );
    shows("rule_max_below_initial", &agent("initial: 200ms", "initial: 20s"));
    shows("rule_concurrency", &agent("concurrency: 32", "concurrency: 0"));
    shows("rule_rate", &agent("timeout: 20s", "rate: 10/day"));
    shows("rule_payload_limit", &agent("timeout: 20s", "payload: 17MiB"));
    shows("rule_amounts", &agent("timeout: 20s", "cost_per_run: 0.0000001, cost_per_day: 0"));
    shows("shape_limits", &agent("timeout: 20s", "rate: 10, payload: 4096, cost_per_day: $20, tokens: many"));
    shows("rule_risk", &agent("  retry:", "  risk: unacceptable\n  retry:"));
    shows("shape_risk", &agent("  retry:", "  risk: hihg\n  retry:"));
    shows("rule_max_parallel", &workflow("on_give_up: fail", "max_parallel: 3"));
    shows("rule_duplicate_step", &workflow("id: score", "id: review"));
    shows(
        "rule_output_missing",
        &workflow(
            "  output: { risk: \"${steps.score.output.risk}\", of: \"run ${run.id}\" }\n",
            "    - { id: log, agent: inventory }\n",
        ),
    );
    shows(
        "rule_no_steps",
        "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: o }\nspec: { steps: [] }\n",
    );
    shows("rule_with_missing", &workflow("component: \"${item}\"", "componnt: \"${item}\""));
}

#[test]
fn graph() {
    shows("graph_unknown_need", &workflow("needs: [inventory]", "needs: [inventroy]"));
    shows("graph_unknown_reference", &workflow("size(steps.review.outputs)", "size(steps.reveiw.outputs)"));
    shows(
        "graph_cycle",
        &workflow("id: inventory, agent: inventory@^1", "id: inventory, needs: [score], agent: inventory@^1"),
    );
    shows("graph_itself", &workflow("needs: [inventory]", "needs: [score]"));
}

#[test]
fn expressions() {
    shows("expression_syntax", &workflow("size(steps.review.outputs) > 0", "size(steps.review.outputs) >"));
    shows("expression_unclosed", &workflow("run ${run.id}", "run ${run.id"));
    shows("expression_name", &workflow("${input.lockfile}", "${inptu.lockfile}"));
    shows("expression_function", &workflow("size(steps", "sise(steps"));
    shows("expression_field_by_schema", &workflow("steps.score.output.risk", "steps.score.output.rsik"));
    shows("expression_input_by_schema", &workflow("${input.lockfile}", "${input.lock_file}"));
    shows("expression_item_by_schema", &workflow("component: \"${item}\"", "component: \"${item.nmae}\""));
    shows(
        "expression_nested",
        &workflow("size(steps.review.outputs) > 0", "steps.review.outputs.all(a, steps.review.outputs.all(b, a == b))"),
    );
    shows("expression_output_of_foreach", &workflow("${steps.review.outputs}", "${steps.review.output}"));
    shows("expression_outputs_of_one", &workflow("${steps.score.output.risk}", "${steps.score.outputs}"));
    shows("expression_field_of_outputs", &workflow("outputs[0].licence", "outputs.licence"));
    shows("expression_item_outside", &workflow("${input.lockfile}", "${item}"));
    shows("expression_item_in_when", &workflow("      max_parallel: 64", "      when: ${item.wanted}"));
    shows(
        "expression_block",
        &workflow(
            "when: ${size(steps.review.outputs) > 0}",
            "when: |\n        ${steps.review.outputs.exists(o,\n          o.licence == banana)}",
        ),
    );
}

#[test]
fn queries() {
    let with = |queries: &str| workflow("  steps:\n", &format!("  queries: {queries}\n  steps:\n"));
    shows("query_name", &with("{ Risk: 1 }"));
    shows("query_syntax", &with("{ risk: \"${steps.score.}\" }"));
    shows("query_step", &with("{ risk: \"${steps.scroe.output.risk}\" }"));
    shows("query_field", &with("{ risk: \"${steps.score.output.rsik}\" }"));
    shows("query_has_no_step", &with("{ risk: \"${has(steps.scroe.output) ? 1 : 2}\" }"));
    shows("query_item", &with("{ risk: \"${item}\", why: \"${run.error.code}\" }"));
    let many: Vec<String> = (0..33).map(|n| format!("q{n}: {n}")).collect();
    shows("query_many", &with(&format!("{{ {} }}", many.join(", "))));
    shows("query_text", &with("all"));
}

#[test]
fn signals() {
    let with = |signals: &str| workflow("  steps:\n", &format!("  signals: {signals}\n  steps:\n"));
    shows("signal_field", &with("{ go: { shema: {} } }"));
    shows("signal_schema", &with("{ go: { schema: 7 } }"));
    shows("signal_text", &with("{ go: schema }"));
    shows("signal_answer_syntax", &with("{ go: { answer: \"${steps.score.}\" } }"));
    shows("signal_answer_step", &with("{ go: { answer: { risk: \"${steps.scroe.output.risk}\" } } }"));
    shows("signal_answer_item", &with("{ go: { answer: \"${item}\" } }"));
}

#[test]
fn agents() {
    shows("capability_unknown", &workflow("agent: licence-review@^1", "capability: licence.clasify"));
    shows(
        "capability_and_agent",
        &workflow("agent: licence-review@^1", "agent: licence-review\n      capability: licence.classify"),
    );
    shows("agent_unknown", &workflow("licence-review@^1", "license-review@^1"));
    shows("agent_unknown_far", &workflow("licence-review@^1", "banana@^1"));
    shows("agent_version", &workflow("risk-score", "risk-score@^2"));
}

#[test]
fn schemas() {
    shows("schema_type", &agent("licence: { type: string }", "licence: { type: strng }"));
    shows("schema_keyword", &agent("required: [component]", "requierd: [component]"));
    shows(
        "schema_remote",
        &agent("licence: { type: string }", "licence: { $ref: \"https://example.com/licence.json\" }"),
    );
    shows("schema_dangling", &agent("licence: { type: string }", "licence: { $ref: \"#/$defs/licence\" }"));
    shows("schema_value", &agent("licence: { type: string }", "licence: { minLength: -1 }"));
    shows("schema_pattern", &agent("licence: { type: string }", "licence: { pattern: \"(\" }"));
    shows(
        "schema_dialect",
        &agent("    schema:\n", "    schema:\n      $schema: http://json-schema.org/draft-07/schema#\n"),
    );
    shows(
        "schema_not_an_object",
        &workflow(
            "schema: { type: object, required: [lockfile], properties: { lockfile: { type: string } } }",
            "schema: object",
        ),
    );
}
