//! What a new version changes of what the one before it promised, and which number it may have then.
//!
//! `diff` shows it and the registry refuses by it. An input has to take everything that the old one took; an output has to
//! be something that the old one could have been. Fields that no schema declares do not count: nobody relies on them.

use std::fmt;

use kapelle_contract::{Difference, Verdict, compatible};
use kapelle_types::{Code, Diagnosis, Version};
use semver::{Comparator, Op, VersionReq};

use crate::{Contract, Manifest};

/// Differences that one refusal names.
const NAMED_MAX: usize = 3;

/// One side of a manifest's contract, compared with the version before.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which side.
    pub side: Side,
    /// Whether it keeps what the version before promised.
    pub verdict: Verdict,
}

/// The sides of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What it takes.
    Input,
    /// What it gives.
    Output,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// Of these versions the one that a new one comes after: the highest below it of the same kind and name. A pre-release
/// promised nothing.
pub fn predecessor<'m>(new: &Manifest, versions: impl IntoIterator<Item = &'m Manifest>) -> Option<&'m Manifest> {
    let (kind, name, version) = new.name_version();
    let before = versions.into_iter().filter(|it| {
        let (of_kind, of_name, before) = it.name_version();
        (of_kind, of_name) == (kind, name) && before < version && before.semver().pre.is_empty()
    });
    before.max_by(|a, b| a.name_version().2.cmp(b.name_version().2))
}

/// What a version changes of its predecessor.
#[must_use]
pub fn changes(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let keeps = |giver: &Contract, taker: &Contract| compatible(&giver.declared(), taker);
    match (old, new) {
        (Manifest::Agent(old), Manifest::Agent(new)) => vec![
            Change { side: Side::Input, verdict: keeps(&old.spec.input, &new.spec.input) },
            Change { side: Side::Output, verdict: keeps(&new.spec.output, &old.spec.output) },
        ],
        (Manifest::Workflow(old), Manifest::Workflow(new)) => vec![
            Change { side: Side::Input, verdict: keeps(&old.spec.input, &new.spec.input) },
            Change { side: Side::Output, verdict: keeps(&new.spec.result, &old.spec.result) },
        ],
        (Manifest::Agent(_), Manifest::Workflow(_)) | (Manifest::Workflow(_), Manifest::Agent(_)) => vec![],
    }
}

/// Whether a version may stand in for an older one, by its number: SemVer's caret, to which no pre-release belongs.
#[must_use]
pub fn may_replace(old: &Version, new: &Version) -> bool {
    let old = old.semver();
    let comparator = Comparator {
        op: Op::Caret,
        major: old.major,
        minor: Some(old.minor),
        patch: Some(old.patch),
        pre: old.pre.clone(),
    };
    VersionReq { comparators: vec![comparator] }.matches(new.semver())
}

/// The next number that promises nothing to those who use this one.
#[must_use]
pub fn next_breaking(version: &Version) -> String {
    let semver::Version { major, minor, patch, .. } = version.semver();
    match (major, minor) {
        (0, 0) => format!("0.0.{}", patch + 1),
        (0, minor) => format!("0.{}.0", minor + 1),
        (major, _) => format!("{}.0.0", major + 1),
    }
}

/// Why a new version may not have its number beside these: it breaks what its predecessor promised, which is proven.
///
/// # Errors
/// `BREAKING_CHANGE`, with the first differences and the number to take instead.
pub fn keeps_promise<'m>(new: &Manifest, versions: impl IntoIterator<Item = &'m Manifest>) -> Result<(), Diagnosis> {
    let versions: Vec<&Manifest> = versions.into_iter().collect();
    let Some(old) = predecessor(new, versions.iter().copied()) else { return Ok(()) };
    let ((kind, name, version), (_, _, before)) = (new.name_version(), old.name_version());
    if !may_replace(before, version) {
        return Ok(());
    }
    let broken: Vec<(Side, Difference)> = changes(old, new)
        .into_iter()
        .flat_map(|change| match change.verdict {
            Verdict::Breaking(differences) => differences.into_iter().map(|it| (change.side, it)).collect(),
            Verdict::Compatible | Verdict::Undecided(_) => vec![],
        })
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = broken.iter().take(NAMED_MAX).map(|(side, it)| format!("its {side}, {it}")).collect();
    let more = broken.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let same = |it: &&Manifest| (it.name_version().0, it.name_version().1) == (kind, name);
    let highest = versions.iter().copied().filter(same).map(|it| it.name_version().2).max().unwrap_or(before);
    let next = next_breaking(highest.max(version));
    let kind = kind.to_lowercase();
    let message = format!("{kind} {name}@{version} breaks what {name}@{before} promised: {}{more}", told.join("; "));
    Err(Diagnosis::new(Code::BREAKING_CHANGE, message)
        .hint(format!("register it as {next}, or make `kapelle diff -f FILE` find nothing breaking")))
}
