//! A deterministic simulation: the real engine and the real partition loop against a model of everything around them.
//!
//! ```text
//!                       ┌─────────────── World: virtual clock, one queue of events, one seeded dice ───────────────┐
//!   Core, apply (real)  │  Owners ──Publish──▶ Wire ──▶ Log, Timers, Tasks, Dead letters, Cursor  ◀── Clients      │
//!   ◀── read, loaded ───┤    ▲                  drops, delays, repeats        │                                    │
//!   ─── effects ───────▶│    └──── Ack ◀────────────┘                         └──▶ Workers ──reports──▶ Wire       │
//!                       └───────── every record that the log takes ──▶ Oracle: an independent fold, invariants ────┘
//! ```
//!
//! One seed decides everything: plans, agents, faults, the order of events. First everything goes wrong for a while, then
//! faults stop, and from there everything has to come to rest in bounded virtual time (`rest`); then all coordinators are
//! started anew from some cursor that once was stored, and nothing may change. What must hold at every step is checked
//! while it happens (`oracle`, `slots`, `outcome`, `audit`, and for single kinds `joins`, `questions`, `rounds`, `closing`,
//! `costs`, `family`). `opinion` judges by the same rules what a real fleet wrote. No threads, no real clock, no IO: a seed that fails fails again.
//!
//! The model takes for granted what the driver has to see to, since no core could make it good:
//! - a run's first entry is written only if its control subject is empty, with a key or without;
//! - a load that asks for no sequence (a look), and the answer that something is no run, come from the leader; any other
//!   load may be answered by a replica that lags.

mod agents;
mod audit;
mod client;
mod closing;
mod costs;
mod dice;
mod disturb;
mod event;
mod family;
mod faults;
mod joins;
mod log;
mod opinion;
mod oracle;
mod outcome;
mod owner;
mod people;
mod plans;
mod questions;
mod rest;
mod rounds;
mod slots;
mod tasks;
mod wire;
mod worker;
mod workflows;
mod world;

pub use client::signalled;
pub use opinion::Opinion;
pub use workflows::random_workflow_of;
pub use world::{Report, Violation, simulate, trace};
