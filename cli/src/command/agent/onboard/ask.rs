//! Asking for what only the owner knows: on a terminal, and never needed, since every answer has a flag.

use std::io::{self, BufRead, IsTerminal, Write};

use super::components::Stated;
use super::draft::Draft;
use crate::failure::Failure;
use crate::output::Format;

/// Whether there is somebody to ask.
pub(super) fn is_possible(format: Format) -> bool {
    format == Format::Table && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for what neither the flags nor the manifest say. An empty answer leaves it open.
pub(super) fn ask(draft: &Draft, stated: &mut Stated) -> Result<(), Failure> {
    let open = |field: &str, given: bool| !given && draft.written(field).is_none();
    if open("metadata.owner", stated.owner.is_some()) {
        stated.owner = answer("Who answers for it, a person or a team? ")?;
    }
    if open("spec.role.purpose", stated.purpose.is_some()) {
        stated.purpose = answer("What is it for, in one sentence? ")?;
    }
    if open("spec.risk", stated.risk.is_some()) {
        let question = "How much harm can it do: minimal, limited, high? (empty leaves it open) ";
        stated.risk = loop {
            match answer(question)? {
                Some(other) if !["minimal", "limited", "high"].contains(&other.as_str()) => {}
                known => break known,
            }
        };
    }
    Ok(())
}

fn answer(question: &str) -> Result<Option<String>, Failure> {
    let mut stderr = anstream::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok((!answer.is_empty()).then(|| answer.to_owned()))
}
