//! What `with` gives a step's agent, as far as schemas say: a contract made of the workflow's input and of the outputs of
//! other steps.
//!
//! Whoever declares nothing is taken at their word: where a schema says nothing of a field, or an expression calculates
//! something, what is given is unknown, and nothing is held against it but what is wrong for certain.

use kapelle_contract::{Contract, Pointer};
use kapelle_expression::{Expression, Reference, Root, Segment, Template};
use kapelle_types::StepId;
use serde_json::{Map, Value, json};

use super::outputs::Outputs;
use super::references::sole_path;
use crate::{Step, Workflow, last};

/// References followed in a row: they may go in a circle.
const HOPS_MAX: usize = 16;
/// Characters of a run's id, which is a UUID.
const RUN_ID_CHARS: usize = 36;

/// What a step's agent is given.
#[derive(Debug)]
pub(super) struct Given {
    /// Everything that can be given fits this.
    pub(super) contract: Contract,
    /// Where in it nothing is known, as JSON pointers.
    pub(super) unknown: Vec<String>,
    /// What may not be there when it is to be given: where in `with`, and why.
    pub(super) absent: Vec<(String, String)>,
}

/// The schemas that a workflow's expressions can reach.
pub(super) struct Sources<'w> {
    workflow: &'w Workflow,
    outputs: &'w Outputs,
}

/// One step's `with` on its way to a contract.
struct Builder<'s, 'w> {
    sources: &'s Sources<'w>,
    step: &'w Step,
    declared: bool,
    definitions: Map<String, Value>,
    unknown: Vec<String>,
    absent: Vec<(String, String)>,
}

/// A part of a source, and where it stands in the contract that is built.
#[derive(Clone)]
struct Part<'w> {
    root: &'w Value,
    schema: &'w Value,
    source: Pointer,
    at: Pointer,
}

impl<'w> Sources<'w> {
    /// The schemas of the workflow's input and of these outputs.
    pub(super) const fn new(workflow: &'w Workflow, outputs: &'w Outputs) -> Self {
        Self { workflow, outputs }
    }

    /// What an agent of this step is given by its `with`, or by that of its `handoff`: whatever is possible, or what is
    /// `declared`.
    pub(super) fn given(&self, step: &'w Step, with: Option<&Template>, declared: bool) -> Given {
        let mut builder =
            Builder { sources: self, step, declared, definitions: Map::new(), unknown: vec![], absent: vec![] };
        let with = with.map_or(&Value::Null, Template::source);
        let mut schema = match builder.template(with, &Pointer::root()) {
            Value::Object(keywords) => keywords,
            // Nothing is known.
            _ => Map::new(),
        };
        schema.insert("$defs".to_owned(), builder.definitions.into());
        Given { contract: Contract::new(schema.into()), unknown: builder.unknown, absent: builder.absent }
    }

    fn output(&self, id: &StepId) -> Option<&'w Contract> {
        let index = self.workflow.spec.steps.iter().position(|step| step.id == *id)?;
        self.outputs.of_step(index)
    }

    /// Whether the output of a step may be null where another sees it: it may be skipped or gone on without, and a run that
    /// does its last steps may not have come to it.
    fn is_optional(&self, id: &StepId, seen_by: &Step) -> bool {
        let of_work = self.workflow.step(&seen_by.id).is_some();
        let undone = last::compensation_id(id).as_ref() == Some(&seen_by.id);
        let joined = seen_by.join.as_ref().is_some_and(|join| join.of.contains(id));
        joined || !undone && (!of_work || self.workflow.step(id).is_some_and(Step::is_optional))
    }
}

