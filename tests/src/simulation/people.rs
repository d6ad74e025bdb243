//! People who are asked: what they say, of what is asked and of what was, and what is found when it is looked at again.

use kapelle_engine::{ApprovalChecked, ApprovalDecided, Body, CheckApproval, Decider, Verdict};
use kapelle_types::{RunId, Sha256, StepRef};

use super::client::signalled;
use super::world::World;

/// Everybody there is. The first of them wants some of the runs; nobody has no name.
const PERSONS: [&str; 5] = ["ada", "bob", "cyd", "dan", ""];

impl World {
    /// Somebody says something about what is asked of people.
    pub(crate) fn decide(&mut self) {
        let asked = self.asked();
        if asked.is_empty() {
            return;
        }
        let (run, step, digest) = self.dice.pick(&asked).clone();
        let stale = self.dice.hit(100);
        let digest = if stale { Sha256::of(b"something else") } else { digest };
        let verdict = match self.dice.below(10) {
            0..5 => Verdict::Approve,
            5 => Verdict::Reject,
            6 => Verdict::Override,
            7 => Verdict::Edit(signalled().into()),
            _ => Verdict::Undo,
        };
        let by = self.somebody();
        self.say(run, step, digest, verdict, by);
    }

    /// Whoever is asked says yes, twice over: some want two.
    pub(crate) fn agree_to_all(&mut self) {
        for (run, step, digest) in self.asked() {
            for person in ["bob", "cyd"] {
                let groups = vec!["legal".to_owned()];
                let by = Decider { person: person.to_owned(), groups, ..Decider::default() };
                self.say(run, step.clone(), digest, Verdict::Approve, by);
            }
        }
    }

    fn asked(&self) -> Vec<(RunId, StepRef, Sha256)> {
        let of = |run: &kapelle_engine::Run| {
            let id = run.id();
            run.held().map(move |held| (id, held.step, held.digest)).collect::<Vec<_>>()
        };
        self.oracle.runs().flat_map(of).collect()
    }

    fn somebody(&mut self) -> Decider {
        let person = (*self.dice.pick(&PERSONS)).to_owned();
        let in_place_of = if self.dice.hit(150) { (*self.dice.pick(&PERSONS)).to_owned() } else { String::new() };
        let groups = ["legal", "board"].iter().filter(|_| self.dice.hit(600)).map(|it| (*it).to_owned()).collect();
        Decider { person, groups, policies: String::new(), in_place_of }
    }

    fn say(&mut self, run: RunId, step: StepRef, digest: Sha256, verdict: Verdict, by: Decider) {
        let comment = String::new();
        self.ask(run, Body::ApprovalDecided(Box::new(ApprovalDecided { step, digest, verdict, comment, by })));
    }

    /// It is found out whether those who agreed still may.
    pub(crate) fn look_again(&mut self, run: RunId, check: CheckApproval) {
        let CheckApproval { step, digest, agreed, .. } = check;
        let void = self.dice.hit(self.faults.void).then(|| "they may not any more".to_owned());
        let checked = ApprovalChecked { step, digest, agreed, void, policies: String::new() };
        self.append_control(run, String::new(), Body::ApprovalChecked(checked), false);
    }
}
