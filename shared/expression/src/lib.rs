//! Expressions: `${…}` in manifests, CEL over a run's input and its steps' outputs.
//!
//! ```text
//!   manifest text ──compile──▶ Expression / Template ──evaluate(scope)──▶ Payload
//!                     │                                   │
//!                     │ syntax, references, bounds        │ a path alone: a lookup that keeps the payload's Arc
//!                     ▼                                   │ anything else: CEL over the referenced values only
//!                   Error (code, pointer, offset)         ▼
//!                                                       Error
//! ```
//!
//! The manifest crate compiles and asks for [`Reference`]s; the engine evaluates. Same source and same scope give the
//! same value or the same error, on every machine: nothing here reads a clock, draws a random number or depends on a
//! hash map's order. No source and no value makes it panic, and every expression ends: CEL has no loops but
//! comprehensions, whose nesting, list size and memory are bounded before the first step.

mod analysis;
mod convert;
mod cost;
mod error;
mod evaluation;
mod expression;
mod functions;
mod lookup;
mod nearest;
mod reference;
mod scan;
mod scope;
mod syntax;
mod template;

pub use error::{Error, ErrorKind};
pub use expression::Expression;
pub use nearest::nearest;
pub use reference::{Reference, Root, Segment};
pub use scope::Scope;
pub use template::Template;
