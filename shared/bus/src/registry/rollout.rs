//! How a ramp goes on by itself: share after share, as long as what the version does stays within limits.
//!
//! ```text
//!   stage 1 ──pause over, within limits──▶ stage 2 ──▶ … ──▶ last ──▶ the version is current
//!      │  └─── too little seen: waits ───┘    │
//!      └──────── outside of a limit ──────────┴──▶ the ramp is over, and says why
//! ```
//!
//! Here is what is kept of it; who looks at what versions do, and decides, is the coordinator's business.

use std::time::Duration;

use kapelle_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::Share;

/// Stages that a rollout can have.
const STAGES_MAX: usize = 20;
/// The longest pause of one stage.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The least that has to be seen of a version at a stage can be no more than this.
const SEEN_MAX: u32 = 1_000_000;

/// How many times as much as what is current needs, in hundredths: 0.01 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ratio(u16);

impl Ratio {
    /// So many times, to a hundredth; `None` outside of 0.01 to 100.
    #[must_use]
    pub fn times(times: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10,000")]
        (0.01..=100.0).contains(&times).then(|| Self((times * 100.0).round() as u16))
    }

    /// How many times.
    #[must_use]
    pub fn as_times(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

/// A share that is kept for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// How many of the runs get the version.
    pub share: Share,
    /// For how long at least, in milliseconds; `None`: until somebody lets it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u64>,
}

/// What a version that is brought in has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How much has to be seen at each stage before it is judged: attempts of an agent, runs of a workflow.
    pub seen_min: u32,
    /// How many of them may fail.
    pub error_rate: Share,
    /// How long they may take, of which 95 of 100 are quicker, compared with those of the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Ratio>,
    /// What they may cost on average, compared with the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Ratio>,
}

/// What the current version did while it still had runs: what is compared with where all runs get the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// 95 of 100 took no longer, in microseconds.
    pub p95_us: u64,
    /// What they cost on average, in billionths of a dollar.
    pub cost_nanos: u64,
}

/// A ramp that goes on by itself, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Shares that rise.
    pub stages: Vec<Stage>,
    /// What has to be kept to.
    pub limits: Limits,
    /// The stage that it is at, from 0.
    pub stage: usize,
    /// Since when it is there.
    pub since: Timestamp,
    /// Somebody holds it there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Somebody let it go on from a stage that has no end of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_go: bool,
    /// As it was seen at the last stage that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

impl Rollout {
    /// One that begins now.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence: none or too many stages, shares that do not rise, a pause that is too long,
    /// limits that can never be kept to or judged.
    pub fn begin(stages: Vec<Stage>, limits: Limits, now: Timestamp) -> Result<Self, String> {
        if stages.is_empty() || stages.len() > STAGES_MAX {
            return Err(format!("there are {} stages; 1 to {STAGES_MAX} can be", stages.len()));
        }
        if stages[0].share.is_none() {
            return Err("a share of 0 shows nothing".to_owned());
        }
        if let Some(pair) = stages.windows(2).find(|pair| pair[0].share >= pair[1].share) {
            let [before, after] = [pair[0].share.as_percent(), pair[1].share.as_percent()];
            return Err(format!("{after} % does not follow {before} %: shares rise from stage to stage"));
        }
        if stages.iter().filter_map(|it| it.pause_ms).any(|ms| Duration::from_millis(ms) > PAUSE_MAX) {
            return Err(format!("a stage lasts {} days at most", PAUSE_MAX.as_secs() / 86_400));
        }
        if !(1..=SEEN_MAX).contains(&limits.seen_min) {
            return Err(format!("1 to {SEEN_MAX} can be asked to be seen, not {}", limits.seen_min));
        }
        Ok(Self { stages, limits, stage: 0, since: now, paused: false, let_go: false, baseline: None })
    }

