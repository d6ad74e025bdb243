//! A schema taken apart into the rules that it is made of, so that it can be turned round: what breaks it is a rule broken.

use std::borrow::Cow;

use serde_json::Value;

use super::docs::{Demand, Docs, Node, Part};
use super::number::Decimal;

/// Kinds of values, as a set of bits.
pub(super) type Types = u8;
pub(super) const NULL: Types = 1;
pub(super) const BOOLEAN: Types = 2;
pub(super) const INTEGER: Types = 4;
/// Numbers that are no integers.
pub(super) const FRACTION: Types = 8;
pub(super) const STRING: Types = 16;
pub(super) const ARRAY: Types = 32;
pub(super) const OBJECT: Types = 64;
pub(super) const NUMBER: Types = INTEGER | FRACTION;
pub(super) const ALL: Types = 127;

/// Something that a value does or does not fulfil.
#[derive(Debug, Clone)]
pub(super) enum Formula<'s> {
    Rule(Rule<'s>, bool),
    Demand(Demand<'s>),
    All(Vec<Self>),
    Any(Vec<Self>),
    /// One of them and no other.
    One(Vec<Node<'s>>, bool),
}

/// A rule that no other rules are in. But for `Types` and `In` it says something of one kind of values and passes others.
#[derive(Debug, Clone)]
pub(super) enum Rule<'s> {
    Types(Types),
    In(Vec<Cow<'s, Value>>),
    /// At least, and whether more.
    Lower(Decimal, bool),
    Upper(Decimal, bool),
    Multiple(Decimal),
    LengthMin(u64),
    LengthMax(u64),
    Pattern(&'s str),
    ItemsMin(u64),
    ItemsMax(u64),
    Items(Items<'s>),
    Unique,
    FieldsMin(u64),
    FieldsMax(u64),
    Has(&'s str),
    Fields(Fields<'s>),
    /// A rule that is not taken apart. Equal ones say the same; one without identity says nothing that is known.
    Opaque {
        keyword: &'static str,
        identity: Option<[Option<&'s Value>; 3]>,
    },
}

/// `prefixItems` and `items`.
#[derive(Debug, Clone)]
pub(super) struct Items<'s> {
    pub(super) first: Vec<Node<'s>>,
    pub(super) rest: Node<'s>,
}

/// `properties`, `patternProperties` and `additionalProperties`.
#[derive(Debug, Clone)]
pub(super) struct Fields<'s> {
    pub(super) named: Vec<(&'s str, Node<'s>)>,
    pub(super) patterns: Vec<(&'s str, Node<'s>)>,
    pub(super) rest: Node<'s>,
}

impl<'s> Items<'s> {
    pub(super) fn at(&self, index: usize) -> &Node<'s> {
        self.first.get(index).unwrap_or(&self.rest)
    }
}

impl<'s> Formula<'s> {
    pub(super) const fn demand(node: Node<'s>, holds: bool) -> Self {
        Self::Demand(Demand::new(node, holds))
    }

    /// Its opposite.
    pub(super) fn not(self) -> Self {
        match self {
            Self::Rule(rule, holds) => Self::Rule(rule, !holds),
            Self::Demand(demand) => Self::demand(demand.node, !demand.holds),
            Self::All(parts) => Self::Any(parts.into_iter().map(Self::not).collect()),
            Self::Any(parts) => Self::All(parts.into_iter().map(Self::not).collect()),
            Self::One(parts, holds) => Self::One(parts, !holds),
        }
    }

    /// Exactly one of these, or not exactly one: written out.
    pub(super) fn one(of: &[Node<'s>], holds: bool) -> Self {
        let only = |chosen: &[usize], others: bool| {
            let parts = of.iter().enumerate().filter_map(|(n, node)| match chosen.contains(&n) {
                true => Some(Self::demand(node.clone(), true)),
                false => others.then(|| Self::demand(node.clone(), false)),
            });
            Self::All(parts.collect())
        };
        let indexes = 0..of.len();
        if holds {
            return Self::Any(indexes.map(|n| only(&[n], true)).collect());
        }
        let pairs = indexes.clone().flat_map(|a| indexes.clone().skip(a + 1).map(move |b| [a, b]));
        Self::Any(std::iter::once(only(&[], true)).chain(pairs.map(|pair| only(&pair, false))).collect())
    }
}

/// What a node asks for.
pub(super) fn expand<'s>(docs: &Docs<'s>, node: &Node<'s>) -> Formula<'s> {
    match node {
        Node::Any => Formula::All(vec![]),
        Node::Never => Formula::Any(vec![]),
        Node::Equal(value) => Formula::Rule(Rule::In(vec![value.clone()]), true),
        Node::Schema(part) => match part.schema {
            Value::Bool(true) => Formula::All(vec![]),
            Value::Object(keywords) => {
                let rules = keywords.iter().filter_map(|(keyword, value)| keyword_rule(docs, part, keyword, value));
                Formula::All(rules.chain(grouped(docs, part)).collect())
            }
            _ => Formula::Any(vec![]),
        },
    }
}

/// What a list or an object that has to be this very value is made of. Names live as long as the schemas, so that an
/// object that was made up while comparing cannot be taken apart.
pub(super) fn equal_to<'s>(value: &Cow<'s, Value>) -> Option<Formula<'s>> {
    let rule = |rule| Formula::Rule(rule, true);
    match value {
        Cow::Borrowed(Value::Object(fields)) => {
            let named = fields.iter().map(|(name, it)| (name.as_str(), Node::Equal(Cow::Borrowed(it)))).collect();
            let has = fields.keys().map(|name| rule(Rule::Has(name)));
            let only = rule(Rule::Fields(Fields { named, patterns: vec![], rest: Node::Never }));
            Some(Formula::All([rule(Rule::Types(OBJECT)), only].into_iter().chain(has).collect()))
        }
        Cow::Borrowed(Value::Array(items)) => {
            Some(list_of(items.iter().map(|it| Node::Equal(Cow::Borrowed(it))).collect()))
        }
        Cow::Owned(Value::Array(items)) => {
            Some(list_of(items.iter().map(|it| Node::Equal(Cow::Owned(it.clone()))).collect()))
        }
        _ => None,
    }
}

fn list_of(items: Vec<Node<'_>>) -> Formula<'_> {
    let parts = [
        Rule::Types(ARRAY),
        Rule::ItemsMin(items.len() as u64),
        Rule::Items(Items { first: items, rest: Node::Never }),
    ];
    Formula::All(parts.into_iter().map(|rule| Formula::Rule(rule, true)).collect())
}

/// The rule of a keyword that stands for itself.
fn keyword_rule<'s>(docs: &Docs<'s>, part: &Part<'s>, keyword: &str, value: &'s Value) -> Option<Formula<'s>> {
    let rule = |rule| Some(Formula::Rule(rule, true));
    let opaque = |keyword: &'static str| Some(Formula::Rule(Rule::Opaque { keyword, identity: None }, true));
    let decimal = |keyword: &'static str, make: &dyn Fn(Decimal) -> Rule<'s>| match Decimal::of(value) {
        Some(number) => rule(make(number)),
        None => Some(Formula::Rule(Rule::Opaque { keyword, identity: Some([Some(value), None, None]) }, true)),
    };
    let all = |holds: bool, nodes: Vec<Node<'s>>| nodes.into_iter().map(|node| Formula::demand(node, holds)).collect();
    match keyword {
        "type" => rule(Rule::Types(types(value))),
        "const" => rule(Rule::In(vec![Cow::Borrowed(value)])),
        "enum" => rule(Rule::In(value.as_array()?.iter().map(Cow::Borrowed).collect())),
        "minimum" => decimal("minimum", &|it| Rule::Lower(it, false)),
        "exclusiveMinimum" => decimal("exclusiveMinimum", &|it| Rule::Lower(it, true)),
        "maximum" => decimal("maximum", &|it| Rule::Upper(it, false)),
        "exclusiveMaximum" => decimal("exclusiveMaximum", &|it| Rule::Upper(it, true)),
        "multipleOf" => decimal("multipleOf", &Rule::Multiple),
        "minLength" => rule(Rule::LengthMin(whole(value)?)),
        "maxLength" => rule(Rule::LengthMax(whole(value)?)),
        "pattern" => rule(Rule::Pattern(value.as_str()?)),
        "minItems" => rule(Rule::ItemsMin(whole(value)?)),
        "maxItems" => rule(Rule::ItemsMax(whole(value)?)),
        "uniqueItems" if value == &Value::Bool(true) => rule(Rule::Unique),
        "minProperties" => rule(Rule::FieldsMin(whole(value)?)),
        "maxProperties" => rule(Rule::FieldsMax(whole(value)?)),
        "required" => Some(Formula::All(has(value).collect())),
        "allOf" => Some(Formula::All(all(true, part.list(keyword)))),
        "anyOf" => Some(Formula::Any(all(true, part.list(keyword)))),
        "oneOf" => Some(Formula::One(part.list(keyword), true)),
        "not" => Some(Formula::demand(part.below(keyword, value), false)),
        "$ref" => docs.target(part).map_or_else(|| opaque("$ref"), |node| Some(Formula::demand(node, true))),
        "$dynamicRef" => opaque("$dynamicRef"),
        "unevaluatedItems" => opaque("unevaluatedItems"),
        "unevaluatedProperties" => opaque("unevaluatedProperties"),
        "dependentRequired" => {
            let each = value.as_object()?.iter().map(|(name, needs)| depends(name, Formula::All(has(needs).collect())));
            Some(Formula::All(each.collect()))
        }
        "dependentSchemas" => {
            let each = part.map(keyword).into_iter().map(|(name, node)| depends(name, Formula::demand(node, true)));
            Some(Formula::All(each.collect()))
        }
        // Annotations, keywords that are read in groups, and words of one's own.
        _ => None,
    }
}

/// The rules of keywords that only together say something.
fn grouped<'s>(docs: &Docs<'s>, part: &Part<'s>) -> Vec<Formula<'s>> {
    let has = |keyword: &str| part.schema.get(keyword).is_some();
    let one = |keyword: &str| part.one(keyword).map_or(Node::Any, |node| docs.follow(node));
    let mut rules = Vec::new();
    if has("items") || has("prefixItems") {
        let first = part.list("prefixItems").into_iter().map(|node| docs.follow(node)).collect();
        rules.push(Formula::Rule(Rule::Items(Items { first, rest: one("items") }), true));
    }
    if has("properties") || has("patternProperties") || has("additionalProperties") {
        let followed = |keyword: &str| -> Vec<(&'s str, Node<'s>)> {
            part.map(keyword).into_iter().map(|(name, node)| (name, docs.follow(node))).collect()
        };
        let (named, patterns) = (followed("properties"), followed("patternProperties"));
        rules.push(Formula::Rule(Rule::Fields(Fields { named, patterns, rest: one("additionalProperties") }), true));
    }
    if has("if") && (has("then") || has("else")) {
        let way = |holds: bool, keyword: &str| {
            Formula::All(vec![Formula::demand(one("if"), holds), Formula::demand(one(keyword), true)])
        };
        rules.push(Formula::Any(vec![way(true, "then"), way(false, "else")]));
    }
    for (keyword, others) in [("contains", ["minContains", "maxContains"]), ("propertyNames", ["", ""])] {
        if let Some(value) = part.schema.get(keyword) {
            let identity = [Some(value), part.schema.get(others[0]), part.schema.get(others[1])];
            rules.push(Formula::Rule(Rule::Opaque { keyword, identity: Some(identity) }, true));
        }
    }
    rules
}

fn has(names: &Value) -> impl Iterator<Item = Formula<'_>> {
    let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| Formula::Rule(Rule::Has(name), true))
}

/// An object with this field fulfils `then`.
fn depends<'s>(name: &'s str, then: Formula<'s>) -> Formula<'s> {
    Formula::Any(vec![Formula::Rule(Rule::Types(ALL & !OBJECT), true), Formula::Rule(Rule::Has(name), false), then])
}

fn types(value: &Value) -> Types {
    let names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    names.iter().filter_map(Value::as_str).fold(0, |types, name| {
        types
            | match name {
                "null" => NULL,
                "boolean" => BOOLEAN,
                "integer" => INTEGER,
                "number" => NUMBER,
                "string" => STRING,
                "array" => ARRAY,
                "object" => OBJECT,
                _ => 0,
            }
    })
}

/// A whole number, which may be written `3.0`.
fn whole(value: &Value) -> Option<u64> {
    Decimal::of(value)?.whole()
}
