//! When schedules run, and what follows when they are due: pure, without a clock.
//!
//! ```text
//!   cron lines | every, in a time zone ──Timetable──▶ the next time after T ──▶ when it is due, with its jitter
//!   Ledger (what was done) + now ──turn──▶ runs to start, runs to end, what is skipped or missed ──▶ Ledger
//! ```
//!
//! The coordinator brings the time and does what comes out. Everything here is the same for every owner, whenever it asks.

mod cron;
mod invalid;
mod ledger;
mod overlap;
mod timetable;
mod turn;
mod zone;

pub use cron::Cron;
pub use invalid::Invalid;
pub use ledger::{Firing, Ledger, Outcome, Pause, RECENT_MAX, Started, WAITING_MAX};
pub use overlap::Overlap;
pub use timetable::{Rule, Timetable};
pub use turn::{Rules, Time, Turn};
pub use zone::Zone;