    /// The share of its stage.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.stages.get(self.stage).map(|it| it.share)
    }

    /// When its stage has lasted long enough; `None` while somebody has to let it go on.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        let stage = self.stages.get(self.stage).filter(|_| !self.paused)?;
        match stage.pause_ms {
            Some(ms) => Some(self.since.plus(Duration::from_millis(ms))),
            None => self.let_go.then_some(self.since),
        }
    }

    /// At its next stage; `None` if this was the last.
    #[must_use]
    pub fn next(&self, now: Timestamp, baseline: Option<Baseline>) -> Option<Self> {
        let stage = self.stage + 1;
        let baseline = baseline.or(self.baseline);
        (stage < self.stages.len()).then(|| Self { stage, since: now, let_go: false, baseline, ..self.clone() })
    }

    /// Held where it is; `None` if it is held already.
    #[must_use]
    pub fn pause(&self) -> Option<Self> {
        (!self.paused).then(|| Self { paused: true, ..self.clone() })
    }

    /// Held no more, or let go from a stage that has no end of its own; `None` if neither is so.
    #[must_use]
    pub fn resume(&self) -> Option<Self> {
        let endless = self.stages.get(self.stage).is_some_and(|it| it.pause_ms.is_none()) && !self.let_go;
        match (self.paused, endless) {
            (true, _) => Some(Self { paused: false, ..self.clone() }),
            (false, true) => Some(Self { let_go: true, ..self.clone() }),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(shares: &[(f64, Option<u64>)]) -> Vec<Stage> {
        let stage =
            |(share, pause_ms): &(f64, _)| Stage { share: Share::percent(*share).unwrap(), pause_ms: *pause_ms };
        shares.iter().map(stage).collect()
    }

    fn limits() -> Limits {
        Limits { seen_min: 20, error_rate: Share::percent(5.0).unwrap(), latency: None, cost: Ratio::times(1.5) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn stages_follow_one_another() {
        let first = Rollout::begin(stages(&[(1.0, Some(60_000)), (10.0, None)]), limits(), at(0)).unwrap();
        assert_eq!((first.share(), first.due()), (Share::percent(1.0), Some(at(60))));
        let baseline = Some(Baseline { p95_us: 7, cost_nanos: 9 });
        let second = first.next(at(100), baseline).unwrap();
        assert_eq!((second.share(), second.due(), second.baseline), (Share::percent(10.0), None, baseline));
        let gone = second.resume().unwrap();
        assert_eq!((gone.due(), gone.resume()), (Some(at(100)), None));
        assert_eq!(gone.next(at(200), None), None, "it was the last");
    }

    #[test]
    fn whoever_pauses_it_holds_it() {
        let first = Rollout::begin(stages(&[(1.0, Some(60_000)), (10.0, None)]), limits(), at(0)).unwrap();
        let held = first.pause().unwrap();
        assert_eq!((held.due(), held.pause()), (None, None));
        assert_eq!(held.resume(), Some(first.clone()));
        assert_eq!(first.resume(), None, "its pause ends by itself");
        let endless = first.next(at(60), None).and_then(|it| it.pause()).unwrap();
        let resumed = endless.resume().unwrap();
        assert_eq!((resumed.paused, resumed.let_go), (false, false), "one word undoes one");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let begin = |shares: &[(f64, Option<u64>)], limits| Rollout::begin(stages(shares), limits, at(0));
        for (shares, part) in [
            (&[][..], "0 stages"),
            (&[(0.0, None)], "a share of 0"),
            (&[(10.0, None), (5.0, None)], "5 % does not follow 10 %"),
            (&[(10.0, None), (10.0, None)], "does not follow"),
            (&[(1.0, Some(u64::MAX))], "30 days"),
        ] {
            let refused = begin(shares, limits()).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
        let many: Vec<_> = (1..=21).map(|n| (f64::from(n), None)).collect();
        assert!(begin(&many, limits()).unwrap_err().contains("21 stages"));
        for seen_min in [0, SEEN_MAX + 1] {
            assert!(begin(&[(1.0, None)], Limits { seen_min, ..limits() }).is_err());
        }
    }

    #[test]
    fn ratios_are_hundredths() {
        assert_eq!(Ratio::times(1.25).map(Ratio::as_times), Some(1.25));
        for times in [0.0, 0.004, 100.1, f64::NAN] {
            assert_eq!(Ratio::times(times), None, "{times}");
        }
    }
}
