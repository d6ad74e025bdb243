//! Systems without Landlock: nothing is started.

use std::ffi::OsString;

use super::{Refusal, Rules};

const WHY: &str = "only Linux has Landlock";

/// Refuses.
#[must_use]
pub fn exec(_: &Rules, _: &[OsString]) -> Refusal {
    Refusal::Sandbox(WHY.into())
}

pub(super) fn supported() -> Result<(), String> {
    Err(WHY.into())
}
