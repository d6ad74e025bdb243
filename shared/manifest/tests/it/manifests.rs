//! Manifests that are right: what they hold, and that they survive their ways in and out.

use std::sync::Arc;
use std::time::Duration;

use crate::samples::{AGENT, AGENTS, WORKFLOW, agents, problems};
use kapelle_manifest::{
    Agent, AgentRequirement, Agents, Catalog, Contract, Layered, Manifest, OnGiveUp, Performer, Protocol, Risk,
    Runtime, Sourced, Workflow, check, parse,
};
use kapelle_types::RetryPolicy;
use serde_json::{Value, json};

fn one(text: &str) -> Manifest {
    let mut manifests = parse("test.yaml", text).unwrap();
    assert_eq!(manifests.len(), 1);
    manifests.remove(0).manifest
}

fn workflow(text: &str) -> Workflow {
    match one(text) {
        Manifest::Workflow(it) => it,
        Manifest::Agent(_) => panic!("not a workflow"),
    }
}

fn agent(text: &str) -> Agent {
    match one(text) {
        Manifest::Agent(it) => it,
        Manifest::Workflow(_) => panic!("not an agent"),
    }
}

/// A workflow of these steps, flow style, one a line.
fn steps(lines: &[&str]) -> Workflow {
    let lines: String = lines.iter().map(|line| format!("    - {{ agent: a, {line} }}\n")).collect();
    let head = "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: o }\n";
    workflow(&format!("{head}spec:\n  output: 1\n  steps:\n{lines}"))
}

#[test]
fn an_agent_holds_what_was_written_and_the_defaults() {
    let it = agent(AGENT);
    assert_eq!(it.version().to_string(), "licence-review@1.2.0");
    assert_eq!(it.metadata.labels["domain"], "intake");
    assert_eq!((it.spec.role.limits.concurrency, it.spec.role.limits.timeout), (32, Duration::from_secs(20)));
    let Runtime::Process(process) = &it.spec.runtime else { panic!("{:?}", it.spec.runtime) };
    assert_eq!((process.command.len(), process.protocol), (2, Protocol::Jsonl));
    assert_eq!((it.spec.retry.max_attempts, it.spec.retry.total), (4, Some(Duration::from_secs(120))));
    assert!((it.spec.retry.jitter - 0.2).abs() < f64::EPSILON);

    let least = agent(AGENTS.split("---").last().unwrap());
    assert_eq!((least.spec.role.limits.concurrency, least.spec.role.limits.timeout), (64, Duration::from_secs(60)));
    assert_eq!(least.spec.retry, RetryPolicy::default());
    assert_eq!(least.spec.input, Contract::any());
    assert_eq!(least.spec.runtime, Runtime::Native {});
}

#[test]
fn every_limit_is_read_and_written_back() {
    let all = "timeout: 20s, rate: 600/min, payload: 256KiB, tokens: 50000, tool_calls: 20, cost_per_run: 0.05, cost_per_day: 20";
    let it = agent(&AGENT.replace("timeout: 20s", all));
    let limits = &it.spec.role.limits;
    assert_eq!((limits.rate, limits.payload_bytes), ("600/min".parse().ok(), Some(256 * 1024)));
    assert_eq!((limits.tokens, limits.tool_calls), (Some(50_000), Some(20)));
    let [run, day] = [limits.cost_per_run, limits.cost_per_day].map(|it| it.unwrap().micros());
    assert_eq!((run, day), (50_000, 20_000_000));
    let json = Manifest::Agent(it.clone()).to_value();
    insta::assert_snapshot!(json["spec"]["role"]["limits"].to_string());
    assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), Manifest::Agent(it));
}

