//! Changing what is served: one's own set, an old one again, and what takes a second person.
//!
//! A change is held against the set that is served, and stored under the next number only if nobody was first. One that
//! weakens becomes a proposal, tied to the digests of what it replaces and of what it brings; another person makes it
//! the served set. All of it is on record before it is done.

use std::sync::Arc;

use kapelle_bus::policies::{File, PolicySets, Proposal, Proposed, Set, digest};
use kapelle_policy::{Action, CHANGES, Invalid, Policies, Resource, breaches, reserved, weakened};
use kapelle_telemetry::clock;
use kapelle_types::{AuditWhat, Caller, Code, Diagnosis, Namespace, Sha256, limits};

use super::{Served, Serving, embedded, ended, load};
use crate::audit::{Fact, Trail};
use crate::identity::{spelled, vouched_person};

/// Characters of a file's name.
const FILE_NAME_CHARS_MAX: usize = 100;

/// Problems that a refusal tells of, and their characters: statuses travel in headers, which are some kilobytes.
const PROBLEMS_TOLD: usize = 3;
const PROBLEMS_CHARS_MAX: usize = 1_000;

/// Where policies are changed.
pub(crate) struct Desk {
    sets: PolicySets,
    serving: Arc<Serving>,
    trail: Arc<Trail>,
    namespace: Namespace,
}

/// A change that somebody wants.
pub(crate) struct Wanted {
    pub(crate) files: Vec<File>,
    pub(crate) why: String,
    /// The version that these files are of, if it was served before.
    pub(crate) again: Option<u64>,
}

/// What became of a change.
pub(crate) enum Outcome {
    Applied(Set),
    /// The same is served already.
    Unchanged(Set),
    Proposed(Set, Box<Proposal>),
}

impl Desk {
    pub(crate) fn new(sets: PolicySets, serving: Arc<Serving>, trail: Arc<Trail>, namespace: Namespace) -> Self {
        Self { sets, serving, trail, namespace }
    }

    /// What is served and what is proposed.
    pub(crate) fn serving(&self) -> &Serving {
        &self.serving
    }

    /// One set.
    ///
    /// # Errors
    /// `REQUEST_INVALID` if there is none of that number, `BROKER_UNAVAILABLE`.
    pub(crate) async fn set(&self, version: u64) -> Result<Set, Diagnosis> {
        if version == 0 {
            return Ok(embedded());
        }
        let unknown = || {
            Diagnosis::new(Code::REQUEST_INVALID, format!("there is no version {version} of the policies"))
                .hint("`kapelle policy history` shows them")
        };
        self.sets.get(version).await.map_err(|e| unavailable(&e))?.ok_or_else(unknown)
    }

    /// Applies a change, or proposes it if it weakens.
    ///
    /// # Errors
    /// `POLICY_INVALID`, `POLICY_LOCK_OUT`, `SECOND_PERSON`, `AUDIT_UNAVAILABLE`, `WRONG_STATE` if somebody else was first.
    pub(crate) async fn apply(&self, caller: &Caller, wanted: Wanted) -> Result<Outcome, Diagnosis> {
        bounded(&wanted)?;
        let served = self.serving.served()?;
        let digest = digest(&wanted.files);
        if digest == served.set.digest {
            return Ok(Outcome::Unchanged(served.set.clone()));
        }
        let policies = checked(wanted.files.clone()).await?;
        self.keeps_the_door_open(caller, &policies)?;
        let mut weakens = weakened(&served.policies, &policies);
        weakens.extend(reserved(&policies, &self.namespace));
        let set = Set {
            version: served.set.version + 1,
            digest,
            files: wanted.files,
            applied_by: caller.principal.clone(),
            person: caller.person.clone(),
            applied_at: clock::now(),
            why: wanted.why,
            again: wanted.again,
            proposal: None,
            approved_by: None,
        };
        if !weakens.is_empty() {
            return self.propose(caller, &served, set, weakens).await;
        }
        self.record(caller, "applied", set.version.to_string(), &set).await?;
        self.store(&set).await?;
        Ok(Outcome::Applied(set))
    }

