//! Looks for a value that fits some schemas and does not fit others, or shows that there is none.
//!
//! ```text
//!   demands ──expand──▶ formula ──search: one way through its choices──▶ rules ──▶ a value of each kind, tried out
//!                                                                          └ items and fields: demands of their own
//! ```
//!
//! A value counts only if compiled schemas agree with it. That there is none is said only if every way was gone to its end
//! and led into a contradiction. Everything else is doubt, with the rule that it comes from.

use std::borrow::Cow;

use serde_json::Value;

use super::docs::{Demand, Docs, Key, Node};
use super::formula::{ARRAY, BOOLEAN, FRACTION, Formula, INTEGER, NULL, OBJECT, Rule, STRING, Types, equal_to, expand};
use super::number::{Numbers, numbers};
use super::rules::Rules;
use super::text::{Texts, texts};

/// Formulas and values that one comparison looks at: some 100 ms. Of 20,000 random pairs one needs more than 20,000 of them.
const STEPS_MAX: u32 = 50_000;
/// Steps that are left, once a difference is found, to find others.
const STEPS_MORE_MAX: u32 = 5_000;
/// Values inside each other: payloads are nested 64 deep at most, contracts a fraction of that.
const DEPTH_MAX: usize = 24;
/// Choices inside each other, for one value: what fits a thread's stack many times over.
const CHOICES_MAX: usize = 128;
/// Witnesses of one comparison; more would not help.
const WITNESSES_MAX: usize = 10;

/// What came of looking.
#[derive(Debug)]
pub(super) enum Outcome {
    /// This value does it.
    Found(Value),
    /// No value does.
    Impossible,
    /// Not known, and why.
    Doubt(Doubt),
}

/// Where and at which rule it could not be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) pointer: String,
    pub(super) keyword: &'static str,
}

pub(super) struct Solver<'d, 's> {
    pub(super) docs: &'d Docs<'s>,
    steps: u32,
    /// What the values around this one are asked for, outermost first.
    around: Vec<Vec<Key>>,
    /// Where in the payload this value stands.
    path: Vec<String>,
    /// The values found for the payload itself, once there was a wish for more than one.
    pub(super) witnesses: Option<Vec<Value>>,
}

/// What one value is asked for.
pub(super) struct Goal<'s> {
    demands: Vec<Demand<'s>>,
}

impl<'d, 's> Solver<'d, 's> {
    pub(super) const fn new(docs: &'d Docs<'s>) -> Self {
        Self { docs, steps: STEPS_MAX, around: vec![], path: vec![], witnesses: None }
    }

    /// A value that fulfils all demands.
    pub(super) fn solve(&mut self, demands: impl IntoIterator<Item = Demand<'s>>) -> Outcome {
        let mut goal = Goal { demands: vec![] };
        for demand in demands {
            let demand = Demand::new(self.docs.follow(demand.node), demand.holds);
            match (&demand.node, demand.holds) {
                (Node::Any, true) | (Node::Never, false) => {}
                (Node::Any, false) | (Node::Never, true) => return Outcome::Impossible,
                _ if goal.demands.contains(&demand) => {}
                _ => goal.demands.push(demand),
            }
        }
        if self.opposed(&goal) {
            return Outcome::Impossible;
        }
        if self.around.len() >= DEPTH_MAX {
            return self.doubt("$ref");
        }
        let mut key: Vec<_> = goal.demands.iter().map(Demand::key).collect();
        key.sort();
        // The smallest value that does it has none inside that does the same, so there is another way or none.
        if self.around.contains(&key) {
            return Outcome::Impossible;
        }
        self.around.push(key);
        let pending = goal.demands.iter().cloned().map(Formula::Demand).collect();
        let outcome = self.search(&goal, pending, vec![], Rules::none(), 0);
        self.around.pop();
        outcome
    }

    /// The same for a part of the value.
    pub(super) fn solve_part(&mut self, name: &str, demands: impl IntoIterator<Item = Demand<'s>>) -> Outcome {
        self.path.push(name.to_owned());
        let outcome = self.solve(demands);
        self.path.pop();
        outcome
    }

    /// Something is asked for and, in the same words, its opposite.
    fn opposed(&self, goal: &Goal<'s>) -> bool {
        let schemas = |holds: bool| {
            goal.demands.iter().filter(move |it| it.holds == holds).filter_map(|it| match &it.node {
                Node::Schema(part) => Some(part.schema),
                Node::Equal(_) | Node::Any | Node::Never => None,
            })
        };
        schemas(true).any(|a| schemas(false).any(|b| self.docs.same(a, b)))
    }

    pub(super) fn doubt(&self, keyword: &'static str) -> Outcome {
        let pointer = self.path.iter().fold(crate::Pointer::root(), |at, name| at.field(name));
        Outcome::Doubt(Doubt { pointer: pointer.to_string(), keyword })
    }

