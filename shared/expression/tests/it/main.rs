//! What expressions yield, and that nothing gets past their bounds.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

mod bounds;
mod parsers;
mod scope;
mod values;
