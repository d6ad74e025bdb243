//! An object that keeps some rules and breaks others.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::docs::{Demand, Docs, Node};
use super::formula::Fields;
use super::rules::Rules;
use super::solve::{Goal, Outcome, Solver};
use super::text::examples;

/// Fields that a witness is given; a difference that only shows in a larger object is not looked for.
const FIELDS_MAX: usize = 64;
/// Names that are made up for one field with patterns to regard.
const NAMES_MAX: usize = 8;

/// Where in the object each broken rule is seen to be broken.
#[derive(Clone, Default)]
struct Places<'s> {
    /// At fields whose names occur in the schemas, by not fitting these.
    named: Vec<(&'s str, Node<'s>)>,
    /// At fields of other names.
    others: Vec<Other<'s>>,
}

/// A field whose name occurs nowhere.
#[derive(Clone, Default)]
struct Other<'s> {
    /// What its name matches.
    matches: BTreeSet<&'s str>,
    /// What it does not.
    avoids: BTreeSet<&'s str>,
    /// What its value does not fit.
    misfits: Vec<Node<'s>>,
}

impl<'s> Fields<'s> {
    /// What the value of the field with this name has to fit.
    fn of(&self, name: &str, docs: &Docs<'s>) -> Vec<&Node<'s>> {
        let named = self.named.iter().filter(|(it, _)| *it == name);
        let patterns = self.patterns.iter().filter(|(pattern, _)| docs.matches(pattern, name));
        let nodes: Vec<_> = named.chain(patterns).map(|(_, node)| node).collect();
        if nodes.is_empty() { vec![&self.rest] } else { nodes }
    }

    /// The same for a field with another name, as far as it is certain.
    fn of_other(&self, other: &Other<'s>) -> Vec<&Node<'s>> {
        let patterns = self.patterns.iter().filter(|(pattern, _)| other.matches.contains(pattern));
        let nodes: Vec<_> = patterns.map(|(_, node)| node).collect();
        let avoided = self.patterns.iter().all(|(pattern, _)| other.avoids.contains(pattern));
        if avoided { vec![&self.rest] } else { nodes }
    }
}

impl<'s> Solver<'_, 's> {
    /// An object, by choosing for every broken rule the field that breaks it.
    pub(super) fn object(&mut self, goal: &Goal<'s>, rules: &Rules<'s>) -> Outcome {
        let fields = rules.fields.iter().chain(&rules.broken_fields).flat_map(|it| &it.named).map(|(name, _)| *name);
        let known: BTreeSet<&'s str> =
            fields.chain(rules.has.iter().copied()).chain(rules.lacks.iter().copied()).collect();
        self.choose(goal, rules, &known, &rules.broken_fields, Places::default())
    }

    fn choose(
        &mut self,
        goal: &Goal<'s>,
        rules: &Rules<'s>,
        known: &BTreeSet<&'s str>,
        broken: &[Fields<'s>],
        places: Places<'s>,
    ) -> Outcome {
        let Some((fields, rest)) = broken.split_first() else { return self.build(goal, rules, known, &places) };
        let mut ways = Vec::new();
        let at_name = |name: &'s str, node: &Node<'s>| {
            let mut places = places.clone();
            places.named.push((name, node.clone()));
            places
        };
        let there = |name: &&'s str| !rules.lacks.contains(name);
        let named = fields.named.iter().filter(|(name, node)| there(name) && *node != Node::Any);
        ways.extend(named.map(|(name, node)| at_name(name, node)));
        for (pattern, node) in fields.patterns.iter().filter(|(_, node)| *node != Node::Any) {
            let matching = known.iter().filter(|name| there(name) && self.docs.matches(pattern, name));
            ways.extend(matching.map(|name| at_name(name, node)));
            ways.extend(places.at_others(node, &Other::matching([*pattern]), &rules.field_patterns()));
        }
        if fields.rest != Node::Any {
            let mentioned = |name: &str| {
                fields.named.iter().any(|(it, _)| *it == name)
                    || fields.patterns.iter().any(|(pattern, _)| self.docs.matches(pattern, name))
            };
            let left = known.iter().filter(|name| there(name) && !mentioned(name));
            ways.extend(left.map(|name| at_name(name, &fields.rest)));
            let avoiding = Other::avoiding(fields.patterns.iter().map(|(pattern, _)| *pattern));
            ways.extend(places.at_others(&fields.rest, &avoiding, &rules.field_patterns()));
        }
        self.first(ways, |solver, places| solver.choose(goal, rules, known, rest, places))
    }

    /// The smallest object that has everything chosen and everything required.
    fn build(&mut self, goal: &Goal<'s>, rules: &Rules<'s>, known: &BTreeSet<&'s str>, places: &Places<'s>) -> Outcome {
        let chosen: BTreeSet<&str> = places.named.iter().map(|(name, _)| *name).collect();
        let required = rules.has.iter().copied().filter(|name| !chosen.contains(name));
        let count = chosen.len() + required.clone().count() + places.others.len();
        if count as u64 > rules.field_count.max {
            return Outcome::Impossible;
        }
        let mut object = Map::new();
        // What was chosen is the soonest to be impossible.
        for name in chosen.iter().copied().chain(required) {
            let misfits = places.named.iter().filter(|(it, _)| *it == name).map(|(_, node)| node);
            match self.field(rules, name, misfits) {
                Outcome::Found(value) => drop(object.insert(name.to_owned(), value)),
                end => return end,
            }
        }
        for other in &places.others {
            match self.other(rules, known, other, &object) {
                Ok((name, value)) => drop(object.insert(name, value)),
                Err(end) => return end,
            }
        }
        if let Some(end) = self.enough(rules, known, &mut object) {
            return end;
        }
        self.try_all(goal, [Value::Object(object)], Some(rules.doubt.unwrap_or("properties")))
    }

    /// A value for the field with this name.
    fn field<'n>(&mut self, rules: &Rules<'s>, name: &str, misfits: impl Iterator<Item = &'n Node<'s>>) -> Outcome
    where
        's: 'n,
    {
        let fits =
            rules.fields.iter().flat_map(|it| it.of(name, self.docs)).map(|node| Demand::new(node.clone(), true));
        let demands: Vec<_> = fits.chain(misfits.map(|node| Demand::new(node.clone(), false))).collect();
        self.solve_part(name, demands)
    }

    /// A name and a value for a field whose name occurs nowhere.
    fn other(
        &mut self,
        rules: &Rules<'s>,
        known: &BTreeSet<&'s str>,
        other: &Other<'s>,
        object: &Map<String, Value>,
    ) -> Result<(String, Value), Outcome> {
        let certain = rules.fields.iter().flat_map(|it| it.of_other(other)).map(|node| Demand::new(node.clone(), true));
        let demands: Vec<_> =
            certain.chain(other.misfits.iter().map(|node| Demand::new(node.clone(), false))).collect();
        if let Outcome::Impossible = self.solve_part("*", demands) {
            return Err(Outcome::Impossible);
        }
        let fits = |name: &String| {
            other.matches.iter().all(|it| self.docs.matches(it, name))
                && !other.avoids.iter().any(|it| self.docs.matches(it, name))
        };
        let names = names(&other.matches, known, object).into_iter().filter(fits).take(NAMES_MAX);
        for name in names.collect::<Vec<_>>() {
            // Of another name it might be possible, if names count.
            if let Outcome::Found(value) = self.field(rules, &name, other.misfits.iter()) {
                return Ok((name, value));
            }
        }
        Err(self.doubt(if other.matches.is_empty() { "additionalProperties" } else { "patternProperties" }))
    }

    /// Adds fields that may be there until there are enough; says the end if that cannot be had.
    fn enough(
        &mut self,
        rules: &Rules<'s>,
        known: &BTreeSet<&'s str>,
        object: &mut Map<String, Value>,
    ) -> Option<Outcome> {
        let missing = |object: &Map<String, Value>| (object.len() as u64) < rules.field_count.min;
        if missing(object) && rules.field_count.min > FIELDS_MAX as u64 {
            return Some(self.doubt("minProperties"));
        }
        let mut doubt = false;
        for name in known.iter().filter(|name| !rules.lacks.contains(*name)) {
            if missing(object) && !object.contains_key(*name) {
                match self.field(rules, name, std::iter::empty()) {
                    Outcome::Found(value) => drop(object.insert((*name).to_owned(), value)),
                    Outcome::Impossible => {}
                    Outcome::Doubt(_) => doubt = true,
                }
            }
        }
        for other in Other::default().told_apart(&rules.field_patterns()) {
            while missing(object) {
                match self.other(rules, known, &other, object) {
                    Ok((name, value)) => drop(object.insert(name, value)),
                    Err(Outcome::Doubt(_)) => {
                        doubt = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        match (missing(object), doubt) {
            (false, _) => None,
            (true, true) => Some(self.doubt("minProperties")),
            (true, false) => Some(Outcome::Impossible),
        }
    }
}

impl<'s> Other<'s> {
    fn matching(patterns: impl IntoIterator<Item = &'s str>) -> Self {
        Self { matches: patterns.into_iter().collect(), ..Self::default() }
    }

    fn avoiding(patterns: impl IntoIterator<Item = &'s str>) -> Self {
        Self { avoids: patterns.into_iter().collect(), ..Self::default() }
    }

    /// All that it may be with regard to each of these patterns; names that agree in that are alike.
    fn told_apart(self, patterns: &BTreeSet<&'s str>) -> Vec<Self> {
        // Where there are more patterns the rest stays open, and what depends on it is doubt.
        const TOLD_APART_MAX: usize = 4;
        let mut all = vec![self];
        for pattern in patterns.iter().take(TOLD_APART_MAX) {
            let both = |it: Self| {
                let (mut one, mut other) = (it.clone(), it);
                one.matches.insert(pattern);
                other.avoids.insert(pattern);
                [one, other]
            };
            all = all.into_iter().flat_map(both).filter(|it| it.matches.is_disjoint(&it.avoids)).collect();
        }
        all
    }
}

impl<'s> Places<'s> {
    /// The rule is broken at one of the other fields that are there, or at one more, whose name is like `name`.
    fn at_others(&self, node: &Node<'s>, name: &Other<'s>, patterns: &BTreeSet<&'s str>) -> Vec<Self> {
        let at = |index: usize| {
            let mut other = self.others.get(index).cloned().unwrap_or_default();
            other.matches.extend(&name.matches);
            other.avoids.extend(&name.avoids);
            other.misfits.push(node.clone());
            other.told_apart(patterns).into_iter().filter(|it| it.matches.is_disjoint(&it.avoids)).map(move |other| {
                let mut places = self.clone();
                places.others.truncate(index);
                places.others.push(other);
                places.others.extend(self.others.iter().skip(index + 1).cloned());
                places
            })
        };
        (0..=self.others.len()).flat_map(at).collect()
    }
}

impl<'s> Rules<'s> {
    fn field_patterns(&self) -> BTreeSet<&'s str> {
        let all = self.fields.iter().chain(&self.broken_fields);
        all.flat_map(|it| &it.patterns).map(|(pattern, _)| *pattern).collect()
    }
}

/// Names that occur nowhere: examples of the patterns, then others.
fn names(patterns: &BTreeSet<&str>, known: &BTreeSet<&str>, object: &Map<String, Value>) -> Vec<String> {
    let examples: Vec<String> = patterns.iter().flat_map(|pattern| examples(pattern, 0)).collect();
    let numbered = (2..=FIELDS_MAX + 1).flat_map(|n| {
        let stems = examples.first().map(String::as_str).into_iter().chain(["other"]);
        stems.map(move |stem| format!("{stem}{n}")).collect::<Vec<_>>()
    });
    let names = examples.iter().cloned().chain(["other".to_owned()]).chain(numbered);
    names.filter(|name| !known.contains(name.as_str()) && !object.contains_key(name)).collect()
}
