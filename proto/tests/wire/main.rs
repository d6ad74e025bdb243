//! The wire as others see it: golden files of every message, round trips of arbitrary values, garbage.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on says where

mod arbitrary;
mod garbage;
mod golden;
mod round_trip;
mod samples;
