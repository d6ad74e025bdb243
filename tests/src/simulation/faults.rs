//! What goes wrong, and how often. Each seed switches some kinds of faults on and the others off: a system that is always
//! hit by everything never gets far enough to show what one fault alone does.

use super::dice::Dice;

/// Chances per mille unless said otherwise; 0 is never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// A publish is lost before it is stored.
    pub(crate) drop: u32,
    /// A publish is stored and its acknowledgement lost.
    pub(crate) ack_lost: u32,
    /// A message takes seconds.
    pub(crate) slow: u32,
    /// A replica that lags answers a load.
    pub(crate) lag: u32,
    /// A plan cannot be built now.
    pub(crate) no_plan: u32,
    /// A plan is not at hand.
    pub(crate) plan_away: u32,
    /// A coordinator dies between two effects.
    pub(crate) crash_between: u32,
    /// A reader starts anew and repeats itself.
    pub(crate) reread: u32,
    /// A reader stands still for seconds.
    pub(crate) read_stall: u32,
    /// A cursor is not written.
    pub(crate) cursor_unsaved: u32,
    /// A worker dies while it executes.
    pub(crate) worker_crash: u32,
    /// A worker freezes while it executes: no renewals, a very late success.
    pub(crate) freeze: u32,
    /// A worker gives a task back.
    pub(crate) returned: u32,
    /// A task's acknowledgement is lost.
    pub(crate) task_ack_lost: u32,
    /// A report is repeated long after it was stored.
    pub(crate) report_again: u32,
    /// A timer is lost.
    pub(crate) timer_lost: u32,
    /// A timer goes off before its time.
    pub(crate) timer_early: u32,
    /// Somebody who agreed may not any more when it is looked at again.
    pub(crate) void: u32,
    /// Milliseconds between two disturbances of each kind, on average; 0 is none.
    pub(crate) every: Disturbances,
}

/// How often the larger disturbances come, in milliseconds on average; 0 is never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disturbances {
    /// A coordinator dies.
    pub(crate) crash: u64,
    /// Another coordinator takes the partition as well.
    pub(crate) second_owner: u64,
    /// An owner lets go and another takes over.
    pub(crate) flip: u64,
    /// All tasks are purged.
    pub(crate) purge: u64,
    /// The task stream is made anew.
    pub(crate) recreate: u64,
    /// Something that is no run's, or no entry at all, is written.
    pub(crate) garbage: u64,
    /// A client asks for something.
    pub(crate) steer: u64,
}

impl Faults {
    /// The faults of a seed.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let mut some = |most: u64| if dice.hit(450) { u32::try_from(dice.between(1, most)).unwrap_or(0) } else { 0 };
        Self {
            drop: some(200),
            ack_lost: some(200),
            slow: some(150),
            lag: some(500),
            no_plan: some(250),
            plan_away: some(1_000),
            crash_between: some(25),
            reread: some(300),
            read_stall: some(180),
            cursor_unsaved: some(800),
            worker_crash: some(120),
            freeze: some(80),
            returned: some(120),
            task_ack_lost: some(100),
            report_again: some(150),
            timer_lost: some(400),
            timer_early: some(300),
            void: some(500),
            every: Disturbances::of(dice),
        }
    }
}

impl Disturbances {
    fn of(dice: &mut Dice) -> Self {
        let mut every = |likely: u32, least: u64| if dice.hit(likely) { dice.between(least, least * 5) } else { 0 };
        Self {
            crash: every(450, 1_500),
            second_owner: every(400, 1_500),
            flip: every(400, 1_000),
            purge: every(300, 1_500),
            recreate: every(300, 2_000),
            garbage: every(300, 500),
            steer: every(500, 400),
        }
    }
}
