//! A set of policies and the decisions that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cedar_policy::{Authorizer, PolicySet, Response, ValidationMode, Validator};
use kapelle_types::Caller;
use kapelle_types::limits::POLICIES_MAX;

use crate::memo::Memo;
use crate::problem::{Invalid, Problem, Source};
use crate::rule::{self, Effect, Mode, Rule};
use crate::vocabulary::{Question, SCHEMA, Vocabulary};
use crate::{Action, DEFAULT_DENY, Decision, Resource, UNDECIDABLE, UNKNOWN_ACTION, Verdict};

/// The policies that every installation has unless it brings its own.
const EMBEDDED: [(&str, &str); 3] = [
    ("boundaries.cedar", include_str!("../policies/boundaries.cedar")),
    ("people.cedar", include_str!("../policies/people.cedar")),
    ("parts.cedar", include_str!("../policies/parts.cedar")),
];

/// Policies that are valid: each has a name, a mode and a reason, and all speak the schema's words.
#[derive(Debug)]
pub struct Policies {
    vocabulary: Vocabulary,
    rules: BTreeMap<String, Rule>,
    enforced: PolicySet,
    /// Apart, because Cedar names no permit where a forbid matched.
    logged_permits: PolicySet,
    logged_forbids: PolicySet,
    authorizer: Authorizer,
    memo: Memo,
}

impl Policies {
    /// The policies that come with Kapelle.
    ///
    /// # Errors
    /// Never in a release: a test reads them. An error is handed on all the same, because nothing may be allowed without them.
    pub fn embedded() -> Result<Self, Invalid> {
        Self::load(&EMBEDDED)
    }

