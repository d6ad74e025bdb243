//! The larger things that go wrong, and the moment when nothing does any more.

use kapelle_engine::TimerId;

use super::event::{Care, Disturbance, Event};
use super::faults::Faults;
use super::plans::run_id;
use super::rest::REQUEUED_WITHIN_MS;
use super::world::World;

impl World {
    /// Schedules the first disturbance of every kind that this seed has.
    pub(crate) fn disturb_later(&mut self) {
        for disturbance in [
            Disturbance::Crash,
            Disturbance::SecondOwner,
            Disturbance::Flip,
            Disturbance::Purge,
            Disturbance::Recreate,
            Disturbance::Garbage,
            Disturbance::Steer,
        ] {
            self.again_later(disturbance);
        }
    }

    fn again_later(&mut self, disturbance: Disturbance) {
        let every = &self.faults.every;
        let mean = match disturbance {
            Disturbance::Crash => every.crash,
            Disturbance::SecondOwner => every.second_owner,
            Disturbance::Flip => every.flip,
            Disturbance::Purge => every.purge,
            Disturbance::Recreate => every.recreate,
            Disturbance::Garbage => every.garbage,
            Disturbance::Steer => every.steer,
        };
        if mean > 0 {
            let wait = self.dice.between(mean / 2, mean * 3 / 2);
            self.after(wait, Event::Disturb(disturbance));
        }
    }

    pub(crate) fn disturb(&mut self, disturbance: Disturbance) {
        if self.quiet_since.is_some() {
            return;
        }
        self.note(|| format!("disturbance: {disturbance:?}"));
        let (alive, dead) = (self.owners.alive(), self.owners.dead());
        match disturbance {
            Disturbance::Crash if !alive.is_empty() => {
                let slot = *self.dice.pick(&alive);
                self.crash(slot);
            }
            Disturbance::Crash => {}
            Disturbance::SecondOwner => self.start_one(&dead),
            Disturbance::Flip => {
                if !alive.is_empty() {
                    let slot = *self.dice.pick(&alive);
                    self.let_go(slot);
                }
                self.start_one(&dead);
            }
            Disturbance::Purge => self.tasks.purge(),
            Disturbance::Recreate => self.tasks.recreate(),
            Disturbance::Garbage => self.garbage(),
            Disturbance::Steer => self.steer(),
        }
        // Nobody is without an owner for long.
        if self.owners.alive().is_empty() {
            let dead = self.owners.dead();
            self.start_one(&dead);
        }
        self.again_later(disturbance);
    }

    fn start_one(&mut self, dead: &[usize]) {
        if !dead.is_empty() {
            let slot = *self.dice.pick(dead);
            self.take_over(slot);
        }
    }

    /// Faults stop. What was lost is lost, what is late still comes.
    pub(crate) fn quiet(&mut self) {
        self.note(|| "faults stop".into());
        self.faults = Faults::default();
        self.quiet_since = Some(self.now);
        if self.owners.some_are_old && self.owners.alive().contains(&0) {
            self.crash(0);
        }
        if self.owners.staying() == 0 || self.dice.hit(200) {
            match self.owners.dead() {
                dead if dead.is_empty() => self.take_over(0),
                dead => self.start_one(&dead),
            }
        }
        if self.dice.hit(150) {
            self.away_until = self.now + self.dice.between(60_000, 400_000);
            self.note(|| "nobody works for minutes".into());
        }
        if self.dice.hit(300) {
            self.lose_all_tasks();
        }
        for (care, likely) in [(Care::Resume, 900), (Care::Retry, 500), (Care::Retry, 300), (Care::Fail, 300)] {
            if self.dice.hit(likely) {
                let wait = self.dice.between(100, 60_000);
                self.after(wait, Event::Person(care));
            }
        }
    }

    /// The queue loses everything, in the middle of quiet times. Often nobody is left who would report on anything, and the
    /// log may end with a timer, which no reader is given.
    fn lose_all_tasks(&mut self) {
        self.note(|| "all tasks are lost".into());
        if self.dice.hit(500) {
            self.tasks.purge()
        } else {
            self.tasks.recreate()
        }
        if self.dice.hit(500) {
            self.all_workers_die();
        }
        if self.dice.hit(500) {
            self.log.set_timer(run_id(self.seed, 1_002), TimerId::Deadline, u64::MAX);
        }
        // A poisonous task stays for minutes, and hides the loss of others all that time.
        if self.agents.poison == 0 {
            let away = self.away_until.saturating_sub(self.now);
            self.after(away + REQUEUED_WITHIN_MS, Event::Requeued);
        }
    }
}