    /// Says yes to a proposal.
    ///
    /// # Errors
    /// `PROPOSAL_GONE`, `SECOND_PERSON`, `POLICY_LOCK_OUT`, `AUDIT_UNAVAILABLE`, `WRONG_STATE`.
    pub(crate) async fn approve(&self, caller: &Caller, id: &str) -> Result<Set, Diagnosis> {
        let gone = |why: &str| {
            Diagnosis::new(Code::PROPOSAL_GONE, format!("proposal {id} cannot be approved: {why}"))
                .hint("`kapelle policy proposals` shows what is open; propose it again")
        };
        let there = self.sets.proposal(id).await.map_err(|e| unavailable(&e))?;
        let proposal = there.ok_or_else(|| gone("there is no such open proposal"))?;
        let served = self.serving.served()?;
        match ended(&proposal, &served.set, clock::now()) {
            Some("expired") => return Err(gone("it expired")),
            Some(_) => return Err(gone("other policies are served by now than the ones that it was to replace")),
            None => {}
        }
        let second = self.person(caller, "approve this")?;
        if proposal.set.person.as_deref().is_none_or(|first| is_same_person(first, second)) {
            let message = format!("proposal {id} was made by {second}; it takes another person to approve it");
            return Err(self.refused(caller, id, Diagnosis::new(Code::SECOND_PERSON, message)));
        }
        if digest(&proposal.set.files) != proposal.set.digest {
            return Err(gone("its files are not what its digest says"));
        }
        let policies = checked(proposal.set.files.clone()).await?;
        self.keeps_the_door_open(caller, &policies)?;
        let set = Set {
            applied_at: clock::now(),
            proposal: Some(proposal.id.clone()),
            approved_by: Some(caller.principal.clone()),
            ..proposal.set
        };
        self.record(caller, "approved", proposal.id.clone(), &set).await?;
        self.record(caller, "applied", set.version.to_string(), &set).await?;
        self.store(&set).await?;
        // Who is told that it is served finds it among the open ones no more; if not now, the sweep removes it.
        if let Err(error) = self.sets.remove_proposal(&proposal.id).await {
            tracing::debug!(id, %error, "an approved proposal stays for now");
        }
        Ok(set)
    }

    async fn propose(
        &self,
        caller: &Caller,
        served: &Served,
        set: Set,
        weakens: Vec<String>,
    ) -> Result<Outcome, Diagnosis> {
        self.person(caller, &format!("propose what weakens policies ({})", weakens.join("; ")))?;
        let id = proposal_id(&served.set, set.digest);
        let full = || {
            let message = format!("{} proposals are open, as many as may be", limits::PROPOSALS_MAX);
            Diagnosis::new(Code::REQUEST_INVALID, message).hint("approve some, or wait until they expire")
        };
        // Counted again when it is written; this spares the trail what would come to nothing.
        if self.serving.proposals().len() >= limits::PROPOSALS_MAX {
            return Err(full());
        }
        let proposal = Proposal {
            id: id.clone(),
            replaces: served.set.version,
            replaces_digest: served.set.digest,
            weakens,
            expires_at: set.applied_at.plus(limits::PROPOSAL_LIFE),
            set,
        };
        self.record(caller, "proposed", id, &proposal.set).await?;
        let proposed = self.sets.propose(&proposal).await.map_err(|e| unavailable(&e))?;
        self.serving.look_again();
        match proposed {
            Proposed::New => Ok(Outcome::Proposed(served.set.clone(), Box::new(proposal))),
            // Whoever proposes the same again changes nothing about who was first.
            Proposed::There(first) => Ok(Outcome::Proposed(served.set.clone(), first)),
            Proposed::Full => Err(full()),
        }
    }

