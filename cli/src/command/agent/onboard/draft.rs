//! The manifest of an agent as it comes to be: what is written, and what is put where nothing is.
//!
//! A file that is there is changed only if that was asked for. Until then, what could be said better is proposed, and what
//! has to be said is an error: what is registered is always what stands in the file.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kapelle_manifest::{API_VERSION, Agent, Manifest, documents, parse};
use kapelle_types::Code;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::manifests::{Found, files, invalid};
use crate::output::yaml;

/// How manifests of agents are called; the first is the name of a new one.
const NAMES: [&str; 2] = ["agent.yaml", "agent.yml"];
/// What the file as it was is kept under.
const KEPT: &str = "orig";
/// The order of a new manifest's parts.
const ORDER: [&str; 7] = ["role", "input", "output", "risk", "access", "runtime", "retry"];

/// A manifest, finished or not.
#[derive(Debug)]
pub(super) struct Draft {
    /// Where it stands, or will.
    pub(super) file: PathBuf,
    folder: PathBuf,
    /// The text as it is.
    was: Option<String>,
    agent: Value,
    /// The other manifests of the same file.
    others: Vec<Value>,
    /// Whether what is inferred goes in, or is only proposed.
    open: bool,
    /// What was put, as `metadata.name`, with what was there before.
    changes: Vec<Change>,
    pub(super) facts: Vec<Fact>,
    /// What only the owner knows, each with how to say it.
    pub(super) lacks: Vec<String>,
}

/// One part that was put in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    /// Null if nothing was there.
    pub(super) was: Value,
    pub(super) is: Value,
    /// Whether the manifest would not do without.
    #[serde(skip)]
    needed: bool,
}

/// One thing about the agent, and where it is known from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Fact {
    pub(super) component: &'static str,
    pub(super) about: &'static str,
    /// Null if nothing is known.
    pub(super) value: Value,
    pub(super) state: State,
    /// In words: where it is known from, or how to say it.
    pub(super) from: String,
}

/// How a fact is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It stands in the manifest.
    Written,
    /// A flag or an answer says it.
    Given,
    /// It follows from what is there.
    Inferred,
    /// It could go into the manifest, which nobody has asked to change.
    Proposed,
    /// Nobody says otherwise.
    Default,
    /// It was measured, and no manifest says it.
    Measured,
    /// Nobody says it.
    Missing,
}

/// Where a thing stands in the manifest, and what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) component: &'static str,
    pub(super) about: &'static str,
    /// Its path, as `metadata.name`.
    pub(super) field: &'static str,
}

/// What counts where neither a flag nor the manifest says anything.
#[derive(Debug)]
pub(super) enum Otherwise {
    /// This, for this reason; without it there is no manifest.
    Needed(Value, String),
    /// This, for this reason.
    Better(Value, String),
    /// The manifest does without, and then it is this.
    Default(Value),
    /// The manifest does without; this is how to say it.
    Missing(&'static str),
    /// There is no manifest without; this is how to say it.
    Lacking(String),
}

impl Draft {
    /// The manifest of a folder, or one that says nothing yet. `write` lets a file that is there be changed.
    pub(super) fn read(folder: &Path, write: bool) -> Result<Self, Failure> {
        let there = NAMES.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let file = there.clone().unwrap_or_else(|| folder.join(NAMES[0]));
        let was = there.map(|file| files::text(&file).map(|(text, _)| text)).transpose()?;
        let mut all = match &was {
            Some(text) => documents(&file.display().to_string(), text).map_err(|wrong| invalid(&wrong))?,
            None => Vec::new(),
        };
        let is_agent = |it: &Value| it["kind"].is_null() || it["kind"] == "Agent";
        let agents = all.iter().filter(|it| is_agent(it)).count();
        if agents > 1 {
            let message = format!("{} holds {agents} agents, and one is onboarded at a time.", file.display());
            let hint = "Give each a folder of its own, or register finished manifests with `kapelle apply`.";
            return Err(Failure::coded(Code::ONBOARD_INCOMPLETE, message, hint));
        }
        let agent = all.iter().position(is_agent).map_or_else(|| json!({}), |at| all.remove(at));
        let open = was.is_none() || write;
        let (changes, facts, lacks) = (Vec::new(), Vec::new(), Vec::new());
        let mut draft = Self { file, folder: folder.to_owned(), was, agent, others: all, open, changes, facts, lacks };
        for (field, value) in [("apiVersion", API_VERSION), ("kind", "Agent")] {
            if draft.written(field).is_none() {
                draft.put(field, value.into(), true);
            }
        }
        Ok(draft)
    }

