//! One partition of the run log: read it in order, decide, perform, and let nothing wait for ever.
//!
//! ```text
//!   bus::tail ──chunks──▶ service ──items──▶ core (no IO) ──effects──▶ service ──▶ perform ──▶ bus
//!                            ▲                 │ Load                                │
//!                            └── loads ◀───────┘        acknowledgements ◀───────────┘
//! ```
//!
//! [`core`] is the partition's loop without IO: everything it learns comes in by a method call, everything it wants done
//! goes out as an [`effect::Effect`]. [`service`] drives it with the real broker; the simulation drives the same core with
//! a model of one.

mod cache;
pub mod core;
pub mod effect;
mod meters;
mod open;
mod progress;

pub mod load;
pub mod perform;
pub mod service;

pub use open::OpenRun;
