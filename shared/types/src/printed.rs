//! Printing values without growing the text again and again.

use std::fmt::{Display, Write};

/// Longer than nearly every id, name and subject.
const CAPACITY: usize = 96;

/// As `to_string`, but into one allocation instead of one for every few parts: subjects and names are printed several times
/// for each step of each run.
#[must_use]
pub fn printed(value: &impl Display) -> String {
    let mut text = String::with_capacity(CAPACITY);
    // A string takes every write.
    let _ = write!(text, "{value}");
    text
}
