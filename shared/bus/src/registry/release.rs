//! How the runs to come are shared out over the versions of an agent or a workflow: a record of its own beside the manifests,
//! under `release.agent.<name>` or `release.workflow.<name>`.
//!
//! Without a record every run gets the highest version. A record is only written over the one that its writer has seen, so
//! that of two who decide at once one hears of it; one that is taken away leaves a marker, so that no watch misses it.

use std::fmt;

use kapelle_types::{Principal, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::{Kind, Registry, Rollout};
use crate::Error;

/// What stands before the kind in a key.
const PREFIX: &str = "release.";
/// A share that is the whole, in hundredths of a percent.
const WHOLE: u16 = 10_000;
/// Versions that a release can be rolled back to, one after the other.
const BEFORE_MAX: usize = 20;

/// What a release is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// Agent or workflow.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl Subject {
    /// An agent.
    #[must_use]
    pub fn agent(name: &kapelle_types::AgentName) -> Self {
        Self { kind: Kind::Agent, name: name.to_string() }
    }

    /// A workflow.
    #[must_use]
    pub fn workflow(name: &kapelle_types::WorkflowName) -> Self {
        Self { kind: Kind::Workflow, name: name.to_string() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.prefix(), self.name)
    }
}

/// A share of all runs, in hundredths of a percent: 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Share(u16);

impl Share {
    /// So many percent, to a hundredth; `None` below 0, above 100 and for what is no number.
    #[must_use]
    pub fn percent(percentage: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
        (0.0..=100.0).contains(&percentage).then(|| Self((percentage * 100.0).round() as u16))
    }

    /// In percent.
    #[must_use]
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Whether it takes what a draw gave: any number, equally likely each.
    #[must_use]
    pub const fn takes(self, drawn: u64) -> bool {
        drawn % (WHOLE as u64) < self.0 as u64
    }

    /// Whether it is none of all.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u16> for Share {
    type Error = String;

    fn try_from(parts: u16) -> Result<Self, String> {
        if parts > WHOLE { Err(format!("{parts} of {WHOLE} is more than all")) } else { Ok(Self(parts)) }
    }
}

impl From<Share> for u16 {
    fn from(share: Share) -> Self {
        share.0
    }
}

/// A version that takes a share of the runs to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// Which.
    pub version: Version,
    /// How much of them.
    pub share: Share,
    /// How it goes on by itself; `None`: people decide each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<Rollout>>,
}

impl Ramp {
    /// One that people move.
    #[must_use]
    pub const fn by_hand(version: Version, share: Share) -> Self {
        Self { version, share, rollout: None }
    }

    /// One that goes on by itself.
    #[must_use]
    pub fn by_itself(version: Version, rollout: Rollout) -> Self {
        Self { version, share: rollout.share().unwrap_or_default(), rollout: Some(Box::new(rollout)) }
    }
}

/// The versions that runs to come get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The one that all get but those of the ramp.
    pub current: Version,
    /// The one that is being brought in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// What was current before, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Version>,
    /// Who decided it.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Release {
    /// With another current version; the one before is remembered. A ramp of the same version is over.
    #[must_use]
    pub fn with_current(mut self, version: Version) -> Self {
        if self.current != version {
            let before = std::mem::replace(&mut self.current, version);
            self.before.push(before);
            let too_many = self.before.len().saturating_sub(BEFORE_MAX);
            self.before.drain(..too_many);
        }
        self.ramp = self.ramp.filter(|ramp| ramp.version != self.current);
        self
    }

    /// One step back: without the ramp, or with what was current before; `None` where there is neither.
    #[must_use]
    pub fn rolled_back(mut self) -> Option<Self> {
        if self.ramp.take().is_none() {
            self.current = self.before.pop()?;
        }
        Some(self)
    }

    /// The version that is being brought in by itself, and how.
    #[must_use]
    pub fn rollout(&self) -> Option<(&Version, &Rollout)> {
        let ramp = self.ramp.as_ref()?;
        ramp.rollout.as_deref().map(|rollout| (&ramp.version, rollout))
    }

    /// Every version that gets runs.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.versions_for(true)
    }

    /// The versions that a run gets, the first that fits it: that of the ramp only if it is drawn for it.
    pub fn versions_for(&self, drawn: bool) -> impl Iterator<Item = &Version> {
        let ramp = self.ramp.as_ref().map(|ramp| &ramp.version).filter(|_| drawn);
        [ramp, Some(&self.current)].into_iter().flatten()
    }
}