#[test]
fn a_workflow_holds_what_was_written_and_what_follows_from_it() {
    assert_eq!(problems(WORKFLOW).iter().map(|it| it.render(false)).collect::<String>(), "");
    let it = workflow(WORKFLOW);
    assert_eq!(it.spec.deadline, Some(Duration::from_secs(3_600)));
    let [inventory, review, score] = it.spec.steps.as_slice() else { panic!("{:?}", it.spec.steps) };
    assert_eq!(inventory.needs, []);
    assert_eq!(review.needs, ["inventory".parse().unwrap()]);
    assert_eq!(score.needs, ["inventory".parse().unwrap(), "review".parse().unwrap()], "written, then implied");
    assert_eq!(review.foreach.as_ref().unwrap().source(), "steps.inventory.output.components");
    assert_eq!((review.max_parallel, review.timeout), (Some(64), Some(Duration::from_secs(30))));
    assert_eq!((review.on_give_up, score.on_give_up), (Some(OnGiveUp::Stall), Some(OnGiveUp::Fail)));
    let wanted = Performer::Agent("risk-score".parse().unwrap());
    assert_eq!(score.act.performer(), Some(&wanted));
    assert_eq!(it.order(), Ok(vec![0, 1, 2]));
    assert_eq!(it.last_steps().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["score"]);
}

#[test]
fn the_output_of_one_last_step_needs_no_word() {
    let of = |text: &str| workflow(text).spec.output.source().clone();
    let head = "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: o }\n";
    assert_eq!(of(&format!("{head}spec: {{ steps: [{{ id: a, agent: x }}] }}")), "${steps.a.output}");
    let list = format!("{head}spec: {{ steps: [{{ id: a, agent: x, foreach: input.list }}] }}");
    assert_eq!(of(&list), "${steps.a.outputs}");
}

#[test]
fn manifests_survive_json() {
    let comment = WORKFLOW.replace("when: ${size(steps.review.outputs) > 0}", "when: input.on // or not");
    for text in [AGENT, WORKFLOW, AGENTS.split("---").next().unwrap(), &comment] {
        let manifest = one(text);
        let canonical = manifest.canonical();
        let back: Manifest = serde_json::from_str(&canonical).unwrap();
        assert_eq!(back, manifest);
        assert_eq!(back.canonical(), canonical);
        assert_eq!(back.digest(), manifest.digest());
        // JSON is YAML, and what the registry holds can be applied again.
        assert_eq!(one(&canonical), manifest);
    }
}

#[test]
fn the_canonical_form_is_recorded() {
    insta::assert_snapshot!("canonical_agent", one(AGENT).canonical());
    insta::assert_snapshot!("canonical_workflow", one(WORKFLOW).canonical());
    let other_order = AGENT.replace("name: licence-review, version: 1.2.0", "version: \"1.2.0\", name: licence-review");
    assert_eq!(one(&other_order).digest(), one(AGENT).digest());
    assert_ne!(one(&AGENT.replace("20s", "21s")).digest(), one(AGENT).digest());
}

#[test]
fn a_risk_is_kept_and_none_leaves_the_digest_alone() {
    for risk in Risk::ALL {
        let it = one(&AGENT.replace("  retry:", &format!("  risk: {risk}\n  retry:")));
        let back: Manifest = serde_json::from_str(&it.canonical()).unwrap();
        let Manifest::Agent(agent) = &back else { panic!("no agent") };
        assert_eq!((agent.spec.risk, back.digest()), (Some(risk), it.digest()));
        assert_ne!(it.digest(), one(AGENT).digest(), "{risk}");
    }
    assert!(!one(AGENT).canonical().contains("risk"), "what was registered before it stays what it is");
}

#[test]
fn json_that_is_no_manifest_is_refused() {
    let refused = |document: Value| serde_json::from_value::<Manifest>(document).unwrap_err().to_string();
    assert_eq!(refused(json!([])), ": an object with named fields is expected here, not a list");
    let mut document = one(AGENT).to_value();
    document["spec"]["cost"] = json!({});
    assert_eq!(refused(document), "/spec/cost: `cost` is not supported by this version of Kapelle");
}

#[test]
fn a_manifest_without_a_text_has_problems_without_lines() {
    let sourced = Sourced::from(one(&WORKFLOW.replace("licence-review@^1", "banana@^1")));
    let problems = check(&sourced, &agents());
    assert_eq!((problems[0].line, problems[0].pointer.as_str()), (0, "/spec/steps/1/agent"));
    assert_eq!(problems[0].to_string(), "there is no agent `banana`");
}

