//! Questions to whoever sits at the terminal.

use std::io::{self, BufRead, Write};

use crate::failure::Failure;

/// Asks, and takes nothing but yes for yes.
pub(crate) fn confirmed(question: &str) -> Result<bool, Failure> {
    let mut stderr = anstream::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
