//! A JSON value whose strings may hold expressions.

use std::sync::Arc;

use kapelle_types::Payload;
use serde_json::{Map, Value};

use crate::convert::{self, Budget};
use crate::scan::{self, Piece};
use crate::{Error, ErrorKind, Expression, Reference, Scope};

/// A JSON value whose strings may hold `${…}`, compiled. Cloning is cheap; equal means the same source.
///
/// A string that is one `${…}` takes the value with its type; text around it makes a string; `$${` is a literal `${`.
#[derive(Debug, Clone)]
pub struct Template(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Value,
    node: Node,
}

#[derive(Debug)]
enum Node {
    /// No expression in it: built once, shared by all evaluations.
    Constant(Payload),
    Whole(Place),
    Text(Vec<Part>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// An expression and where in the template it stands.
#[derive(Debug)]
struct Place {
    expression: Expression,
    pointer: String,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Place(Place),
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// All its expressions that do not compile, each with its place.
    pub fn compile(template: &Value) -> Result<Self, Vec<Error>> {
        let mut compiler = Compiler { pointer: String::new(), errors: vec![] };
        let node = compiler.node(template, 0);
        if compiler.errors.is_empty() {
            Ok(Self(Arc::new(Inner { source: template.clone(), node })))
        } else {
            Err(compiler.errors)
        }
    }

    /// What its expressions refer to, each once.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let mut references = vec![];
        collect(&self.0.node, &mut references);
        references
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.0.source
    }

    /// The value. A template that is one reference to a whole root gives that payload itself.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], with the expression's place; or the result is too large or too deep for a payload.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Payload, Error> {
        match &self.0.node {
            Node::Constant(payload) => Ok(payload.clone()),
            Node::Whole(place) => place.expression.evaluate(scope).map_err(|error| error.in_template(&place.pointer)),
            node => build(node, 0, &mut Budget::default(), scope).map(Payload::inline),
        }
    }
}

struct Compiler {
    pointer: String,
    errors: Vec<Error>,
}

impl Compiler {
    fn node(&mut self, value: &Value, depth: usize) -> Node {
        if depth >= convert::DEPTH_MAX && (value.is_array() || value.is_object()) {
            self.fail(Error::new(ErrorKind::Bound, "", convert::too_deep().message));
            return constant(Value::Null);
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => constant(value.clone()),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                let nodes: Vec<Node> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.below(&index.to_string(), |it| it.node(item, depth + 1)))
                    .collect();
                match nodes.iter().map(constant_value).collect::<Option<Vec<_>>>() {
                    Some(items) => constant(Value::Array(items)),
                    None => Node::List(nodes),
                }
            }
            Value::Object(fields) => {
                let nodes: Vec<(String, Node)> = fields
                    .iter()
                    .map(|(name, value)| self.below(name, |it| (it.name(name), it.node(value, depth + 1))))
                    .collect();
                let constants = nodes.iter().map(|(name, node)| Some((name.clone(), constant_value(node)?)));
                match constants.collect::<Option<Map<_, _>>>() {
                    Some(fields) => constant(Value::Object(fields)),
                    None => Node::Object(nodes),
                }
            }
        }
    }

    fn name(&mut self, name: &str) -> String {
        match scan::pieces(name).as_deref() {
            Ok([Piece::Text(text)]) => text.clone(),
            _ => {
                let message = "the name of a field cannot be an expression; a literal `${` is written `$${`";
                self.fail(Error::new(ErrorKind::Syntax, name, message));
                String::new()
            }
        }
    }

    fn string(&mut self, text: &str) -> Node {
        let pieces = match scan::pieces(text) {
            Ok(pieces) => pieces,
            Err(unclosed) => {
                self.fail(Expression::unclosed(unclosed.rest));
                return constant(Value::Null);
            }
        };
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Text(text) => parts.push(Part::Text(text)),
                Piece::Expression(source) => match Expression::compile_inner(source.trim()) {
                    Ok(expression) => {
                        parts.push(Part::Place(Place { expression, pointer: self.pointer.clone() }));
                    }
                    Err(error) => self.fail(error),
                },
            }
        }
        match parts.as_slice() {
            [Part::Text(_)] | [Part::Place(_)] => match parts.pop() {
                Some(Part::Place(place)) => Node::Whole(place),
                Some(Part::Text(text)) => constant(Value::String(text)),
                None => Node::Text(parts),
            },
            _ => Node::Text(parts),
        }
    }

    fn below<T>(&mut self, name: &str, then: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let result = then(self);
        self.pointer.truncate(len);
        result
    }

    fn fail(&mut self, error: Error) {
        self.errors.push(error.in_template(&self.pointer));
    }
}

fn constant(value: Value) -> Node {
    Node::Constant(Payload::inline(value))
}

fn constant_value(node: &Node) -> Option<Value> {
    match node {
        Node::Constant(payload) => payload.value.as_deref().cloned(),
        Node::Whole(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => None,
    }
}

fn collect(node: &Node, references: &mut Vec<Reference>) {
    let mut add = |place: &Place| {
        for reference in place.expression.references() {
            if !references.contains(reference) {
                references.push(reference.clone());
            }
        }
    };
    match node {
        Node::Constant(_) => {}
        Node::Whole(place) => add(place),
        Node::Text(parts) => parts.iter().for_each(|part| match part {
            Part::Place(place) => add(place),
            Part::Text(_) => {}
        }),
        Node::List(nodes) => nodes.iter().for_each(|node| collect(node, references)),
        Node::Object(nodes) => nodes.iter().for_each(|(_, node)| collect(node, references)),
    }
}

fn build(node: &Node, depth: usize, budget: &mut Budget, scope: &dyn Scope) -> Result<Value, Error> {
    let too_large = |fault: crate::lookup::Fault| fault.in_source("");
    match node {
        Node::Constant(payload) => {
            let value = payload.value.as_deref().unwrap_or(&Value::Null);
            convert::copy(value, depth, budget).map_err(too_large)
        }
        Node::Whole(place) => place
            .expression
            .with_value(scope, |value| convert::copy(value, depth, budget))
            .map_err(|error| error.in_template(&place.pointer)),
        Node::Text(parts) => {
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text(literal) => {
                        budget.take(literal.len()).map_err(too_large)?;
                        text.push_str(literal);
                    }
                    Part::Place(place) => place
                        .expression
                        .with_value(scope, |value| {
                            convert::within(value, depth, budget)?;
                            push_text(&mut text, value);
                            Ok(())
                        })
                        .map_err(|error| error.in_template(&place.pointer))?,
                }
            }
            Ok(Value::String(text))
        }
        Node::List(nodes) => {
            nodes.iter().map(|node| build(node, depth + 1, budget, scope)).collect::<Result<_, _>>().map(Value::Array)
        }
        Node::Object(nodes) => nodes
            .iter()
            .map(|(name, node)| Ok((name.clone(), build(node, depth + 1, budget, scope)?)))
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
    }
}

/// A value inside a text: a string without quotes, everything else as JSON.
fn push_text(text: &mut String, value: &Value) {
    match value {
        Value::String(it) => text.push_str(it),
        other => text.push_str(&other.to_string()),
    }
}