    /// What stands at a path such as `spec.role.purpose`.
    pub(super) fn written(&self, field: &str) -> Option<&Value> {
        field.split('.').try_fold(&self.agent, |at, name| at.get(name)).filter(|it| !it.is_null())
    }

    /// Finds out what counts at a place, puts it there if it has to be, and notes where it is known from.
    pub(super) fn settle(&mut self, slot: Slot, given: Option<(&str, Value)>, otherwise: Otherwise) {
        let written = self.written(slot.field).cloned();
        let (value, state, from) = match (given, written) {
            (Some((flag, value)), written) => {
                if written.as_ref() != Some(&value) {
                    self.put(slot.field, value.clone(), true);
                }
                (value, State::Given, flag.to_owned())
            }
            (None, Some(value)) => (value, State::Written, self.name()),
            (None, None) => match otherwise {
                Otherwise::Needed(value, why) => {
                    self.put(slot.field, value.clone(), true);
                    (value, State::Inferred, why)
                }
                Otherwise::Better(value, why) if self.open => {
                    self.put(slot.field, value.clone(), false);
                    (value, State::Inferred, why)
                }
                Otherwise::Better(value, why) => (value, State::Proposed, format!("{why}; `--write` takes it in")),
                Otherwise::Default(value) => (value, State::Default, "nobody says otherwise".to_owned()),
                Otherwise::Missing(how) => (Value::Null, State::Missing, how.to_owned()),
                Otherwise::Lacking(how) => {
                    self.lacks.push(format!("{}: {how}", slot.about));
                    (Value::Null, State::Missing, how)
                }
            },
        };
        self.note(Fact { component: slot.component, about: slot.about, value, state, from });
    }

    /// Notes a fact; what was known of the same before is forgotten.
    pub(super) fn note(&mut self, fact: Fact) {
        let same = |it: &&mut Fact| (it.component, it.about) == (fact.component, fact.about);
        match self.facts.iter_mut().find(same) {
            Some(known) => *known = fact,
            None => self.facts.push(fact),
        }
    }

    /// Puts a value at a path, with all that is missing above it. Something else that stands above it stays, and the check of
    /// the manifest says what is wrong with it.
    pub(super) fn put(&mut self, field: &str, value: Value, needed: bool) {
        let (above, name) = field.rsplit_once('.').unwrap_or(("", field));
        let mut at = &mut self.agent;
        for part in above.split('.').filter(|it| !it.is_empty()) {
            if at.get(part).is_none_or(Value::is_null) && (at.is_object() || at.is_null()) {
                at[part] = Value::Object(Map::new());
            }
            match at.get_mut(part) {
                Some(below) => at = below,
                None => return,
            }
        }
        if !at.is_object() {
            return;
        }
        let was = at.get(name).cloned().unwrap_or_default();
        at[name] = value.clone();
        match self.changes.iter_mut().find(|it| it.field == field) {
            Some(known) => known.is = value,
            None => self.changes.push(Change { field: field.to_owned(), was, is: value, needed }),
        }
    }

    /// Says where the folder was fetched from, beside whatever else is noted there.
    pub(super) fn annotate(&mut self, notes: &Value) {
        const NOTES: &str = "metadata.annotations";
        let mut all = self.written(NOTES).and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(notes.as_object().cloned().unwrap_or_default());
        if self.open && self.written(NOTES) != Some(&Value::Object(all.clone())) {
            self.put(NOTES, Value::Object(all), false);
        }
    }

    /// Everything that was put where something else or nothing stood.
    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Says better what was only inferred so far, or was said by nobody.
    pub(super) fn learn(&mut self, slot: Slot, value: Value, why: String) {
        if self.is_inferred(slot.about) {
            self.put(slot.field, value.clone(), false);
            self.note(Fact { component: slot.component, about: slot.about, value, state: State::Inferred, from: why });
        } else {
            self.settle(slot, None, Otherwise::Better(value, why));
        }
    }

    /// Whether what counts for something was inferred: no author stands for it yet.
    pub(super) fn is_inferred(&self, about: &str) -> bool {
        self.facts.iter().any(|it| it.about == about && it.state == State::Inferred)
    }

    /// Whether only the trial will tell what the agent gives.
    pub(super) fn learns_output(&self) -> bool {
        self.open && self.written("spec.output.schema").is_none()
    }

    /// Whether the file itself is there.
    pub(super) const fn is_there(&self) -> bool {
        self.was.is_some()
    }

