//! What is around approvals: what people are shown, whom they are told by, and what is on its way to them.
//!
//! ```text
//!   runs that are held ──▶ Watcher ──▶ bucket `approvals`: what is asked, what was told
//!                             │                │ due: asked, reminders, rungs; settled: how it ended
//!                             └──▶ kapelle.event.approval.<kind> ──a consumer each──▶ Deliverer ──▶ webhooks, mail
//! ```
//!
//! Nothing here decides: the run does, by its log. What is told is derived from the log as well, so that it is told, later and
//! perhaps twice, whoever dies meanwhile.

mod alike;
mod delegated;
mod deliver;
mod destinations;
mod diff;
mod ending;
mod mail;
mod notice;
mod page;
mod quality;
mod watch;
mod webhook;

pub(crate) use alike::{Asked, Rule, sample};
pub(crate) use delegated::{in_place_of, withdrawn};
pub(crate) use deliver::deliver;
pub use destinations::Destinations;
pub(crate) use page::fill;
pub(crate) use quality::quality;
pub(crate) use watch::{Watcher, question};
