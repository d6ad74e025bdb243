//! Task tokens: what a report has to show, so that a worker can speak only for the tasks that it was given.
//!
//! ```text
//!   signing key (control plane only) ──run id──▶ run key ──step, attempt──▶ token ──task──▶ worker ──report──▶ checked here
//! ```
//!
//! Each arrow is an HMAC-SHA-256 (RFC 2104, FIPS 198-1). A token says nothing about time: it is good for one attempt, and an
//! attempt that is decided takes no further report.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use kapelle_types::{AgentVersion, RunId, TaskId};
use sha2::Sha256;

use crate::apply::authentic;
use crate::state::Run;

/// Bytes of a token: nobody guesses 128 bits, and every report carries them.
const TOKEN_BYTES: usize = 16;

/// Which signing key a run's tokens derive from. Keys are numbered from 1 and never change.
pub type KeyId = u32;

/// A key of the control plane. Workers never see one.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

/// What all tokens of one run derive from.
#[derive(Clone, PartialEq, Eq)]
pub struct RunKey([u8; 32]);

/// What a report shows to speak for one attempt of one step or member.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TaskToken([u8; TOKEN_BYTES]);

impl SigningKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of one run.
    #[must_use]
    pub fn of_run(&self, run: RunId) -> RunKey {
        RunKey(mac(&self.0, &[b"kapelle run key", run.as_bytes()]).finalize().into_bytes().into())
    }
}

impl RunKey {
    /// A run's key from its bytes, as a recorded history keeps them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The token of an attempt.
    #[must_use]
    pub fn token(&self, task: &TaskId) -> TaskToken {
        let whole: [u8; 32] = self.mac(task).finalize().into_bytes().into();
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(&whole[..TOKEN_BYTES]);
        TaskToken(token)
    }

    /// Whether this is the token of that attempt. Takes the same time for every wrong one.
    pub(crate) fn accepts(&self, task: &TaskId, token: &TaskToken) -> bool {
        self.mac(task).verify_truncated_left(&token.0).is_ok()
    }

    fn mac(&self, task: &TaskId) -> Hmac<Sha256> {
        // A member's number is shifted by one, so that a whole step is none of them.
        let item = task.step.item.map_or(0, |item| u64::from(item) + 1);
        let (item, attempt) = (item.to_be_bytes(), task.attempt.to_be_bytes());
        mac(&self.0, &[&item, &attempt, task.step.step.as_str().as_bytes()])
    }
}

impl Run {
    /// Whether what a worker of an agent version says of an attempt is heard: that version does the step or may be handed it,
    /// and the token is the attempt's. A run whose reports need no tokens hears every worker of such a version.
    ///
    /// It follows from the plan and the key alone, so it holds however much of the log was read.
    #[must_use]
    pub fn hears(&self, agent: &AgentVersion, task: &TaskId, token: Option<&TaskToken>) -> bool {
        let planned = self.find(&task.step.step).and_then(|step| self.plan.steps.get(step));
        planned.is_some_and(|planned| planned.agents().any(|it| it == agent)) && authentic(self, task, token).is_ok()
    }
}