impl<'w> Builder<'_, 'w> {
    fn template(&mut self, value: &Value, at: &Pointer) -> Value {
        match value {
            Value::String(text) if !text.contains("${") => json!({ "const": text }),
            Value::String(text) => match Expression::compile(text) {
                Ok(expression) if text.starts_with("${") && text.ends_with('}') => self.expression(&expression, at),
                // Text around an expression makes a string of whatever it yields.
                _ => json!({ "type": "string" }),
            },
            Value::Array(items) => {
                let given: Vec<Value> =
                    items.iter().enumerate().map(|(n, it)| self.template(it, &at.item(n))).collect();
                json!({ "type": "array", "minItems": given.len(), "maxItems": given.len(), "prefixItems": given })
            }
            Value::Object(fields) => {
                let names: Vec<&String> = fields.keys().collect();
                let given: Map<String, Value> =
                    fields.iter().map(|(name, it)| (name.clone(), self.template(it, &at.field(name)))).collect();
                json!({ "type": "object", "required": names, "properties": given, "additionalProperties": false })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => json!({ "const": value }),
        }
    }

    fn expression(&mut self, expression: &Expression, at: &Pointer) -> Value {
        let schema = match sole_path(expression) {
            Some(reference) => self.reference(reference, at),
            None => None,
        };
        schema.unwrap_or_else(|| {
            self.unknown.push(at.to_string());
            json!(true)
        })
    }

    /// The schema of what a path leads to; `None` if nothing is known of it.
    fn reference(&mut self, reference: &Reference, at: &Pointer) -> Option<Value> {
        let path = reference.path.as_slice();
        match &reference.root {
            Root::Input => {
                let input = self.input()?;
                self.walk(reference, &input, 0, at)
            }
            Root::Output(id) => {
                let output = self.output(id)?;
                let schema = self.walk(reference, &output, 0, at);
                self.or_null(reference, id, schema, at)
            }
            Root::Outputs(id) => {
                let output = self.output(id)?;
                let schema = match path {
                    [] => {
                        let member = json!({ "$ref": output.at.fragment() });
                        let nothing = json!({ "type": "null" });
                        let nullable = self.sources.workflow.step(id).is_some_and(Step::has_null_members);
                        let items = if nullable { json!({ "anyOf": [member, nothing] }) } else { member };
                        Some(json!({ "type": "array", "items": items }))
                    }
                    _ => self.walk(reference, &output, 1, at),
                };
                self.or_null(reference, id, schema, at)
            }
            Root::Status(_) => Some(json!({ "enum": ["SUCCEEDED", "SKIPPED", "GAVE_UP", "CANCELED"] })),
            Root::Item => {
                if self.step.batch.is_some() {
                    return None; // a list of items of the list
                }
                let list = self.step.foreach.as_ref().and_then(sole_path)?.clone();
                let (part, from, first) = match &list.root {
                    Root::Input => (self.input()?, 0, Some(Segment::Index(0))),
                    Root::Output(id) => (self.output(id)?, 0, Some(Segment::Index(0))),
                    Root::Outputs(id) if list.path.is_empty() => (self.output(id)?, 0, None),
                    Root::Outputs(id) => (self.output(id)?, 1, Some(Segment::Index(0))),
                    Root::Status(_)
                    | Root::Item
                    | Root::Index
                    | Root::Given
                    | Root::Last
                    | Root::Round
                    | Root::RunId
                    | Root::RunStartedAt
                    | Root::RunErrorCode
                    | Root::RunErrorMessage => return None,
                };
                // An item of the list stands for all: only `items` says something of every one of them.
                let to_list = list.path.get(from..).unwrap_or_default();
                let parts = to_list
                    .iter()
                    .fold(vec![part], |parts, it| parts.iter().flat_map(|part| part.step(it, false)).collect());
                let items = parts.iter().flat_map(|part| match &first {
                    Some(first) => part.step(first, true),
                    None => vec![part.clone()],
                });
                all(items.filter_map(|part| self.walk(reference, &part, 0, at)).collect())
            }
            Root::Given | Root::Last => None, // null in the first round, and then as the agent's contract says
            Root::Round | Root::Index => Some(json!({ "type": "integer", "minimum": 0 })),
            Root::RunErrorCode | Root::RunErrorMessage => Some(json!({ "type": ["string", "null"] })),
            Root::RunId => Some(json!({ "type": "string", "minLength": RUN_ID_CHARS, "maxLength": RUN_ID_CHARS })),
            Root::RunStartedAt => Some(json!({ "type": "string", "minLength": 1 })),
        }
    }

    fn input(&mut self) -> Option<Part<'w>> {
        let workflow = self.sources.workflow;
        self.part("input", &workflow.spec.input)
    }

    fn output(&mut self, id: &StepId) -> Option<Part<'w>> {
        let output = self.sources.output(id)?;
        self.part(&format!("output.{id}"), output)
    }

    /// Takes a source into the definitions.
    fn part(&mut self, name: &str, contract: &'w Contract) -> Option<Part<'w>> {
        let at = Pointer::root().field("$defs").field(name);
        if !self.definitions.contains_key(name) {
            let placed = if self.declared { contract.declared().placed(&at) } else { contract.placed(&at) };
            self.definitions.insert(name.to_owned(), placed?);
        }
        let schema = contract.schema();
        Some(Part { root: schema, schema, source: at.clone(), at }).filter(Part::says_something)
    }

    /// Follows a path from segment `from` on.
    fn walk(&mut self, reference: &Reference, part: &Part<'w>, from: usize, at: &Pointer) -> Option<Value> {
        let mut parts = vec![part.clone()];
        for (n, segment) in reference.path.iter().enumerate().skip(from) {
            if let Segment::Field(name) = segment
                && !self.step.is_conditional()
                && parts.iter().any(|part| part.lists(name))
                && !parts.iter().any(|part| part.requires(name))
            {
                let why = format!("`{}` does not have to be there, says its schema", reference.prefix(n + 1));
                self.absent.push((at.to_string(), why));
            }
            parts = parts.iter().flat_map(|part| part.step(segment, false)).collect();
        }
        let known = parts.into_iter().filter(Part::says_something);
        all(known.map(|part| json!({ "$ref": part.at.fragment() })).collect())
    }

    /// The output of a step that may be skipped may be null; a condition of one's own is taken for a look at that.
    fn or_null(&mut self, reference: &Reference, id: &StepId, schema: Option<Value>, at: &Pointer) -> Option<Value> {
        if !self.sources.is_optional(id, self.step) || self.step.is_conditional() {
            return schema;
        }
        if reference.path.is_empty() {
            return schema.map(|schema| json!({ "anyOf": [schema, { "type": "null" }] }));
        }
        let when = match self.sources.workflow.step(&self.step.id) {
            Some(_) => "is skipped or gone on without",
            None => "did not succeed",
        };
        let why = format!("`{}` is null when the step `{id}` {when}", reference.root);
        self.absent.push((at.to_string(), why));
        schema
    }
}