#[test]
fn a_file_holds_many() {
    let text = format!("# agents\n---\n{AGENTS}---\n{AGENT}---\n{WORKFLOW}---\n");
    let kinds: Vec<_> =
        parse("all.yaml", &text).unwrap().iter().map(|it| it.manifest.name_version().1.to_owned()).collect();
    assert_eq!(kinds, ["inventory", "risk-score", "licence-review", "software-intake"]);
    assert!(parse("empty.yaml", "# nothing\n").unwrap().is_empty());
    assert!(parse("empty.yaml", "").unwrap().is_empty());
}

#[test]
fn anchors_and_merges_are_fine() {
    let text = WORKFLOW.replace("retry: { max_attempts: 2 }", "retry: &often { max_attempts: 2 }");
    let text = text.replace("on_give_up: fail", "retry: { <<: *often, jitter: 0 }");
    let it = workflow(&text);
    assert_eq!(it.spec.steps[2].retry.as_ref().unwrap().max_attempts, 2);
}

#[test]
fn steps_are_ordered_by_what_they_need() {
    let order = |lines: &[&str]| steps(lines).order();
    assert_eq!(order(&["id: a, needs: [c]", "id: b", "id: c"]), Ok(vec![1, 2, 0]));
    assert_eq!(order(&["id: a", "id: b", "id: c"]), Ok(vec![0, 1, 2]));
    assert_eq!(order(&["id: a, needs: [nowhere]"]), Ok(vec![0]), "what is not there is no circle");
    let cycle =
        order(&["id: x, needs: [c]", "id: a, needs: [b]", "id: b, needs: [c]", "id: c, needs: [a]"]).unwrap_err();
    assert_eq!(cycle.to_string(), "c → a → b → c");
    let implied = order(&["id: a, with: { x: \"${steps.b.output}\" }", "id: b, when: \"${steps.a.status == 'x'}\""]);
    assert_eq!(implied.unwrap_err().to_string(), "a → b → a");
}

#[test]
fn the_highest_matching_version_is_taken() {
    let version = |text: &str| Arc::new(agent(&AGENT.replace("1.2.0", text)));
    let agents: Agents = ["1.9.0", "1.10.0", "2.0.0-rc.1", "0.9.0"].into_iter().map(version).collect();
    let find = |text: &str| {
        let wanted: AgentRequirement = text.parse().unwrap();
        agents.agent(&wanted.name, &wanted.versions).map(|it| it.metadata.version.to_string())
    };
    assert_eq!(find("licence-review").as_deref(), Some("1.10.0"));
    assert_eq!(find("licence-review@^1").as_deref(), Some("1.10.0"));
    assert_eq!(find("licence-review@1").as_deref(), Some("1.10.0"));
    assert_eq!(find("licence-review@=1.9.0").as_deref(), Some("1.9.0"));
    assert_eq!(find("licence-review@>=2.0.0-rc").as_deref(), Some("2.0.0-rc.1"));
    assert_eq!(find("licence-review@^3"), None);
    assert_eq!(agents.agent_names().len(), 1);
    let newer: Agents = [version("1.11.0")].into_iter().collect();
    let both = Layered(newer, agents);
    let wanted: AgentRequirement = "licence-review@^1".parse().unwrap();
    assert_eq!(both.agent(&wanted.name, &wanted.versions).unwrap().metadata.version.to_string(), "1.11.0");
}

