//! What Kapelle says about itself: logs, metrics, trace context, and the one clock at the edges.
//!
//! Every role sets up [`logs`] and [`metrics`] once, in its `main`; libraries only use `tracing` and the table of
//! metrics. Nothing here decides anything: the engine reads no clock, and no trace context changes what a run does.

pub mod clock;
pub mod logs;
pub mod metrics;
pub mod trace;
