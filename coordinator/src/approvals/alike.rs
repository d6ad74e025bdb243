//! Questions that are alike: those of one step of a workflow whose arguments a rule accepts, and which of them are left for people
//! to look at one by one.

use std::collections::BTreeSet;

use kapelle_expression::{Expression, Root, Scope};
use kapelle_types::{Payload, RunId, Sha256, StepId, Timestamp};

/// What a rule is asked about.
pub(crate) struct Asked<'a> {
    pub(crate) run: RunId,
    pub(crate) submitted_at: Timestamp,
    /// What the step would be given; a rule knows it as `input`.
    pub(crate) arguments: &'a Payload,
}

/// A rule over what steps would be given.
pub(crate) struct Rule(Option<Expression>);

impl Rule {
    /// Reads a rule such as `input.amount < 100`; an empty one accepts everything.
    ///
    /// # Errors
    /// In words: it is no expression, or asks for what a question does not have.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let expression = Expression::compile(text).map_err(|e| e.to_string())?;
        let known = |root: &Root| matches!(root, Root::Input | Root::RunId | Root::RunStartedAt);
        match expression.references().iter().find(|it| !known(&it.root)) {
            Some(other) => {
                Err(format!("a rule knows `input`, which is what the step would be given, and no `{}`", other.root))
            }
            None => Ok(Self(Some(expression))),
        }
    }

    /// Whether it accepts this. What it cannot be asked about, for want of a field or of its type, it does not accept.
    pub(crate) fn accepts(&self, asked: &Asked<'_>) -> bool {
        self.0.as_ref().is_none_or(|rule| rule.evaluate_bool(asked).unwrap_or(false))
    }
}

/// Which of these are left for people: as many as asked for, spread over all by their digests, so that nobody chooses them and
/// the same ones are left whoever asks.
pub(crate) fn sample(digests: &[Sha256], count: usize) -> BTreeSet<Sha256> {
    let mut order: Vec<(Sha256, Sha256)> = digests.iter().map(|it| (Sha256::of(&it.0), *it)).collect();
    order.sort_unstable();
    order.into_iter().take(count).map(|(_, digest)| digest).collect()
}

impl Scope for Asked<'_> {
    fn input(&self) -> Payload {
        self.arguments.clone()
    }

    fn output(&self, _: &StepId) -> Option<Payload> {
        None
    }

    fn outputs(&self, _: &StepId) -> Option<Payload> {
        None
    }

    fn status(&self, _: &StepId) -> Option<&'static str> {
        None
    }

    fn item(&self) -> Option<Payload> {
        None
    }

    fn index(&self) -> Option<u32> {
        None
    }

    fn given(&self) -> Option<Payload> {
        None
    }

    fn last(&self) -> Option<Payload> {
        None
    }

    fn round(&self) -> Option<u32> {
        None
    }

    fn error(&self) -> Option<(&str, &str)> {
        None
    }

    fn run_id(&self) -> String {
        self.run.to_string()
    }

    fn started_at(&self) -> Timestamp {
        self.submitted_at
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn accepts(rule: &str, arguments: Value) -> bool {
        let run = RunId::keyed("default", &"w".parse().unwrap(), "1");
        let asked = Asked { run, submitted_at: Timestamp::default(), arguments: &arguments.into() };
        Rule::read(rule).unwrap().accepts(&asked)
    }

    #[test]
    fn a_rule_accepts_what_it_says_and_nothing_that_it_cannot_tell() {
        assert!(accepts("input.amount < 100", json!({ "amount": 5 })) && accepts(" ", json!(null)));
        assert!(!accepts("input.amount < 100", json!({ "amount": 500 })));
        assert!(!accepts("input.amount < 100", json!({})) && !accepts("input.amount", json!({ "amount": 5 })));
        assert!(Rule::read("steps.a.output").is_err() && Rule::read("input.").is_err() && Rule::read("item").is_err());
    }

    #[test]
    fn a_sample_is_the_same_whoever_draws_it_and_as_large_as_it_can_be() {
        let digests: Vec<Sha256> = (0..10u8).map(|n| Sha256::of(&[n])).collect();
        let drawn = sample(&digests, 3);
        let mut turned = digests.clone();
        turned.reverse();
        assert_eq!((drawn.len(), &drawn), (3, &sample(&turned, 3)));
        assert_eq!((sample(&digests, 20).len(), sample(&digests, 0).len()), (10, 0));
    }
}
