//! Model agents: what is understood, what it is registered as, and what people see when it is wrong.

use kapelle_manifest::{Manifest, Method, Runtime, parse};

use crate::samples::problems;

const MODEL: &str = "apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: judge, version: 1.0.0, owner: legal@example.com }
spec:
  role: { purpose: Judge a text., limits: { cost_per_run: 1 } }
  input:
    schema: { type: object, properties: { text: { type: string }, author: { type: object, properties: { name: {} } } } }
  access: { hosts: [api.example.com, \"tools.local:8080\"], secrets: [model-key, tool-key], tools: [look_up] }
  runtime:
    model:
      endpoint: https://api.example.com/v1/
      model: small-1
      api_key: { secret: model-key }
      system: You judge.
      prompt: \"{{ input.text }} by {{ input.author.name }}\"
      temperature: 0.5
      max_output_tokens: 500
      seed: 7
      stream: false
      tools:
        - name: look_up
          description: Looks a word up.
          parameters: { type: object, properties: { word: { type: string } } }
          http: { method: POST, url: \"http://tools.local:8080/words\", bearer: { secret: tool-key } }
      max_turns: 4
      repair: 1
      rate: 60/min
      price: { input: 0.15, output: 0.6 }
";

/// The agent with one text replaced by another.
#[track_caller]
fn with(from: &str, to: &str) -> String {
    assert!(MODEL.contains(from), "{from}");
    MODEL.replacen(from, to, 1)
}

#[track_caller]
fn shows(name: &str, text: &str) {
    let rendered: Vec<String> = problems(text).iter().map(|it| it.render(false)).collect();
    assert!(!rendered.is_empty(), "{name}: nothing is wrong");
    insta::assert_snapshot!(name, rendered.join("\n"));
}

#[test]
fn a_model_agent_is_held_and_survives_json() {
    assert_eq!(problems(MODEL).iter().map(|it| it.render(false)).collect::<String>(), "");
    let manifest = parse("agent.yaml", MODEL).unwrap().remove(0).manifest;
    let Manifest::Agent(agent) = &manifest else { panic!("{manifest:?}") };
    let Runtime::Model(model) = &agent.spec.runtime else { panic!("{:?}", agent.spec.runtime) };
    assert_eq!((model.endpoint.as_str(), model.tools[0].http.method), ("https://api.example.com/v1", Method::Post));
    assert_eq!((model.max_turns, model.repair, model.rate), (4, 1, "60/min".parse().ok()));
    assert_eq!(model.price.unwrap().input.micros(), 150_000);
    insta::assert_snapshot!("canonical_model", manifest.canonical());
    let back: Manifest = serde_json::from_str(&manifest.canonical()).unwrap();
    assert_eq!((&back, back.canonical()), (&manifest, manifest.canonical()));
}

#[test]
fn what_is_not_granted_is_refused() {
    shows("model_host", &with("hosts: [api.example.com, ", "hosts: [api.example.org, "));
    shows("model_tool_host", &with("tools.local:8080/words", "169.254.169.254/words"));
    shows("model_tool", &with("tools: [look_up]", "tools: [lookup]"));
    shows("model_secret", &with("secrets: [model-key, tool-key]", "secrets: []"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    shows("model_key_in_file", &with("api_key: { secret: model-key }", "api_key: sk-1234567890"));
    shows("model_plain_text", &with("https://api.example.com/v1/", "http://api.example.com/v1"));
    shows("model_endpoint", &with("https://api.example.com/v1/", "\"https://${input.host}/v1\""));
    shows("model_prompt_syntax", &with("{{ input.text }} by", "{{ input.text by"));
    shows("model_prompt_names", &with("{{ input.text }} by", "{{ steps.a.output }}"));
    shows("model_prompt_field", &with("input.author.name", "input.author.nmae"));
    shows("model_parameters", &with("parameters: { type: object, ", "parameters: { type: string, "));
    shows("model_parameters_schema", &with("word: { type: string }", "word: { type: text }"));
    shows("model_price", &with("price: { input: 0.15, output: 0.6 }", "price: { input: -1 }"));
    shows("model_no_price", &with("      price: { input: 0.15, output: 0.6 }\n", ""));
    shows("model_numbers", &with("temperature: 0.5", "temperature: 3").replace("max_turns: 4", "max_turns: 0"));
    shows(
        "model_twice",
        &with(
            "      max_turns",
            "        - { name: look_up, description: x, parameters: { type: object }, http: { method: GET, url: \"https://api.example.com\" } }\n      max_turns",
        ),
    );
    shows(
        "model_access",
        &with("access: {", "access: { files: { read: [data] }, env: [HOME_URL], network: { connect: [443] },"),
    );
}
