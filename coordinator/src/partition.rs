//! One partition of the run log: read it in order, decide, perform, and let nothing wait for ever.
//!
//! ```text
//!   bus::tail ──chunks──▶ driver ──items──▶ core (no IO) ──effects──▶ driver ──▶ perform ──▶ bus
//!                            ▲                 │ Load                                │
//!                            └── loads ◀───────┘        acknowledgements ◀───────────┘
//! ```
//!
//! [`core`] is the partition's loop without IO: everything it learns comes in by a method call, everything it wants done
//! goes out as an [`effect::Effect`]. [`driver`] drives it with the real broker; the simulation drives the same core with
//! a model of one.

mod cache;
mod children;
mod config;
pub mod core;
mod driver;
pub mod effect;
mod event;
pub mod load;
mod meters;
mod observe;
mod on_record;
mod open;
pub mod perform;
mod progress;
mod queue;
pub mod service;

pub use driver::open_runs;
pub use open::OpenRun;
