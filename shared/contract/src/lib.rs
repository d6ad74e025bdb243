//! Contracts: what an agent or a workflow takes and gives, as JSON Schema 2020-12, and what can be known of schemas alone.
//!
//! ```text
//!   schema ──Contract──compile──▶ Checker ──violations(payload)──▶ where, by which rule, what was there (never the value)
//!   giver, taker ──compatible──▶ Verdict: compatible, breaking with a witness, or not decided
//!   samples ──infer──▶ Contract that each of them keeps
//! ```
//!
//! Manifests carry contracts; the manifest crate, the coordinator and workers check with them. Nothing here does IO,
//! nothing is ever fetched, and no schema and no payload makes it panic or run without bound.

mod checker;
mod class;
mod compare;
mod contract;
mod infer;
mod look_up;
mod pointer;
mod rewrite;
mod schema;

pub use checker::{Checker, Rule, Violation};
pub use class::{DataClass, UnknownClass};
pub use compare::{Difference, Verdict, compatible, disjoint};
pub use contract::{Contract, InvalidSchema};
pub use infer::infer;
pub use look_up::{Found, look_up};
pub use pointer::Pointer;