    /// Goes every way through the choices until one leads to a value.
    fn search(
        &mut self,
        goal: &Goal<'s>,
        mut pending: Vec<Formula<'s>>,
        mut choices: Vec<Vec<Formula<'s>>>,
        mut rules: Rules<'s>,
        depth: usize,
    ) -> Outcome {
        while let Some(formula) = pending.pop() {
            if self.steps == 0 {
                return self.doubt("steps");
            }
            self.steps -= 1;
            match formula {
                Formula::All(parts) => pending.extend(parts),
                Formula::Any(options) => choices.push(options),
                Formula::One(of, holds) => pending.push(Formula::one(&of, holds)),
                Formula::Demand(Demand { node, holds }) => {
                    let formula = expand(self.docs, &node);
                    pending.push(if holds { formula } else { formula.not() });
                }
                Formula::Rule(Rule::In(values), false) => {
                    for value in values {
                        match equal_to(&value) {
                            Some(formula) => pending.push(formula.not()),
                            None => rules.break_it(Rule::In(vec![value]), self.docs),
                        }
                    }
                }
                Formula::Rule(rule, true) => rules.keep(rule, self.docs),
                Formula::Rule(rule, false) => rules.break_it(rule, self.docs),
            }
            if rules.contradict() {
                return Outcome::Impossible;
            }
        }
        // The choice with the fewest options first: it is decided soonest.
        let Some(least) = (0..choices.len()).min_by_key(|n| choices[*n].len()) else { return self.value(goal, &rules) };
        if depth >= CHOICES_MAX {
            return self.doubt("anyOf");
        }
        let options = choices.swap_remove(least);
        self.first(options, |solver, option| {
            solver.search(goal, vec![option], choices.clone(), rules.clone(), depth + 1)
        })
    }

    /// The first of several ways that leads to a value; impossible if all are.
    pub(super) fn first<T>(
        &mut self,
        ways: impl IntoIterator<Item = T>,
        mut go: impl FnMut(&mut Self, T) -> Outcome,
    ) -> Outcome {
        let mut end = Outcome::Impossible;
        for way in ways {
            match go(self, way) {
                Outcome::Found(value) => return Outcome::Found(value),
                Outcome::Impossible => {}
                doubt @ Outcome::Doubt(_) => end = doubt,
            }
        }
        end
    }

    /// A value that keeps the rules, of whichever kind.
    fn value(&mut self, goal: &Goal<'s>, rules: &Rules<'s>) -> Outcome {
        if let Some(values) = &rules.values {
            return self.try_all(goal, values.iter().map(Cow::as_ref).cloned(), None);
        }
        const KINDS: [Types; 7] = [NULL, BOOLEAN, INTEGER, FRACTION, STRING, ARRAY, OBJECT];
        let kinds = KINDS.into_iter().filter(|kind| rules.types & kind != 0);
        self.first(kinds, |solver, kind| match kind {
            NULL => solver.try_all(goal, [Value::Null], None),
            BOOLEAN => solver.try_all(goal, [false.into(), true.into()], None),
            INTEGER | FRACTION => match numbers(rules, kind == INTEGER) {
                Numbers::None => Outcome::Impossible,
                Numbers::Some(found) => solver.try_all(goal, found, Some(rules.doubt.unwrap_or("multipleOf"))),
                Numbers::Unsure => solver.doubt("multipleOf"),
            },
            STRING => match texts(rules) {
                Texts::None => Outcome::Impossible,
                Texts::Some(found) => {
                    solver.try_all(goal, found.into_iter().map(Value::String), Some(rules.doubt.unwrap_or("pattern")))
                }
                Texts::Unsure(keyword) => solver.doubt(keyword),
            },
            ARRAY => solver.list(goal, rules),
            _ => solver.object(goal, rules),
        })
    }

    /// The first of these values that compiled schemas agree with. If none does and these are all there are (no `doubt`),
    /// there is none.
    pub(super) fn try_all(
        &mut self,
        goal: &Goal<'s>,
        values: impl IntoIterator<Item = Value>,
        doubt: Option<&'static str>,
    ) -> Outcome {
        let mut end = doubt.map_or(Outcome::Impossible, |keyword| self.doubt(keyword));
        for value in values {
            self.steps = self.steps.saturating_sub(1);
            let agrees = |it: &Demand<'s>| self.docs.fits(&it.node, &value).map(|fits| fits == it.holds);
            let agrees: Vec<Option<bool>> = goal.demands.iter().map(agrees).collect();
            match (agrees.contains(&Some(false)), agrees.contains(&None)) {
                (true, _) => {}
                (false, true) => end = self.doubt("$ref"),
                (false, false) => match &mut self.witnesses {
                    // The payload itself: told of, and on to the next difference.
                    Some(witnesses) if self.around.len() == 1 => {
                        witnesses.push(value);
                        let more = if witnesses.len() < WITNESSES_MAX { STEPS_MORE_MAX } else { 0 };
                        self.steps = self.steps.min(more);
                        return Outcome::Impossible;
                    }
                    _ => return Outcome::Found(value),
                },
            }
        }
        end
    }
}
