//! Comparing contracts: cases with names, and random pairs against all values of a small universe.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

mod cases;
mod random;
mod universe;