    /// That the file may become what has to be registered.
    pub(super) fn may_be_written(&self) -> Result<(), Failure> {
        let kept = self.kept();
        let needed: Vec<&str> = self.changes.iter().filter(|it| it.needed).map(|it| it.field.as_str()).collect();
        if self.was.is_none() || self.changes.is_empty() {
            return Ok(());
        }
        let (message, hint) = if !self.open {
            let message = format!("{} has to be changed before it is registered: {}.", self.name(), needed.join(", "));
            (message, format!("`--write` changes it and keeps it as it was in {}; `--plan` shows how.", short(&kept)))
        } else if kept.exists() {
            let message = format!("{} is there already, so {} is not changed.", kept.display(), self.name());
            (message, "Move it away, or remove it if nobody needs it any more.".to_owned())
        } else {
            return Ok(());
        };
        Err(Failure::coded(Code::ONBOARD_INCOMPLETE, message, hint))
    }

    /// The manifests as they are to be registered, the agent among them.
    pub(super) fn manifests(&self) -> Result<(Vec<Found>, Agent), Failure> {
        let (name, text) = match &self.was {
            Some(text) if self.changes.is_empty() => (self.file.display().to_string(), text.clone()),
            _ => (format!("{}, completed", self.file.display()), self.text()?),
        };
        let all = parse(&name, &text).map_err(|wrong| invalid(&wrong))?;
        let agent = all.iter().find_map(|it| match &it.manifest {
            Manifest::Agent(agent) => Some(agent.clone()),
            Manifest::Workflow(_) => None,
        });
        let found = all.into_iter().map(|sourced| Found { sourced, folder: self.folder.clone() }).collect();
        let absent = || Failure::coded(Code::MANIFEST_SYNTAX, format!("{name} holds no agent."), "");
        Ok((found, agent.ok_or_else(absent)?))
    }

    /// The text of the file as it is to be.
    fn text(&self) -> Result<String, Failure> {
        let mut agent = self.agent.clone();
        if let (None, Some(Value::Object(spec))) = (&self.was, agent.get_mut("spec")) {
            let place = |name: &str| ORDER.iter().position(|it| *it == name).unwrap_or(ORDER.len());
            let mut parts: Vec<_> = std::mem::take(spec).into_iter().collect();
            parts.sort_by_key(|(name, _)| place(name));
            spec.extend(parts);
        }
        let all: Result<Vec<String>, Failure> = std::iter::once(&agent).chain(&self.others).map(yaml).collect();
        Ok(all?.join("---\n"))
    }

    /// Writes the new text beside the file, if it differs; [`Staged::settle`] makes it the file.
    pub(super) fn stage(&self) -> Result<Option<Staged>, Failure> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        let text = self.text()?;
        let write = || -> std::io::Result<NamedTempFile> {
            let mut new = NamedTempFile::new_in(&self.folder)?;
            new.write_all(text.as_bytes())?;
            // A temporary file is only its owner's; a manifest is everybody's who may read the folder.
            new.as_file().set_permissions(Permissions::from_mode(0o644))?;
            new.as_file().sync_all()?;
            Ok(new)
        };
        let new = write().map_err(|e| self.unwritable(&e))?;
        Ok(Some(Staged { new, file: self.file.clone(), kept: self.was.is_some().then(|| self.kept()) }))
    }

    fn unwritable(&self, error: &std::io::Error) -> Failure {
        let message = format!("{} cannot be written: {error}.", self.file.display());
        Failure::coded(Code::MANIFEST_FILE, message, "Nothing was registered.")
    }

    fn kept(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(format!(".{KEPT}"));
        name.into()
    }

    /// The file's name without its folder.
    pub(super) fn name(&self) -> String {
        short(&self.file)
    }
}

/// The new text of a manifest, not yet in its place. Dropping it leaves everything as it was.
#[derive(Debug)]
pub(super) struct Staged {
    new: NamedTempFile,
    file: PathBuf,
    kept: Option<PathBuf>,
}

impl Staged {
    /// Puts it in its place. A file that came there meanwhile stays.
    pub(super) fn settle(self) -> Result<(), Failure> {
        let Self { new, file, kept } = self;
        let placed = match kept {
            Some(kept) => {
                fs::hard_link(&file, &kept).and_then(|()| new.persist(&file).map(drop).map_err(std::io::Error::from))
            }
            None => new.persist_noclobber(&file).map(drop).map_err(std::io::Error::from),
        };
        placed.map_err(|error| {
            let message = format!("It is registered, and {} could not be written: {error}.", file.display());
            let hint = "`kapelle agent describe NAME` shows the manifest that is registered.";
            Failure::coded(Code::MANIFEST_FILE, message, hint)
        })
    }
}

fn short(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
