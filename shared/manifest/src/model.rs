//! `runtime.model`: a language model behind a chat-completions endpoint, what it is asked, and the tools that it may call.
//!
//! What it says about hosts, tools and secrets is held against `access` by [`crate::check()`]. docs/guides/model-agents.md
//! has it for people.

use kapelle_contract::Contract;
use kapelle_prompt::Prompt;
use kapelle_types::limits::{
    MODEL_REPAIRS_DEFAULT, MODEL_REPAIRS_MAX, MODEL_TOOLS_MAX, MODEL_TURNS_DEFAULT, MODEL_TURNS_MAX, TOKENS_LIMIT_MAX,
};
use kapelle_types::{Code, Rate, SecretName, ToolName, Usd, WebUrl};
use serde::Serialize;
use serde_json::Value;

use crate::issue::Issue;
use crate::limits::{rate, usd};
use crate::read::{Issues, Part, optional};
use crate::write;

/// The highest temperature that the protocol knows.
const TEMPERATURE_MAX: f64 = 2.0;

/// A model and how it is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// Where it answers; `/chat/completions` is below it.
    pub endpoint: WebUrl,
    /// Its name there.
    pub model: String,
    /// What the server knows us by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretRef>,
    /// Who it is to be, as a template over the input.
    #[serde(serialize_with = "write::optional_prompt", skip_serializing_if = "Option::is_none")]
    pub system: Option<Prompt>,
    /// What it is asked, as a template over the input.
    #[serde(serialize_with = "write::prompt")]
    pub prompt: Prompt,
    /// How much chance there is in its answers. Without one the server's own default holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Tokens that it may write in one turn. Without one the server's own limit holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// What makes the same question get the same answer, where the server keeps to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Whether its answers are taken as they are written.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub stream: bool,
    /// What it may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Requests that one task may make to it.
    pub max_turns: u32,
    /// How often it is asked to mend an answer that breaks the output contract.
    pub repair: u32,
    /// Requests to it, in the whole fleet and by all agents that name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What its tokens cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// A secret by its name; the worker has the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretRef {
    /// Which.
    pub secret: SecretName,
}

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Price {
    /// For those that it reads.
    pub input: Usd,
    /// For those that it writes.
    pub output: Usd,
}

/// Something that a model may call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tool {
    /// What the model calls it by.
    pub name: ToolName,
    /// What it does, for the model.
    pub description: String,
    /// What it takes.
    #[serde(serialize_with = "write::schema")]
    pub parameters: Contract,
    /// What a call of it is.
    pub http: HttpTool,
}

/// A request over HTTP, with the arguments as its query or as its JSON body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HttpTool {
    /// How it is asked.
    pub method: Method,
    /// Where it answers.
    pub url: WebUrl,
    /// The token that it knows us by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretRef>,
}

/// A method of HTTP: with `GET` and `DELETE` the arguments are the query, with the others the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)] // they are what they are called
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Model {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let endpoint = fields.required("endpoint", issues).and_then(|it| url(&it, issues));
        let model = fields.required("model", issues).and_then(|it| it.text(issues)).map(str::to_owned);
        let api_key = optional(fields.optional("api_key"), |it| SecretRef::read(it, issues));
        let system = optional(fields.optional("system"), |it| prompt(it, issues));
        let asked = fields.required("prompt", issues).and_then(|it| prompt(&it, issues));
        let temperature = optional(fields.optional("temperature"), |it| it.number(0.0, TEMPERATURE_MAX, issues));
        let max_output_tokens =
            optional(fields.optional("max_output_tokens"), |it| it.count(1, TOKENS_LIMIT_MAX, issues));
        let seed = optional(fields.optional("seed"), |it| it.count(0, u32::MAX, issues));
        let stream = fields.optional("stream").map_or(Some(true), |it| boolean(&it, issues));
        let tools = fields.optional("tools").map_or(Some(Vec::new()), |it| tools(&it, issues));
        let max_turns =
            fields.optional("max_turns").map_or(Some(MODEL_TURNS_DEFAULT), |it| it.count(1, MODEL_TURNS_MAX, issues));
        let repair =
            fields.optional("repair").map_or(Some(MODEL_REPAIRS_DEFAULT), |it| it.count(0, MODEL_REPAIRS_MAX, issues));
        let rate = optional(fields.optional("rate"), |it| rate(it, issues));
        let price = optional(fields.optional("price"), |it| Price::read(it, issues));
        fields.close(&["messages", "top_p", "tool_choice"], issues);
        Some(Self {
            endpoint: endpoint?,
            model: model?,
            api_key: api_key?,
            system: system?,
            prompt: asked?,
            temperature: temperature?,
            max_output_tokens: max_output_tokens?,
            seed: seed?,
            stream: stream?,
            tools: tools?,
            max_turns: max_turns?,
            repair: repair?,
            rate: rate?,
            price: price?,
        })
    }
}

