//! The rules of one way to fulfil everything that is asked for, gathered by what they are about.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::docs::Docs;
use super::formula::{ALL, ARRAY, Fields, Items, NUMBER, OBJECT, Rule, STRING, Types};
use super::number::Decimal;

/// Rules that all have to be kept.
#[derive(Debug, Clone)]
pub(super) struct Rules<'s> {
    pub(super) types: Types,
    /// The only values there are, if they are listed.
    pub(super) values: Option<Vec<Cow<'s, Value>>>,
    /// Values that it is not.
    pub(super) excluded: Vec<Cow<'s, Value>>,
    pub(super) lower: Vec<(Decimal, bool)>,
    pub(super) upper: Vec<(Decimal, bool)>,
    pub(super) multiples: Vec<Decimal>,
    pub(super) no_multiples: Vec<Decimal>,
    pub(super) length: Range,
    pub(super) patterns: BTreeSet<&'s str>,
    pub(super) no_patterns: BTreeSet<&'s str>,
    pub(super) item_count: Range,
    pub(super) items: Vec<Items<'s>>,
    pub(super) broken_items: Vec<Items<'s>>,
    pub(super) unique: bool,
    pub(super) repeated: bool,
    pub(super) field_count: Range,
    pub(super) has: BTreeSet<&'s str>,
    pub(super) lacks: BTreeSet<&'s str>,
    pub(super) fields: Vec<Fields<'s>>,
    pub(super) broken_fields: Vec<Fields<'s>>,
    /// The first rule that is not taken apart: what is found has to be tried out.
    pub(super) doubt: Option<&'static str>,
    opaque: Vec<(&'static str, [Option<&'s Value>; 3], bool)>,
}

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Range {
    const ANY: Self = Self { min: 0, max: u64::MAX };

    const fn is_empty(self) -> bool {
        self.min > self.max
    }
}

impl<'s> Rules<'s> {
    pub(super) fn none() -> Self {
        Self {
            types: ALL,
            values: None,
            excluded: vec![],
            lower: vec![],
            upper: vec![],
            multiples: vec![],
            no_multiples: vec![],
            length: Range::ANY,
            patterns: BTreeSet::new(),
            no_patterns: BTreeSet::new(),
            item_count: Range::ANY,
            items: vec![],
            broken_items: vec![],
            unique: false,
            repeated: false,
            field_count: Range::ANY,
            has: BTreeSet::new(),
            lacks: BTreeSet::new(),
            fields: vec![],
            broken_fields: vec![],
            doubt: None,
            opaque: vec![],
        }
    }

    /// Whether nothing can keep them all, as far as that is seen at once.
    pub(super) fn contradict(&self) -> bool {
        self.types == 0
    }

    /// Adds a rule that has to be kept.
    pub(super) fn keep(&mut self, rule: Rule<'s>, docs: &Docs<'s>) {
        let without = match rule {
            Rule::Types(types) => {
                self.types &= types;
                return;
            }
            Rule::In(values) => {
                let there = self.values.take();
                let both = |it: &Cow<'s, Value>| there.as_ref().is_none_or(|there| there.contains(it));
                self.values = Some(values.into_iter().filter(both).collect());
                return;
            }
            Rule::Opaque { keyword, identity } => return self.leave(keyword, identity, true, docs),
            Rule::Lower(bound, more) => {
                self.lower.push((bound, more));
                0
            }
            Rule::Upper(bound, more) => {
                self.upper.push((bound, more));
                0
            }
            Rule::Multiple(of) => {
                self.multiples.push(of);
                0
            }
            Rule::LengthMin(min) => at_least(&mut self.length, min, STRING),
            Rule::LengthMax(max) => at_most(&mut self.length, max, STRING),
            Rule::Pattern(pattern) => {
                self.patterns.insert(pattern);
                if self.no_patterns.contains(pattern) { STRING } else { 0 }
            }
            Rule::ItemsMin(min) => at_least(&mut self.item_count, min, ARRAY),
            Rule::ItemsMax(max) => at_most(&mut self.item_count, max, ARRAY),
            Rule::Items(items) => {
                self.items.push(items);
                0
            }
            Rule::Unique => {
                self.unique = true;
                if self.repeated { ARRAY } else { 0 }
            }
            Rule::FieldsMin(min) => at_least(&mut self.field_count, min, OBJECT),
            Rule::FieldsMax(max) => at_most(&mut self.field_count, max, OBJECT),
            Rule::Has(name) => {
                self.has.insert(name);
                if self.lacks.contains(name) { OBJECT } else { 0 }
            }
            Rule::Fields(fields) => {
                self.fields.push(fields);
                0
            }
        };
        self.types &= !without;
    }