impl TaskToken {
    /// Reads a token; `None` if it has another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The parts but for the last are of fixed length, so that no two lists of parts are the same bytes.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sha256> {
    // The MAC pads a short key with zeros to its block of 64 bytes; done here, no length can be wrong.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// None of them is ever printed.
macro_rules! masked {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

masked!(SigningKey, RunKey, TaskToken);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::testing::{check, entry, plan, run_id, run_key};
    use crate::{Run, Stamp, apply};

    fn task(text: &str) -> TaskId {
        let (step, attempt) = text.split_once('#').unwrap();
        TaskId { step: step.parse().unwrap(), attempt: attempt.parse().unwrap() }
    }

    /// The vector is test case 2 of RFC 4231, with its key padded to our length as the MAC itself pads it.
    #[test]
    fn the_mac_is_hmac_sha_256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let whole: [u8; 32] = mac(&key, &[b"what do ya want ", b"for nothing?"]).finalize().into_bytes().into();
        assert_eq!(whole[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn a_token_is_good_for_one_attempt_of_one_step_of_one_run_under_one_key() {
        let key = SigningKey::new([7; 32]).of_run(run_id());
        let tasks = ["a#1", "a#2", "a:0#1", "a:1#1", "b#1", "ab#1"].map(task);
        for one in &tasks {
            for other in &tasks {
                assert_eq!(key.accepts(one, &key.token(other)), one == other, "{one} {other}");
            }
        }
        let elsewhere = "0192f3c4-5a6b-7c8d-9e0f-000000000000".parse().unwrap();
        for foreign in [SigningKey::new([8; 32]).of_run(run_id()), SigningKey::new([7; 32]).of_run(elsewhere)] {
            assert!(!foreign.accepts(&tasks[0], &key.token(&tasks[0])));
        }
    }

    #[test]
    fn a_report_counts_only_with_the_token_of_its_task() {
        let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 1}}, {"id": "b"}]});
        let script = r#"
            0 submit
            1 forged ok a 1
            2 bare ok a 1
            3 forged fail a 1
            4 bare lost b 1
            5 ok a 1
            6 forged ok a 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
          dispatch b#1 {}
        > 1 forged ok a 1
          ignored: bad_token
        > 2 bare ok a 1
          ignored: bad_token
        > 3 forged fail a 1
          ignored: bad_token
        > 4 bare lost b 1
          ignored: bad_token
        > 5 ok a 1
        > 6 forged ok a 1
          ignored: bad_token
        = RUNNING
        "#);
    }

    /// A run of the release before needs none.
    #[test]
    fn runs_without_a_key_take_reports_without_a_token() {
        let plan = json!({"steps": [{"id": "a"}]});
        insta::assert_snapshot!(check(&plan, "0 submit-1\n1 bare ok a 1"), @r#"
        > 0 submit-1
          dispatch a#1 {}
        > 1 bare ok a 1
          finish COMPLETED decided at 2 null
        = COMPLETED
        "#);
    }

    #[test]
    fn a_worker_is_heard_for_the_attempts_of_its_agent_whose_token_it_has() {
        let handoff = json!({"to": ["b"], "next": "output.next"});
        let spec = json!({"steps": [{"id": "a"}, {"id": "desk", "handoff": handoff}, {"id": "v", "value": 1}]});
        let plan = Arc::new(plan(&spec));
        let (run, bare) =
            (Run::new(run_id(), Arc::clone(&plan)).with_key(Some(run_key())), Run::new(run_id(), Arc::clone(&plan)));
        let agent = |text: &str| text.parse::<AgentVersion>().unwrap();
        let does = plan.steps[0].agent().unwrap();
        let (first, second) = (task("a#1"), task("a#2"));
        let token = |task: &TaskId| run.token(task);
        assert!(run.hears(does, &first, token(&first).as_ref()));
        assert!(!run.hears(does, &first, None) && !run.hears(does, &first, token(&second).as_ref()));
        assert!(!run.hears(&agent("other@1.0.0"), &first, token(&first).as_ref()));
        for actor in plan.steps[1].agents() {
            assert!(run.hears(actor, &task("desk#2"), token(&task("desk#2")).as_ref()), "{actor}");
        }
        for none in [task("v#1"), task("nowhere#1")] {
            assert!(!run.hears(does, &none, token(&none).as_ref()), "{none}");
        }
        assert!(bare.hears(does, &first, None) && !bare.hears(&agent("other@1.0.0"), &first, None));
    }

    #[test]
    fn a_run_that_was_given_the_wrong_sort_of_key_is_halted() {
        let plan = Arc::new(plan(&json!({"steps": [{"id": "a"}]})));
        for (text, key) in [("submit", None), ("submit-1", Some(run_key()))] {
            let mut run = Run::new(run_id(), Arc::clone(&plan)).with_key(key);
            let (entry, channel) = entry(text);
            assert_eq!(apply(&mut run, &entry, channel, Stamp::default()).commands, []);
            assert_eq!(run.stall_reason().unwrap().code, "K0307", "{text}");
        }
    }

    #[test]
    fn keys_and_tokens_are_not_printed() {
        let key = SigningKey::new([7; 32]).of_run(run_id());
        let printed = format!("{:?} {:?} {:?}", SigningKey::new([7; 32]), key, key.token(&task("a#1")));
        assert_eq!(printed, "SigningKey(…) RunKey(…) TaskToken(…)");
    }
}
