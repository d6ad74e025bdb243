//! Manifest files on this machine: found, read, checked; and what a worker needs to know of an agent's manifest.

pub(crate) mod files;
pub(crate) mod registered;
mod served;

use std::io::Write;
use std::path::{Path, PathBuf};

use kapelle_manifest::{Catalog, Problem, Schedule, Sourced};
use kapelle_types::Code;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Format;

pub(crate) use served::spec;

/// One manifest with the folder that its file lies in.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) sourced: Sourced,
    /// Absolute; the working folder of a process agent.
    pub(crate) folder: PathBuf,
}

/// Reads all agents and workflows of a file, of a folder and those below it, or of stdin (`-`).
///
/// Everything that is wrong with any of them comes as one failure.
pub(crate) fn read(sources: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let (found, _) = read_all(sources)?;
    if found.is_empty() { Err(nothing(sources)) } else { Ok(found) }
}

/// As [`read`], with the schedules beside them: they have no versions, and are applied one by one.
pub(crate) fn read_all(sources: &[PathBuf]) -> Result<(Vec<Found>, Vec<Schedule>), Failure> {
    let (mut found, mut schedules, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        for file in files::list(source, files::MANIFESTS)? {
            let (text, folder) = files::text(&file)?;
            let name = file.display().to_string();
            match kapelle_manifest::parse(&name, &text) {
                Ok(manifests) => {
                    found.extend(manifests.into_iter().map(|sourced| Found { sourced, folder: folder.clone() }));
                    match kapelle_manifest::schedules(&name, &text) {
                        Ok(more) => schedules.extend(more),
                        Err(wrong) => problems.extend(wrong),
                    }
                }
                Err(wrong) => problems.extend(wrong),
            }
        }
    }
    if !problems.is_empty() {
        return Err(invalid(&problems));
    }
    if found.is_empty() && schedules.is_empty() {
        return Err(nothing(sources));
    }
    Ok((found, schedules))
}

fn nothing(sources: &[PathBuf]) -> Failure {
    let names: Vec<_> = sources.iter().map(|s| s.display().to_string()).collect();
    Failure::coded(Code::MANIFEST_FILE, format!("There is no manifest in {}.", names.join(", ")), "")
}

/// Everything that can be known before they run, against the agents that there are.
pub(crate) fn check(found: &[Found], agents: &dyn Catalog) -> Result<(), Failure> {
    let problems: Vec<_> = found.iter().flat_map(|f| kapelle_manifest::check(&f.sourced, agents)).collect();
    if problems.is_empty() { Ok(()) } else { Err(invalid(&problems)) }
}

/// Says on stderr what may go wrong; nobody is stopped by it. If it cannot be written, there is nobody to tell.
pub(crate) fn warn(found: &[Found], agents: &dyn Catalog, format: Format) {
    let problems: Vec<_> = found.iter().flat_map(|f| kapelle_manifest::warnings(&f.sourced, agents)).collect();
    let text = match format {
        _ if problems.is_empty() => return,
        Format::Table | Format::Yaml => pictures(&problems) + "\n\n",
        Format::Json => format!("{}\n", json!({ "warnings": details(&problems) })),
    };
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Problems for people, each with its lines.
fn pictures(problems: &[Problem]) -> String {
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    problems.iter().map(|p| p.render(colour).trim_end().to_owned()).collect::<Vec<_>>().join("\n\n")
}

/// Problems for programs, each with its place.
fn details(problems: &[Problem]) -> Vec<Value> {
    let detail = |p: &Problem| {
        json!({
            "code": p.code(), "message": p.message, "hint": p.hint, "file": p.file,
            "line": p.line, "column": p.column, "pointer": p.pointer,
        })
    };
    problems.iter().map(detail).collect()
}

/// Everything that is wrong, for people with the lines, for programs with the places.
pub(crate) fn invalid(problems: &[Problem]) -> Failure {
    let code = problems.first().map_or(Code::MANIFEST_SYNTAX, Problem::code);
    let message = match problems.len() {
        1 => "One problem; nothing was registered.".to_owned(),
        many => format!("{many} problems; nothing was registered."),
    };
    Failure::coded(code, message, "").pictured(pictures(problems), details(problems))
}

/// A path in its absolute form, for what is told to other processes.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|e| files::unreadable(path, &e))
}