    /// Adds a rule that has to be broken. But for `In`, which the caller takes apart, that says what kind of value it is.
    pub(super) fn break_it(&mut self, rule: Rule<'s>, docs: &Docs<'s>) {
        self.types &= match rule {
            Rule::Types(types) => !types,
            Rule::In(values) => {
                self.excluded.extend(values);
                ALL
            }
            Rule::Opaque { keyword, identity } => return self.leave(keyword, identity, false, docs),
            Rule::Lower(bound, more) => {
                self.upper.push((bound, !more));
                NUMBER
            }
            Rule::Upper(bound, more) => {
                self.lower.push((bound, !more));
                NUMBER
            }
            Rule::Multiple(of) => {
                self.no_multiples.push(of);
                NUMBER
            }
            Rule::LengthMin(min) => below(&mut self.length, min, STRING),
            Rule::LengthMax(max) => above(&mut self.length, max, STRING),
            Rule::Pattern(pattern) => {
                self.no_patterns.insert(pattern);
                if self.patterns.contains(pattern) { 0 } else { STRING }
            }
            Rule::ItemsMin(min) => below(&mut self.item_count, min, ARRAY),
            Rule::ItemsMax(max) => above(&mut self.item_count, max, ARRAY),
            Rule::Items(items) => {
                self.broken_items.push(items);
                ARRAY
            }
            Rule::Unique => {
                self.repeated = true;
                if self.unique { 0 } else { ARRAY }
            }
            Rule::FieldsMin(min) => below(&mut self.field_count, min, OBJECT),
            Rule::FieldsMax(max) => above(&mut self.field_count, max, OBJECT),
            Rule::Has(name) => {
                self.lacks.insert(name);
                if self.has.contains(name) { 0 } else { OBJECT }
            }
            Rule::Fields(fields) => {
                self.broken_fields.push(fields);
                OBJECT
            }
        };
    }

    /// A rule that is not taken apart contradicts its own opposite and nothing else.
    fn leave(&mut self, keyword: &'static str, identity: Option<[Option<&'s Value>; 3]>, kept: bool, docs: &Docs<'s>) {
        self.doubt.get_or_insert(keyword);
        let Some(identity) = identity else { return };
        let same = |a: Option<&Value>, b: Option<&Value>| match (a, b) {
            (Some(a), Some(b)) => docs.same(a, b),
            (None, None) => true,
            _ => false,
        };
        let opposite = self.opaque.iter().any(|(other, there, how)| {
            *other == keyword && *how != kept && there.iter().zip(&identity).all(|(a, b)| same(*a, *b))
        });
        if opposite {
            self.types = 0;
        }
        self.opaque.push((keyword, identity, kept));
    }
}

/// Each says which kinds of values are out of the question now.
fn at_least(range: &mut Range, min: u64, types: Types) -> Types {
    range.min = range.min.max(min);
    if range.is_empty() { types } else { 0 }
}

fn at_most(range: &mut Range, max: u64, types: Types) -> Types {
    range.max = range.max.min(max);
    if range.is_empty() { types } else { 0 }
}

/// Each says which kinds of values are left.
fn below(range: &mut Range, min: u64, types: Types) -> Types {
    let Some(max) = min.checked_sub(1) else { return 0 };
    types & !at_most(range, max, types)
}

fn above(range: &mut Range, max: u64, types: Types) -> Types {
    let Some(min) = max.checked_add(1) else { return 0 };
    types & !at_least(range, min, types)
}