    /// The person behind the caller, whom an issuer vouches for.
    fn person<'c>(&self, caller: &'c Caller, what: &str) -> Result<&'c str, Diagnosis> {
        vouched_person(caller).ok_or_else(|| {
            let message = format!("{} is no person whom an issuer vouches for, so it cannot {what}", caller.principal);
            let diagnosis = Diagnosis::new(Code::SECOND_PERSON, message).hint(
                "two persons with JWTs of an issuer do it; `kapelle dev` and API tokens have no persons that anybody vouches for",
            );
            self.refused(caller, "", diagnosis)
        })
    }

    fn refused(&self, caller: &Caller, id: &str, diagnosis: Diagnosis) -> Diagnosis {
        self.trail.denied(Fact {
            component: "policies",
            verb: "denied",
            who: caller.into(),
            what: AuditWhat { kind: "proposal".into(), name: id.to_owned(), ..AuditWhat::default() },
            policy: String::new(),
            code: Some(diagnosis.code),
            reason: diagnosis.message.clone(),
        });
        diagnosis
    }

    /// Nobody shuts the door behind themselves by mistake.
    fn keeps_the_door_open(&self, caller: &Caller, policies: &Policies) -> Result<(), Diagnosis> {
        let resource = Resource::of(self.namespace.clone());
        for action in CHANGES {
            let decision = policies.decide(caller, &Action::named(action), &resource);
            if !decision.allowed() {
                let message = format!(
                    "under these policies {} could not call {action} any more: {} (policy `{}`)",
                    caller.principal, decision.why, decision.policy
                );
                let hint = "let somebody apply them who keeps that right";
                return Err(Diagnosis::new(Code::POLICY_LOCK_OUT, message).hint(hint));
            }
        }
        Ok(())
    }

    async fn record(&self, caller: &Caller, verb: &'static str, name: String, set: &Set) -> Result<(), Diagnosis> {
        let kind = if verb == "applied" { "policies" } else { "proposal" };
        self.trail
            .act(Fact {
                component: "policies",
                verb,
                who: caller.into(),
                what: AuditWhat { kind: kind.into(), name, ..AuditWhat::default() },
                policy: String::new(),
                code: None,
                reason: format!("version {}, digest {}: {}", set.version, set.digest, set.why),
            })
            .await
    }

    async fn store(&self, set: &Set) -> Result<(), Diagnosis> {
        let unknown = |e: kapelle_bus::Error| {
            let message = format!("version {} of the policies is not known to be stored: {e}", set.version);
            Diagnosis::new(Code::NOT_RECORDED, message).hint("`kapelle policy history` shows what is served")
        };
        if !self.sets.add(set).await.map_err(unknown)? {
            let message = format!("somebody else made version {} of the policies meanwhile", set.version);
            return Err(Diagnosis::new(Code::WRONG_STATE, message).hint("look at it, then apply again"));
        }
        self.serving.has(set.version).await;
        Ok(())
    }
}

/// Policies that are valid and keep the bounds that hold for every set.
async fn checked(files: Vec<File>) -> Result<Policies, Diagnosis> {
    let check = move || {
        let policies = load(&files).map_err(|invalid| shortened(&invalid))?;
        let broken = breaches(&policies);
        if broken.is_empty() {
            return Ok(policies);
        }
        let some = broken.iter().take(PROBLEMS_TOLD).cloned().collect::<Vec<_>>().join("; ");
        let message =
            format!("these policies break a bound that holds for every set, in {} ways: {some}", broken.len());
        Err(Diagnosis::new(Code::POLICY_INVALID, message).hint("`kapelle policy check -f DIR` shows every breach"))
    };
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|e| Diagnosis::new(Code::POLICY_INVALID, format!("the check broke off: {e}")))?
}

/// The first problems, since a status has little room; whoever wrote the files finds the others with `validate`.
fn shortened(invalid: &Invalid) -> Diagnosis {
    let some = Invalid(invalid.0.iter().take(PROBLEMS_TOLD).cloned().collect());
    let Diagnosis { message, hint, .. } = some.into();
    let message = message.chars().take(PROBLEMS_CHARS_MAX).collect::<String>();
    Diagnosis::new(Code::POLICY_INVALID, format!("{} problems: {message}", invalid.0.len())).hint(hint)
}