/// Fits all of these; `None` if there are none.
fn all(mut schemas: Vec<Value>) -> Option<Value> {
    if schemas.len() > 1 { Some(json!({ "allOf": schemas })) } else { schemas.pop() }
}

impl<'w> Part<'w> {
    fn below(&self, path: &str, schema: &'w Value) -> Self {
        Self { root: self.root, schema, source: self.source.clone(), at: self.at.below(path) }
    }

    fn says_something(&self) -> bool {
        self.schema.as_object().is_none_or(|keywords| !keywords.is_empty()) && *self.schema != Value::Bool(true)
    }

    /// The schemas that all hold for the same value: this one, what it refers to and what it combines.
    fn together(&self) -> Vec<Self> {
        let mut parts = vec![self.clone()];
        let mut next = 0;
        while let Some(part) = parts.get(next).cloned().filter(|_| next < HOPS_MAX) {
            next += 1;
            if let Some(path) = part.schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'))
                && let Some(target) = part.root.pointer(path)
            {
                parts.push(Self { schema: target, at: part.source.below(path), ..part.clone() });
            }
            let all = part.schema.get("allOf").and_then(Value::as_array).into_iter().flatten().enumerate();
            parts.extend(all.map(|(n, schema)| part.below(&format!("/allOf/{n}"), schema)));
        }
        parts
    }

    /// Whether the field is among those that are listed.
    fn lists(&self, name: &str) -> bool {
        self.together().iter().any(|it| it.schema.get("properties").is_some_and(|all| all.get(name).is_some()))
    }

    fn requires(&self, name: &str) -> bool {
        let required = |part: &Self| part.schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        self.together().iter().any(|part| required(part).iter().any(|it| it == name))
    }

    /// What is said of a field or an item; of an item that stands for `every` one only what holds for all.
    fn step(&self, segment: &Segment, every: bool) -> Vec<Self> {
        self.together().iter().filter_map(|part| part.own_step(segment, every)).collect()
    }

    fn own_step(&self, segment: &Segment, every: bool) -> Option<Self> {
        let keywords = self.schema.as_object()?;
        match segment {
            Segment::Field(name) => {
                if let Some(schema) = keywords.get("properties").and_then(|it| it.get(name)) {
                    return Some(self.below(&Pointer::root().field("properties").field(name).to_string(), schema));
                }
                let schema =
                    keywords.get("additionalProperties").filter(|_| !keywords.contains_key("patternProperties"))?;
                Some(self.below("/additionalProperties", schema))
            }
            Segment::Index(index) => {
                let first = keywords.get("prefixItems").and_then(Value::as_array);
                match first.and_then(|first| first.get(*index)) {
                    Some(_) if every => None,
                    Some(schema) => Some(self.below(&format!("/prefixItems/{index}"), schema)),
                    None if every && first.is_some() => None,
                    None => Some(self.below("/items", keywords.get("items")?)),
                }
            }
        }
    }
}