impl SecretRef {
    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        if let Value::String(_) = part.value {
            let issue = Issue::rule(&part.pointer, "a key is not written into a manifest, which many may read");
            issues.push(issue.label("a secret").hint("write `{ secret: NAME }`; the worker has the value"));
            return None;
        }
        let mut fields = part.fields(issues)?;
        let secret = fields.required("secret", issues).and_then(|it| it.name(issues));
        fields.close(&[], issues);
        Some(Self { secret: secret? })
    }
}

impl Price {
    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let input = fields.required("input", issues).and_then(|it| usd(&it, "price", issues));
        let output = fields.required("output", issues).and_then(|it| usd(&it, "price", issues));
        fields.close(&["cached_input"], issues);
        Some(Self { input: input?, output: output? })
    }
}

impl Tool {
    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let name = fields.required("name", issues).and_then(|it| it.name(issues));
        let description = fields.required("description", issues).and_then(|it| it.text(issues)).map(str::to_owned);
        let parameters = fields.required("parameters", issues).and_then(|it| parameters(&it, issues));
        let http = fields.required("http", issues).and_then(|it| HttpTool::read(&it, issues));
        fields.close(&["command", "mcp", "agent"], issues);
        Some(Self { name: name?, description: description?, parameters: parameters?, http: http? })
    }
}

impl HttpTool {
    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        const METHODS: [(&str, Method); 5] = [
            ("GET", Method::Get),
            ("POST", Method::Post),
            ("PUT", Method::Put),
            ("PATCH", Method::Patch),
            ("DELETE", Method::Delete),
        ];
        let mut fields = part.fields(issues)?;
        let method = fields.required("method", issues).and_then(|it| it.word(&METHODS, issues));
        let url = fields.required("url", issues).and_then(|it| url(&it, issues));
        let bearer = optional(fields.optional("bearer"), |it| SecretRef::read(it, issues));
        fields.close(&["headers"], issues);
        Some(Self { method: method?, url: url?, bearer: bearer? })
    }
}

fn tools(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Tool>> {
    let items = part.items(issues)?;
    if items.len() > MODEL_TOOLS_MAX {
        let message = format!("an agent has {MODEL_TOOLS_MAX} tools at most, this one has {}", items.len());
        issues.push(Issue::rule(&part.pointer, message).on_key());
        return None;
    }
    let tools: Vec<Tool> =
        items.iter().map(|it| Tool::read(it, issues)).collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
    for (index, tool) in tools.iter().enumerate() {
        if tools[..index].iter().any(|it| it.name == tool.name) {
            let pointer = part.pointer.item(index).field("name");
            issues.push(Issue::rule(&pointer, format!("there is another tool `{}`", tool.name)));
        }
    }
    Some(tools)
}

/// What a tool takes: an object, since models name each argument.
fn parameters(part: &Part<'_>, issues: &mut Issues) -> Option<Contract> {
    match part.value {
        Value::Object(schema) if schema.get("type").is_some_and(|it| it == "object") => {
            Some(Contract::new(part.value.clone()))
        }
        Value::Object(_) => {
            let issue = Issue::rule(&part.pointer, "what a tool takes is an object: models name each argument");
            issues.push(issue.on_key().hint("write `type: object`, with the arguments as its `properties`"));
            None
        }
        _ => part.expected("a JSON Schema (an object)", "", issues),
    }
}

fn url(part: &Part<'_>, issues: &mut Issues) -> Option<WebUrl> {
    let text = part.text(issues)?;
    let refused = |why| {
        let issue = Issue::rule(&part.pointer, format!("`{}` is no address of a server: {why}", text.escape_debug()));
        issues.push(issue.label("not an address"));
    };
    text.parse().map_err(refused).ok()
}

fn prompt(part: &Part<'_>, issues: &mut Issues) -> Option<Prompt> {
    let text = part.text(issues)?;
    let refused = |error: kapelle_prompt::Error| {
        let place = error.line.map(|line| format!(" in its line {line}")).unwrap_or_default();
        let issue = Issue::new(Code::PROMPT_INVALID, &part.pointer, format!("this is no prompt: {error}{place}"));
        issues.push(issue.label("in this template").hint("the input is put in as `{{ input.NAME }}`"));
    };
    Prompt::compile(text).map_err(refused).ok()
}

fn boolean(part: &Part<'_>, issues: &mut Issues) -> Option<bool> {
    match part.value {
        Value::Bool(it) => Some(*it),
        _ => part.expected("`true` or `false`", "", issues),
    }
}