fn bounded(wanted: &Wanted) -> Result<(), Diagnosis> {
    let Wanted { files, why, .. } = wanted;
    let invalid = |message: String| Err(Diagnosis::new(Code::REQUEST_INVALID, message));
    if files.is_empty() || files.len() > limits::POLICY_FILES_MAX {
        return invalid(format!("a set has 1 to {} files", limits::POLICY_FILES_MAX));
    }
    let is_name =
        |name: &str| (1..=FILE_NAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains(char::is_control);
    if let Some(file) = files.iter().find(|file| !is_name(&file.name)) {
        return invalid(format!("`{}` is no name of a file", file.name.escape_default()));
    }
    // As it is stored: JSON doubles quotes and line ends.
    let bytes = serde_json::to_vec(files).map_or(usize::MAX, |bytes| bytes.len());
    if bytes > limits::POLICY_SET_BYTES_MAX {
        return invalid(format!("a set has {} bytes at most, this one {bytes}", limits::POLICY_SET_BYTES_MAX));
    }
    if why.chars().count() > limits::REASON_CHARS_MAX {
        return invalid(format!("a reason has {} characters at most", limits::REASON_CHARS_MAX));
    }
    Ok(())
}

/// Two spellings of one address are one person.
fn is_same_person(one: &str, other: &str) -> bool {
    spelled(one) == spelled(other)
}

/// The same change of the same set is the same proposal.
fn proposal_id(replaces: &Set, brings: Sha256) -> String {
    let about = format!("{}/{}/{brings}", replaces.version, replaces.digest);
    Sha256::of(about.as_bytes()).to_string().chars().take(16).collect()
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("the policies at the broker: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_one_in_every_spelling() {
        assert!(is_same_person("Ada@Example.com", " ada@example.com"));
        assert!(!is_same_person("ada@example.com", "bob@example.com"));
    }

    #[test]
    fn a_proposal_is_named_by_what_it_replaces_and_brings() {
        let (one, other) = (Sha256::of(b"1"), Sha256::of(b"2"));
        let later = Set { version: 1, ..embedded() };
        assert_eq!(proposal_id(&embedded(), one), proposal_id(&embedded(), one));
        assert_ne!(proposal_id(&embedded(), one), proposal_id(&embedded(), other));
        assert_ne!(proposal_id(&embedded(), one), proposal_id(&later, one));
    }

    #[test]
    fn what_is_too_large_or_has_no_name_is_refused() {
        let file = |name: &str, bytes| File { name: name.into(), text: "x".repeat(bytes) };
        let wanted = |files| Wanted { files, why: String::new(), again: None };
        assert!(bounded(&wanted(vec![file("a.cedar", 10)])).is_ok());
        let files = vec![file("a.cedar", 1); limits::POLICY_FILES_MAX + 1];
        for bad in [
            vec![],
            files,
            vec![file("", 1)],
            vec![file("a\u{1b}[2J", 1)],
            vec![file("a", limits::POLICY_SET_BYTES_MAX)],
        ] {
            assert_eq!(bounded(&wanted(bad)).unwrap_err().code, Code::REQUEST_INVALID);
        }
        let long = Wanted { why: "x".repeat(limits::REASON_CHARS_MAX + 1), ..wanted(vec![file("a", 1)]) };
        assert!(bounded(&long).is_err());
    }

    #[tokio::test]
    async fn a_set_that_lets_strangers_in_is_no_set() {
        let text = r#"@id("open") @mode("enforce") @why("open") permit (principal, action, resource);"#;
        let refused = checked(vec![File { name: "open.cedar".into(), text: text.into() }]).await.unwrap_err();
        assert_eq!(refused.code, Code::POLICY_INVALID);
        assert!(refused.message.contains("another namespace"), "{refused}");
    }
}