/// A release, or that there is none, with the revision that the next one has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRelease {
    /// `None`: runs get the highest version.
    pub release: Option<Release>,
    /// Its revision, or that of the marker; 0 if there was never one.
    pub revision: u64,
}

impl Registry {
    /// The release of an agent or a workflow, by the word of the leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is none.
    pub async fn release(&self, subject: &Subject) -> Result<SeenRelease, Error> {
        let (bytes, revision) = self.beside(&key(subject)).await?;
        Ok(SeenRelease { release: bytes.as_deref().map(read).transpose()?, revision })
    }

    /// Writes a release over what was seen, or takes it away, and gives its revision.
    ///
    /// # Errors
    /// Refused with `NotFirst` if there is another one by now; [`Error::Unavailable`] while the broker is not ready.
    pub async fn route(&self, subject: &Subject, release: Option<&Release>, seen: u64) -> Result<u64, Error> {
        let bytes = release.map(serde_json::to_vec).transpose().map_err(|e| Error::Unreadable(e.to_string()))?;
        self.write_beside(&key(subject), bytes, seen).await
    }
}

fn key(subject: &Subject) -> String {
    format!("{PREFIX}{}.{}", subject.kind.prefix(), subject.name)
}

/// Whose release a key holds; `None` for other keys.
pub(super) fn subject(key: &str) -> Option<Subject> {
    let (kind, name) = key.strip_prefix(PREFIX)?.split_once('.')?;
    let kind = [Kind::Agent, Kind::Workflow].into_iter().find(|it| it.prefix() == kind)?;
    Some(Subject { kind, name: name.to_owned() })
}

pub(super) fn read(bytes: &[u8]) -> Result<Release, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Unreadable(format!("a release: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn release(current: &str) -> Release {
        let (by, at) = (Principal("ada".into()), Timestamp::from_nanos(0));
        Release { current: version(current), ramp: None, before: Vec::new(), by, at, why: String::new() }
    }

    #[test]
    fn a_key_names_what_is_released() {
        for kind in [Kind::Agent, Kind::Workflow] {
            let it = Subject { kind, name: "licence-review".into() };
            assert_eq!(subject(&key(&it)), Some(it));
        }
        for other in ["agent.read.1_0_0", "release.agent", "release.policy.read", "status.agent.read.1_0_0"] {
            assert_eq!(subject(other), None, "{other}");
        }
    }

    #[test]
    fn shares_are_whole_hundredths_of_a_percent() {
        for (percentage, parts) in [(0.0, 0), (0.01, 1), (12.5, 1_250), (33.333, 3_333), (100.0, 10_000)] {
            assert_eq!(Share::percent(percentage).map(u16::from), Some(parts), "{percentage}");
        }
        for percentage in [-0.1, 100.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::percent(percentage), None, "{percentage}");
        }
        let tenth = Share::percent(10.0).unwrap();
        assert_eq!((0..20_000_u64).filter(|drawn| tenth.takes(*drawn)).count(), 2_000);
        assert!(serde_json::from_str::<Share>("10001").is_err());
    }

    #[test]
    fn what_was_current_comes_back() {
        let second = release("1.0.0").with_current(version("2.0.0")).with_current(version("2.0.0"));
        assert_eq!((&second.current, &second.before), (&version("2.0.0"), &vec![version("1.0.0")]));
        let ramp = Some(Ramp::by_hand(version("3.0.0"), Share::percent(5.0).unwrap()));
        let ramping = Release { ramp, ..second.clone() };
        assert_eq!(ramping.versions().count(), 2);
        assert_eq!(ramping.clone().rolled_back(), Some(second.clone()), "first the ramp");
        assert_eq!(second.clone().rolled_back(), Some(release("1.0.0")));
        assert_eq!(release("1.0.0").rolled_back(), None);
        let promoted = ramping.with_current(version("3.0.0"));
        assert_eq!((promoted.ramp, promoted.before.len()), (None, 2));
    }

    #[test]
    fn so_many_are_remembered() {
        let last = (0..50).fold(release("1.0.0"), |it, n| it.with_current(version(&format!("2.{n}.0"))));
        assert_eq!((last.before.len(), &last.before[0]), (BEFORE_MAX, &version("2.29.0")));
    }
}