    /// The files of those policies, as name and text.
    #[must_use]
    pub const fn embedded_files() -> &'static [(&'static str, &'static str)] {
        &EMBEDDED
    }

    /// Policies from files, given as name and text.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Result<Self, Invalid> {
        let vocabulary = Vocabulary::new().map_err(|error| {
            let schema = Source::new("kapelle.cedarschema", SCHEMA);
            Invalid(vec![schema.problem(0..0, error.to_string(), "")])
        })?;
        let mut policies = Self {
            vocabulary,
            rules: BTreeMap::new(),
            enforced: PolicySet::new(),
            logged_permits: PolicySet::new(),
            logged_forbids: PolicySet::new(),
            authorizer: Authorizer::new(),
            memo: Memo::default(),
        };
        let mut problems = Vec::new();
        for (name, text) in files {
            policies.add(&Source::new(name.as_ref(), text.as_ref()), text.as_ref(), &mut problems);
        }
        if problems.is_empty() { Ok(policies) } else { Err(Invalid(problems)) }
    }

    /// Adds the policies of one file, with what is wrong with any of them.
    fn add(&mut self, source: &Source, text: &str, problems: &mut Vec<Problem>) {
        let validator = Validator::new(self.vocabulary.schema.clone());
        for (policy, rule) in rule::read(source, text, problems) {
            let mut refuse = |message: String, hint| {
                let at = text.find(&rule.text).unwrap_or(0);
                problems.push(source.problem(at..at, message, hint));
            };
            if let Some(other) = self.rules.get(&rule.id) {
                refuse(format!("there is another policy `{}`, in {}", rule.id, other.file), "a name is used once");
                continue;
            }
            if self.rules.len() == POLICIES_MAX {
                refuse(format!("there are more than {POLICIES_MAX} policies"), "put into one what has one reason");
                return;
            }
            let mut alone = PolicySet::new();
            let set = match (rule.mode, rule.effect) {
                (Mode::Enforce, _) => &mut self.enforced,
                (Mode::LogOnly, Effect::Permit) => &mut self.logged_permits,
                (Mode::LogOnly, Effect::Forbid) => &mut self.logged_forbids,
            };
            for added in [alone.add(policy.clone()), set.add(policy)] {
                added.unwrap_or_else(|error| refuse(error.to_string(), ""));
            }
            let found = validator.validate(&alone, ValidationMode::Strict);
            if found.validation_passed() {
                problems.extend(found.validation_warnings().map(|warning| source.cedar(warning)));
            } else {
                problems.extend(found.validation_errors().map(|error| source.cedar(error)));
            }
            self.rules.insert(rule.id.clone(), rule);
        }
    }

    /// Every policy, by name.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values()
    }

    /// The policy of this name.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.get(id)
    }

    /// Every action that the schema knows, with its groups.
    #[must_use]
    pub const fn actions(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.vocabulary.groups
    }

    /// Whether `caller` may do `action` to `resource`. Whatever is unknown or cannot be evaluated is denied.
    #[must_use]
    pub fn decide(&self, caller: &Caller, action: &Action, resource: &Resource) -> Arc<Decision> {
        self.memo.get_or(caller, action, resource, || self.evaluate(caller, action, resource))
    }

    fn evaluate(&self, caller: &Caller, action: &Action, resource: &Resource) -> Decision {
        if !self.vocabulary.groups.contains_key(action.as_str()) {
            return Decision::deny(UNKNOWN_ACTION, format!("Policies know no action `{action}`."));
        }
        match self.vocabulary.question(caller, action, resource) {
            Ok(question) => self.judge(caller, action, &question),
            Err(error) => {
                let why = "The question cannot be put to the policies, so it is denied.";
                Decision { errors: vec![error.to_string()], ..Decision::deny(UNDECIDABLE, why) }
            }
        }
    }

    fn judge(&self, caller: &Caller, action: &Action, question: &Question) -> Decision {
        let ask = |set: &PolicySet| self.authorizer.is_authorized(&question.request, set, &question.entities);
        let enforced = ask(&self.enforced);
        let mut decision = self.enforced(caller, action, &enforced);
        // A permit turns only what nothing decided; a forbid turns only what is allowed.
        let turning = match (decision.verdict, decision.policy.as_str()) {
            (Verdict::Allow, _) => Some(&self.logged_forbids),
            (Verdict::Deny, DEFAULT_DENY) => Some(&self.logged_permits),
            (Verdict::Deny, _) => None,
        };
        if let Some(set) = turning.filter(|set| !set.is_empty()) {
            let logged = ask(set);
            decision.log_only = names(&logged);
            decision.errors.extend(errors(&logged));
        }
        decision
    }

    /// The verdict of the policies that count. Cedar leaves out a policy that it cannot evaluate; a forbid that is left out
    /// would let through what it is there to stop, so an error denies.
    fn enforced(&self, caller: &Caller, action: &Action, response: &Response) -> Decision {
        let errors: Vec<String> = errors(response).collect();
        if !errors.is_empty() {
            let why = "A policy could not be evaluated, so it is denied.";
            return Decision { errors, ..Decision::deny(UNDECIDABLE, why) };
        }
        let Some(rule) = names(response).first().and_then(|name| self.rules.get(name)) else {
            let roles: Vec<_> = caller.roles.iter().map(|role| role.as_str()).collect();
            let roles = if roles.is_empty() { "a caller without a role".to_owned() } else { roles.join(", ") };
            return Decision::deny(DEFAULT_DENY, format!("No policy permits `{action}` to {roles}."));
        };
        let verdict = match response.decision() {
            cedar_policy::Decision::Allow => Verdict::Allow,
            cedar_policy::Decision::Deny => Verdict::Deny,
        };
        Decision { verdict, policy: rule.id.clone(), why: rule.why.clone(), log_only: Vec::new(), errors }
    }
}

/// The policies that a response rests on, in the order of their names.
fn names(response: &Response) -> Vec<String> {
    let mut names: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

fn errors(response: &Response) -> impl Iterator<Item = String> + '_ {
    response.diagnostics().errors().map(ToString::to_string)
}
