//! What a model agent reaches, calls and knows, held against what it is granted; and its prompts against its input.

use kapelle_contract::{Found, Pointer, look_up};
use kapelle_expression::Segment;
use kapelle_prompt::Prompt;
use kapelle_types::{Code, WebUrl};

use super::spec;
use crate::agent::AgentSpec;
use crate::contracts;
use crate::issue::{Issue, suggestion};
use crate::model::{Model, SecretRef};

pub(super) fn check(agent: &AgentSpec, model: &Model) -> Vec<Issue> {
    let at = spec().field("runtime").field("model");
    let mut issues = Vec::new();
    issues.extend(host(agent, &model.endpoint, &at.field("endpoint")));
    issues.extend(secret(agent, model.api_key.as_ref(), &at.field("api_key")));
    let prompts = [("system", model.system.as_ref()), ("prompt", Some(&model.prompt))];
    for (field, prompt) in prompts.into_iter().filter_map(|(field, it)| Some((field, it?))) {
        issues.extend(absent(agent, prompt, &at.field(field)));
    }
    for (index, tool) in model.tools.iter().enumerate() {
        let at = at.field("tools").item(index);
        if !agent.access.tools.contains(&tool.name) {
            let message = format!("the agent has the tool `{}`, and its access does not name it", tool.name);
            let hint = format!("add it: `access: {{ tools: [{}] }}`", tool.name);
            issues.push(Issue::new(Code::MODEL_TOOL, &at.field("name"), message).label("not granted").hint(hint));
        }
        issues.extend(contracts::issues(&tool.parameters, &at.field("parameters")));
        issues.extend(host(agent, &tool.http.url, &at.field("http").field("url")));
        issues.extend(secret(agent, tool.http.bearer.as_ref(), &at.field("http").field("bearer")));
    }
    let limits = [("cost_per_run", agent.role.limits.cost_per_run), ("cost_per_day", agent.role.limits.cost_per_day)];
    for (limit, _) in limits.iter().filter(|(_, amount)| amount.is_some() && model.price.is_none()) {
        let pointer = spec().field("role").field("limits").field(limit);
        let message = format!("`{limit}` counts what the model's tokens cost, and the model has no `price`");
        let issue = Issue::rule(&pointer, message).label("never reached");
        issues.push(issue.hint("add it: `price: { input: …, output: … }`, US dollars for a million tokens"));
    }
    for (index, name) in agent.access.tools.iter().enumerate() {
        if !model.tools.iter().any(|tool| tool.name == *name) {
            let message = format!("`{name}` is granted, and the agent has no such tool");
            let names = model.tools.iter().map(|tool| tool.name.as_str());
            let pointer = spec().field("access").field("tools").item(index);
            issues.push(Issue::new(Code::MODEL_TOOL, &pointer, message).hint(suggestion(name.as_str(), names)));
        }
    }
    issues
}

fn host(agent: &AgentSpec, url: &WebUrl, pointer: &Pointer) -> Option<Issue> {
    let host = url.host();
    if agent.access.hosts.contains(host) {
        return None;
    }
    let message = format!("this reaches `{host}`, and the agent's access does not name it");
    let hint = format!("add it: `access: {{ hosts: [\"{host}\"] }}`");
    Some(Issue::new(Code::MODEL_HOST, pointer, message).label("not granted").hint(hint))
}

fn secret(agent: &AgentSpec, used: Option<&SecretRef>, pointer: &Pointer) -> Option<Issue> {
    let name = &used?.secret;
    if agent.access.secrets.contains(name) {
        return None;
    }
    let message = format!("the agent uses the secret `{name}`, and its access does not name it");
    let hint = format!("add it: `access: {{ secrets: [{name}] }}`");
    Some(Issue::new(Code::MODEL_SECRET, &pointer.field("secret"), message).label("not granted").hint(hint))
}

/// What a prompt names and no input has that keeps its contract.
fn absent(agent: &AgentSpec, prompt: &Prompt, pointer: &Pointer) -> Vec<Issue> {
    let mut issues = Vec::new();
    for path in prompt.paths() {
        let segments: Vec<Segment> = path.iter().cloned().map(Segment::Field).collect();
        if let Found::Nothing { at, known, what } = look_up(agent.input.schema(), &segments) {
            let parent = std::iter::once("input").chain(path[..at].iter().map(String::as_str));
            let message = format!(
                "`{}` {what}, says its schema: there is no `{}`",
                parent.collect::<Vec<_>>().join("."),
                path[at]
            );
            let issue = Issue::new(Code::PROMPT_INVALID, pointer, message).piece(format!("input.{}", path.join(".")));
            issues.push(issue.label("not in the schema").hint(suggestion(&path[at], known.iter().copied())));
        }
    }
    issues
}
