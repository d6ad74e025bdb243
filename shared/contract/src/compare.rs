//! Two contracts beside each other: does one take everything that the other lets through?
//!
//! `plan`, `diff` and the registry ask. The answer is certain in both directions or it is none: compatible means that no
//! payload tells the difference, breaking comes with a payload that compiled schemas disagree about, and whatever a limit
//! or a rule that is not taken apart leaves open is told as such.

mod docs;
mod formula;
mod list;
mod number;
mod object;
mod rules;
mod solve;
mod text;

use std::fmt;

use serde_json::Value;

use crate::{Checker, Contract, Rule};
use docs::{Demand, Docs};
use solve::{Outcome, Solver};

/// Whether everything that the giver lets through is taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is.
    Compatible,
    /// It is not: these payloads show it.
    Breaking(Vec<Difference>),
    /// Nobody knows: these rules were not decided.
    Undecided(Vec<Difference>),
}

/// One way in which a giver does not fit its taker.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The part of the payload, as a JSON pointer.
    pub pointer: String,
    /// The taker's rule that breaks, or the rule that was not decided.
    pub rule: Rule,
    /// What that means, as a sentence without its first capital.
    pub message: String,
    /// A payload that the giver lets through and the taker refuses; made up, so there is nothing to hide in it.
    pub witness: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str("at the top")?,
            pointer => write!(f, "at {pointer}")?,
        }
        write!(f, ": {} (rule {})", self.message, self.rule)?;
        self.witness.as_ref().map_or(Ok(()), |witness| write!(f, ", for example {witness}"))
    }
}

/// Whether every payload that keeps the giver's contract keeps the taker's.
#[must_use]
pub fn compatible(giver: &Contract, taker: &Contract) -> Verdict {
    let (Ok(gives), Ok(takes)) = (giver.compile(), taker.compile()) else {
        return undecided("", "$schema", "one of the schemas is not valid");
    };
    let docs = Docs::new(giver.schema(), taker.schema());
    let mut solver = Solver::new(&docs);
    solver.witnesses = Some(vec![]);
    let outcome = solver.solve([Demand::new(docs.root(0), true), Demand::new(docs.root(1), false)]);
    let witnesses = solver.witnesses.unwrap_or_default();
    let mut differences: Vec<Difference> = Vec::new();
    for witness in witnesses.iter().filter(|it| gives.accepts(it)) {
        for difference in refused(&takes, witness) {
            if !differences.iter().any(|it| (&it.pointer, &it.rule) == (&difference.pointer, &difference.rule)) {
                differences.push(difference);
            }
        }
    }
    match outcome {
        _ if !differences.is_empty() => Verdict::Breaking(differences),
        Outcome::Impossible if witnesses.is_empty() => Verdict::Compatible,
        Outcome::Doubt(doubt) => {
            undecided(&doubt.pointer, doubt.keyword, "whether this rule lets less through was not decided")
        }
        Outcome::Impossible | Outcome::Found(_) => undecided("", "$schema", "what was found could not be confirmed"),
    }
}

/// Whether it is certain that no payload keeps both contracts.
#[must_use]
pub fn disjoint(giver: &Contract, taker: &Contract) -> bool {
    if giver.compile().is_err() || taker.compile().is_err() {
        return false;
    }
    let docs = Docs::new(giver.schema(), taker.schema());
    let both = [Demand::new(docs.root(0), true), Demand::new(docs.root(1), true)];
    matches!(Solver::new(&docs).solve(both), Outcome::Impossible)
}

/// Why a taker refuses a witness.
fn refused<'w>(takes: &Checker, witness: &'w Value) -> impl Iterator<Item = Difference> + use<'w> {
    takes.violations(witness).into_iter().map(|it| Difference {
        pointer: it.pointer,
        rule: it.rule,
        message: it.message,
        witness: Some(witness.clone()),
    })
}

fn undecided(pointer: &str, keyword: &str, message: &str) -> Verdict {
    let rule = Rule { keyword: keyword.to_owned(), pointer: String::new() };
    Verdict::Undecided(vec![Difference {
        pointer: pointer.to_owned(),
        rule,
        message: message.to_owned(),
        witness: None,
    }])
}
