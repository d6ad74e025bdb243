//! How much harm an agent can do, in the tiers of the EU AI Act: what its owner declares, not what it was found to be.

use std::fmt;

use serde::Serialize;

use crate::issue::Issue;
use crate::read::{Issues, Part};

/// A tier of risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing beyond what any program owes.
    Minimal,
    /// People have to know that a machine does it (Article 50).
    Limited,
    /// It decides on people's safety, rights or livelihood (Article 6, Annex III).
    High,
}

impl Risk {
    /// Every tier that an agent may have.
    pub const ALL: [Self; 3] = [Self::Minimal, Self::Limited, Self::High];
    /// The tier of practices that Article 5 prohibits.
    const UNACCEPTABLE: &str = "unacceptable";

    /// As manifests have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Limited => "limited",
            Self::High => "high",
        }
    }

    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        if part.value == Self::UNACCEPTABLE {
            let message = "an agent whose risk is unacceptable is prohibited in the EU and is not registered";
            let hint =
                "`minimal`, `limited` and `high` may run; ask whoever answers for compliance which of them it is";
            issues.push(Issue::rule(&part.pointer, message).label("prohibited").hint(hint));
            return None;
        }
        part.word(&Self::ALL.map(|it| (it.name(), it)), issues)
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