#[test]
fn a_capability_means_the_one_agent_that_declares_it() {
    let version = |text: &str| Arc::new(agent(&AGENT.replace("1.2.0", text)));
    let incapable =
        agent(&AGENT.replace("1.2.0", "2.0.0").replace("capabilities: [licence.classify]", "capabilities: []"));
    let mut agents: Agents = ["1.9.0", "1.10.0", "2.1.0-rc.1"].into_iter().map(version).collect();
    agents.insert(Arc::new(incapable));
    let wanted = Performer::Capability("licence.classify".to_owned());
    let found = wanted.resolve(&agents).map(|it| it.version().to_string());
    assert_eq!(found.as_deref(), Ok("licence-review@1.10.0"), "2.0.0 no longer can, 2.1.0-rc.1 is not released");

    let newer: Agents = [version("1.11.0")].into_iter().collect();
    let both = Layered(newer, agents.clone());
    assert_eq!(wanted.resolve(&both).unwrap().version().to_string(), "licence-review@1.11.0");
    assert_eq!(both.capabilities(), ["licence.classify"]);

    agents.insert(Arc::new(agent(&AGENT.replace("name: licence-review", "name: other-review"))));
    let nobody = wanted.resolve(&agents).unwrap_err();
    assert_eq!(
        nobody.message,
        "several agents declare the capability `licence.classify`: `licence-review`, `other-review`"
    );
    assert_eq!(nobody.hint, "name the one that is meant: `agent: licence-review`");
    let nobody = Performer::Capability("licence.clasify".to_owned()).resolve(&agents).unwrap_err();
    assert_eq!(nobody.hint, "did you mean `licence.classify`?");
}

#[test]
fn contracts_check_payloads() {
    let checker = agent(AGENT).spec.input.compile().unwrap();
    assert!(checker.accepts(&json!({"component": {}})));
    let violations = checker.violations(&json!({"component": 1, "x": 2}));
    let said: Vec<_> = violations.iter().map(|it| format!("{}: {}", it.pointer, it.message)).collect();
    assert_eq!(
        said,
        [
            "/component: the value is not of type \"object\"",
            ": Additional properties are not allowed ('x' was unexpected)",
        ]
    );
    assert!(Contract::any().compile().unwrap().accepts(&json!(null)));
    assert!(Contract::new(json!({"$ref": "https://example.com/x"})).compile().is_err());
    assert!(Contract::new(json!({"$ref": "#"})).compile().is_ok());
}

#[test]
fn only_what_is_certain_about_a_schema_is_said() {
    let fine = |schema: &str, reference: &str| {
        let text = AGENTS.replace("{ type: object, properties: { risk: { type: number } } }", schema);
        let agents: Agents = [text.as_str(), AGENT]
            .into_iter()
            .flat_map(|text| parse("agents.yaml", text).unwrap())
            .map(|it| match it.manifest {
                Manifest::Agent(agent) => Arc::new(agent),
                Manifest::Workflow(_) => panic!("not an agent"),
            })
            .collect();
        let text = WORKFLOW.replace("steps.score.output.risk", reference);
        parse("w.yaml", &text).unwrap().iter().flat_map(|it| check(it, &agents)).count() == 0
    };
    let open = "{ properties: { risk: {} }, additionalProperties: true }";
    assert!(fine(open, "steps.score.output.other"));
    assert!(fine("{ properties: { risk: {} }, patternProperties: { \"^x\": {} } }", "steps.score.output.other"));
    assert!(fine("{ anyOf: [ { properties: { other: {} } } ] }", "steps.score.output.other"));
    assert!(fine("{ additionalProperties: { properties: { a: {} } } }", "steps.score.output.any.a"));
    assert!(!fine("{ additionalProperties: { properties: { a: {} } } }", "steps.score.output.any.b"));
    assert!(fine("{ $ref: \"#/$defs/o\", $defs: { o: { properties: { a: {} } } } }", "steps.score.output.a"));
    assert!(!fine("{ $ref: \"#/$defs/o\", $defs: { o: { properties: { a: {} } } } }", "steps.score.output.b"));
    assert!(fine("{ $ref: \"#/$defs/o\", $defs: { o: { $ref: \"#/$defs/o\" } } }", "steps.score.output.b"));
    assert!(!fine("{ type: string }", "steps.score.output.length"));
    assert!(fine("{ type: [object, \"null\"], properties: { a: {} } }", "steps.score.output.a"));
    assert!(fine("{ type: array, prefixItems: [ { properties: { a: {} } } ] }", "steps.score.output[0].a"));
    assert!(!fine("{ type: array, items: { properties: { a: {} } } }", "steps.score.output[3].b"));
    assert!(fine("true", "steps.score.output.anything"));
}
