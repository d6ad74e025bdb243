//! The two schemas that are compared: references resolved, and any part of them as a checker of its own.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use jsonschema::{Registry, Validator};
use serde_json::{Map, Value, json};

use crate::Pointer;
use crate::contract::options;
use crate::rewrite::mentions;

/// References followed in a row: they may go in a circle.
const HOPS_MAX: usize = 32;

/// What a value may be asked to fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'s> {
    /// A part of one of the schemas.
    Schema(Part<'s>),
    /// Being this value.
    Equal(Cow<'s, Value>),
    /// Anything fits.
    Any,
    /// Nothing fits.
    Never,
}

/// A part of one of the schemas.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part<'s> {
    /// Which of the two.
    pub(super) doc: usize,
    pub(super) schema: &'s Value,
    pub(super) pointer: Pointer,
}

/// Whether a value fits, or does not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Demand<'s> {
    pub(super) node: Node<'s>,
    pub(super) holds: bool,
}

/// What tells a node from others, cheaply.
type Id = (usize, usize);
/// What tells a demand from others.
pub(super) type Key = (Id, String, bool);

pub(super) struct Docs<'s> {
    roots: [&'s Value; 2],
    /// Both say the same, so that equal parts of them do.
    equal: bool,
    /// Whether a local reference means what its pointer says.
    plain: [bool; 2],
    registry: Option<Registry<'s>>,
    checkers: RefCell<HashMap<Id, Option<Validator>>>,
    patterns: RefCell<HashMap<String, Option<Validator>>>,
}

impl<'s> Part<'s> {
    pub(super) fn below(&self, keyword: &str, schema: &'s Value) -> Node<'s> {
        Node::Schema(Self { doc: self.doc, schema, pointer: self.pointer.field(keyword) })
    }

    /// The schemas of a keyword whose value is a list of them.
    pub(super) fn list(&self, keyword: &str) -> Vec<Node<'s>> {
        let at = self.pointer.field(keyword);
        let items = self.schema.get(keyword).and_then(Value::as_array).into_iter().flatten().enumerate();
        items.map(|(n, schema)| Node::Schema(Self { doc: self.doc, schema, pointer: at.item(n) })).collect()
    }

    /// The schemas of a keyword whose value is an object of them.
    pub(super) fn map(&self, keyword: &str) -> Vec<(&'s str, Node<'s>)> {
        let at = self.pointer.field(keyword);
        let fields = self.schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
        let node = |(name, schema): (&'s String, &'s Value)| {
            (name.as_str(), Node::Schema(Self { doc: self.doc, schema, pointer: at.field(name) }))
        };
        fields.map(node).collect()
    }

    /// The schema of a keyword whose value is one.
    pub(super) fn one(&self, keyword: &str) -> Option<Node<'s>> {
        self.schema.get(keyword).map(|schema| self.below(keyword, schema))
    }

    fn id(&self) -> Id {
        (self.doc, std::ptr::from_ref(self.schema).addr())
    }
}

impl<'s> Demand<'s> {
    pub(super) const fn new(node: Node<'s>, holds: bool) -> Self {
        Self { node, holds }
    }

    /// The same demand has the same key; values have none, they are told apart by themselves.
    pub(super) fn key(&self) -> Key {
        match &self.node {
            Node::Schema(part) => (part.id(), String::new(), self.holds),
            Node::Equal(value) => ((2, 0), value.to_string(), self.holds),
            Node::Any => ((3, 0), String::new(), self.holds),
            Node::Never => ((3, 1), String::new(), self.holds),
        }
    }
}

impl<'s> Docs<'s> {
    pub(super) fn new(giver: &'s Value, taker: &'s Value) -> Self {
        let registry =
            Registry::new().add(uri(0), giver).and_then(|it| it.add(uri(1), taker)).and_then(|it| it.prepare());
        let plain = [giver, taker].map(|schema| !mentions(schema, &["$id"]));
        Self {
            roots: [giver, taker],
            equal: giver == taker,
            plain,
            registry: registry.ok(),
            checkers: RefCell::default(),
            patterns: RefCell::default(),
        }
    }

    pub(super) fn root(&self, doc: usize) -> Node<'s> {
        self.follow(Node::Schema(Part { doc, schema: self.roots[doc], pointer: Pointer::root() }))
    }

    /// The node behind references that stand alone.
    pub(super) fn follow(&self, mut node: Node<'s>) -> Node<'s> {
        for _ in 0..HOPS_MAX {
            let Node::Schema(part) = &node else { return node };
            match part.schema {
                Value::Bool(true) => return Node::Any,
                Value::Bool(false) => return Node::Never,
                Value::Object(keywords) if keywords.is_empty() => return Node::Any,
                Value::Object(keywords) if is_reference(keywords) => match self.target(part) {
                    Some(target) => node = target,
                    None => return node,
                },
                _ => return node,
            }
        }
        node
    }

    /// What `$ref` of this part points to, if a pointer says it.
    pub(super) fn target(&self, part: &Part<'s>) -> Option<Node<'s>> {
        let path = part.schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        if !self.plain[part.doc] || path.contains('%') {
            return None;
        }
        let schema = self.roots[part.doc].pointer(path)?;
        Some(Node::Schema(Part { doc: part.doc, schema, pointer: Pointer::root().below(path) }))
    }

    /// Whether two parts, of whichever schema, say the same for certain.
    pub(super) fn same(&self, a: &Value, b: &Value) -> bool {
        a == b && (self.equal || !mentions(a, &["$ref", "$dynamicRef"]))
    }

    /// Whether a value fits; `None` if that cannot be said.
    pub(super) fn fits(&self, node: &Node<'s>, value: &Value) -> Option<bool> {
        match node {
            Node::Any => Some(true),
            Node::Never => Some(false),
            Node::Equal(wanted) => Some(equal(wanted, value)),
            Node::Schema(part) => {
                let mut checkers = self.checkers.borrow_mut();
                let checker = checkers.entry(part.id()).or_insert_with(|| self.compile(part));
                Some(checker.as_ref()?.is_valid(value))
            }
        }
    }

    /// Whether a name matches a pattern, which compiled with its schema.
    pub(super) fn matches(&self, pattern: &str, name: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let compile = || options().build(&json!({ "pattern": pattern })).ok();
        let checker = patterns.entry(pattern.to_owned()).or_insert_with(compile);
        checker.as_ref().is_some_and(|it| it.is_valid(&Value::String(name.to_owned())))
    }

    fn compile(&self, part: &Part<'s>) -> Option<Validator> {
        let target = uri(part.doc) + &part.pointer.fragment();
        options().with_registry(self.registry.as_ref()?).build(&json!({ "$ref": target })).ok()
    }
}

fn uri(doc: usize) -> String {
    format!("urn:kapelle:{doc}")
}

/// Whether nothing but `$ref` counts in a schema.
fn is_reference(keywords: &Map<String, Value>) -> bool {
    keywords.contains_key("$ref")
        && keywords.keys().all(|it| matches!(it.as_str(), "$ref" | "$defs" | "title" | "description" | "$comment"))
}

/// Equality as JSON Schema has it: 1 is 1.0.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| equal(x, y)))
        }
        _ => a == b,
    }
}
