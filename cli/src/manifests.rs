//! Manifest files on this machine: found, read, checked; and what a worker needs to know of an agent's manifest.

mod files;
mod process;

use std::path::{Path, PathBuf};

use kapelle_manifest::{Problem, Sourced};
use kapelle_types::Code;
use serde_json::json;

use crate::failure::Failure;

pub(crate) use process::spec;

/// One manifest with the folder that its file lies in.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) sourced: Sourced,
    /// Absolute; the working folder of a process agent.
    pub(crate) folder: PathBuf,
}

/// Reads all manifests of a file, of a folder and those below it, or of stdin (`-`).
///
/// Everything that is wrong with any of them comes as one failure.
pub(crate) fn read(sources: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for source in sources {
        for file in files::list(source)? {
            let (text, folder) = files::text(&file)?;
            match kapelle_manifest::parse(&file.display().to_string(), &text) {
                Ok(manifests) => {
                    found.extend(manifests.into_iter().map(|sourced| Found { sourced, folder: folder.clone() }));
                }
                Err(wrong) => problems.extend(wrong),
            }
        }
    }
    if !problems.is_empty() {
        return Err(invalid(&problems));
    }
    if found.is_empty() {
        let names: Vec<_> = sources.iter().map(|s| s.display().to_string()).collect();
        return Err(Failure::coded(Code::MANIFEST_FILE, format!("There is no manifest in {}.", names.join(", ")), ""));
    }
    Ok(found)
}

/// Everything that is wrong, for people with the lines, for programs with the places.
pub(crate) fn invalid(problems: &[Problem]) -> Failure {
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let pictures: Vec<_> = problems.iter().map(|p| p.render(colour).trim_end().to_owned()).collect();
    let details = problems.iter().map(|p| {
        json!({
            "code": p.code(), "message": p.message, "hint": p.hint, "file": p.file,
            "line": p.line, "column": p.column, "pointer": p.pointer,
        })
    });
    let code = problems.first().map_or(Code::MANIFEST_SYNTAX, Problem::code);
    let message = match problems.len() {
        1 => "One problem; nothing was registered.".to_owned(),
        many => format!("{many} problems; nothing was registered."),
    };
    Failure::coded(code, message, "").pictured(pictures.join("\n\n"), details.collect())
}

/// A path in its absolute form, for what is told to other processes.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|e| files::unreadable(path, &e))
}
