//! Whether a version that is brought in keeps to its limits, by what it did at its stage.
//!
//! "Too little was seen" is an answer of its own, and never a yes: a stage that nobody can judge does not pass. A version that
//! fails far too often is not watched to the end of its pause: it is out as soon as its failures can hardly be chance.

use std::fmt;
use std::time::Duration;

use kapelle_bus::registry::{Baseline, Kind, Limits};
use kapelle_types::Version;

use super::tally::Tally;

/// How many standard deviations a failure rate is from what can be chance: one in two hundred.
const Z: f64 = 2.576;

/// What is judged.
pub(super) struct Evidence<'e> {
    pub(super) kind: Kind,
    /// The version that is brought in, and what it did.
    pub(super) candidate: (&'e Version, &'e Tally),
    /// The one in whose place it is to come.
    pub(super) current: (&'e Version, &'e Tally),
    /// What that one did at an earlier stage.
    pub(super) baseline: Option<Baseline>,
    /// Whether the stage has lasted long enough.
    pub(super) due: bool,
}

/// What is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It keeps to all limits.
    Pass(String),
    /// It does not keep to one.
    Fail(String),
    /// That cannot be said yet.
    Inconclusive(String),
}

impl Verdict {
    /// How it is called.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Inconclusive(_) => "inconclusive",
        }
    }

    /// What it rests on.
    pub(crate) fn reason(&self) -> &str {
        let (Self::Pass(reason) | Self::Fail(reason) | Self::Inconclusive(reason)) = self;
        reason
    }

    /// Both: what fails fails, what is open keeps the other open.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Pass(a), Self::Pass(b)) => Self::Pass(format!("{a}; {b}")),
            (fail @ Self::Fail(_), _) | (_, fail @ Self::Fail(_)) => fail,
            (open @ Self::Inconclusive(_), _) | (_, open @ Self::Inconclusive(_)) => open,
        }
    }
}

/// Judges a version by its limits.
pub(super) fn judge(limits: &Limits, evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = failures(limits, evidence);
    if let Some(limit) = limits.latency {
        let of = |it: &Tally| it.p95().map(|p95| u64::try_from(p95.as_micros()).unwrap_or(u64::MAX));
        let compared = Compared { what: "p95", limit: limit.as_times(), of, remembered: |it| it.p95_us, show: micros };
        verdict = verdict.and(compared.judge(limits, evidence));
    }
    if let Some(limit) = limits.cost {
        let limit = limit.as_times();
        let of = Tally::mean_cost_nanos;
        let compared = Compared { what: "mean cost", limit, of, remembered: |it| it.cost_nanos, show: dollars };
        verdict = verdict.and(compared.judge(limits, evidence));
    }
    verdict
}

/// Whether few enough failed.
fn failures(limits: &Limits, evidence: &Evidence<'_>) -> Verdict {
    let (_, tally) = evidence.candidate;
    let (seen, failed, limit) = (tally.seen(), tally.failed, limits.error_rate.as_percent());
    let rate = percent(failed, seen);
    let unit = Unit(evidence.kind);
    let told = format!("{failed} of {seen} {unit} failed: {rate:.1} %, at most {limit} %");
    if seen > 0 && 100.0 * at_least(failed, seen) > limit {
        return Verdict::Fail(told);
    }
    if seen < u64::from(limits.seen_min) {
        return Verdict::Inconclusive(format!("{seen} of {} {unit} seen", limits.seen_min));
    }
    match (rate > limit, evidence.due) {
        (false, _) => Verdict::Pass(told),
        (true, true) => Verdict::Fail(told),
        (true, false) => Verdict::Inconclusive(format!("{told}; it is watched to the end of its pause")),
    }
}

/// A number that is compared with the current version's.
struct Compared {
    what: &'static str,
    /// How many times as much it may be.
    limit: f64,
    of: fn(&Tally) -> Option<u64>,
    remembered: fn(Baseline) -> u64,
    show: fn(u64) -> String,
}

impl Compared {
    fn judge(&self, limits: &Limits, evidence: &Evidence<'_>) -> Verdict {
        let Self { what, limit, of, remembered, show } = self;
        let least = u64::from(limits.seen_min);
        let ((_, candidate), (version, current)) = (evidence.candidate, evidence.current);
        let enough = |tally: &Tally| tally.succeeded >= least;
        let Some(new) = of(candidate).filter(|_| enough(candidate)) else {
            let unit = Unit(evidence.kind);
            return Verdict::Inconclusive(format!("{} of {least} {unit} that succeeded seen", candidate.succeeded));
        };
        let seen = of(current).filter(|_| enough(current)).or_else(|| evidence.baseline.map(remembered));
        let Some(old) = seen else {
            let unit = Unit(evidence.kind);
            return Verdict::Inconclusive(format!(
                "nothing to compare the {what} with: {} of {least} {unit} of {version} that succeeded seen",
                current.succeeded
            ));
        };
        #[expect(clippy::cast_precision_loss, reason = "a ratio that people read")]
        let times = if new == 0 { 0.0 } else { new as f64 / old as f64 };
        let told = format!("{what} {}, {times:.2} times {} of {version}; at most {limit}", show(new), show(old));
        match (times > *limit, evidence.due) {
            (false, _) => Verdict::Pass(told),
            (true, true) => Verdict::Fail(told),
            (true, false) => Verdict::Inconclusive(format!("{told}; it is watched to the end of its pause")),
        }
    }
}

/// What is counted.
struct Unit(Kind);

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Agent => "attempts",
            Kind::Workflow => "runs",
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage that people read")]
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { 100.0 * part as f64 / all as f64 }
}

/// The failure rate that is behind so many failures at the least: the lower end of Wilson's interval (E. B. Wilson, 1927,
/// doi:10.1080/01621459.1927.10502953), 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn at_least(failed: u64, seen: u64) -> f64 {
    if failed == 0 {
        return 0.0;
    }
    let (n, p, zz) = (seen as f64, failed as f64 / seen as f64, Z * Z);
    let centre = p + zz / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
    (centre - spread) / (1.0 + zz / n)
}

fn micros(micros: u64) -> String {
    let took = Duration::from_micros(micros);
    match took.as_millis() {
        0 => format!("{micros} µs"),
        ms @ 1..10_000 => format!("{ms} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "an amount that people read")]
fn dollars(nanos: u64) -> String {
    format!("${:.6}", nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use kapelle_bus::registry::{Ratio, Share};
    use kapelle_types::Usd;

    use super::*;

    fn tally(succeeded: u64, failed: u64, took_ms: u64, cents: u64) -> Tally {
        let mut tally = Tally::default();
        (0..succeeded).for_each(|_| tally.ended(true, Duration::from_millis(took_ms)));
        (0..failed).for_each(|_| tally.ended(false, Duration::from_millis(1)));
        tally.cost(Usd::from_micros(10_000 * cents * (succeeded + failed)));
        tally
    }

    fn limits(error_rate: f64, latency: Option<f64>, cost: Option<f64>) -> Limits {
        let ratio = |times: Option<f64>| times.map(|it| Ratio::times(it).unwrap());
        let error_rate = Share::percent(error_rate).unwrap();
        Limits { seen_min: 20, error_rate, latency: ratio(latency), cost: ratio(cost) }
    }

    fn found(limits: &Limits, candidate: &Tally, current: &Tally, baseline: Option<Baseline>, due: bool) -> String {
        let (new, old): (Version, Version) = ("2.0.0".parse().unwrap(), "1.0.0".parse().unwrap());
        let (candidate, current) = ((&new, candidate), (&old, current));
        let verdict = judge(limits, &Evidence { kind: Kind::Agent, candidate, current, baseline, due });
        format!("{}: {}", verdict.name(), verdict.reason())
    }

    #[test]
    fn too_little_is_no_pass_and_far_too_many_failures_are_not_watched() {
        let (none, five) = (limits(0.0, None, None), limits(5.0, None, None));
        let other = Tally::default();
        for (limits, candidate, due, expected) in [
            (five, tally(0, 0, 0, 0), true, "inconclusive: 0 of 20 attempts seen"),
            (five, tally(19, 0, 9, 0), true, "inconclusive: 19 of 20 attempts seen"),
            (five, tally(20, 0, 9, 0), true, "pass: 0 of 20 attempts failed: 0.0 %, at most 5 %"),
            (five, tally(18, 2, 9, 0), true, "fail: 2 of 20 attempts failed: 10.0 %, at most 5 %"),
            (
                five,
                tally(18, 2, 9, 0),
                false,
                "inconclusive: 2 of 20 attempts failed: 10.0 %, at most 5 %; it is watched to the end of its pause",
            ),
            (five, tally(0, 1, 9, 0), false, "fail: 1 of 1 attempts failed: 100.0 %, at most 5 %"),
            (five, tally(4, 1, 9, 0), false, "inconclusive: 5 of 20 attempts seen"),
            (five, tally(6, 4, 9, 0), false, "fail: 4 of 10 attempts failed: 40.0 %, at most 5 %"),
            (five, tally(1_900, 100, 9, 0), true, "pass: 100 of 2000 attempts failed: 5.0 %, at most 5 %"),
            (none, tally(999, 1, 9, 0), false, "fail: 1 of 1000 attempts failed: 0.1 %, at most 0 %"),
        ] {
            assert_eq!(found(&limits, &candidate, &other, None, due), expected);
        }
    }

    #[test]
    fn time_and_money_are_compared_with_what_is_current_now_or_was_before() {
        let both = limits(5.0, Some(1.5), Some(2.0));
        let before = Some(Baseline { p95_us: 100_000, cost_nanos: 10_000_000 });
        let alike = tally(40, 0, 100, 1);
        let starts = |candidate: &Tally, current: &Tally, baseline, expected: &str| {
            let found = found(&both, candidate, current, baseline, true);
            assert!(found.contains(expected), "{found} does not contain {expected}");
        };
        starts(&alike, &alike, None, "pass: 0 of 40 attempts failed");
        starts(&tally(40, 0, 200, 1), &alike, None, "fail: p95 ");
        starts(&tally(40, 0, 200, 1), &alike, None, "times ");
        starts(
            &tally(40, 0, 100, 3),
            &alike,
            None,
            "fail: mean cost $0.030000, 3.00 times $0.010000 of 1.0.0; at most 2",
        );
        starts(&alike, &tally(3, 0, 1, 1), None, "inconclusive: nothing to compare the p95 with: 3 of 20");
        starts(&alike, &tally(3, 0, 1, 1), before, "pass");
        starts(&tally(40, 0, 200, 1), &Tally::default(), before, "fail: p95");
        starts(&tally(25, 75, 100, 1), &alike, None, "fail: 75 of 100 attempts failed");
        starts(&tally(19, 1, 100, 1), &alike, None, "inconclusive: 19 of 20 attempts that succeeded seen");
        // What was free and is not any more is more than any number of times as much.
        starts(&alike, &tally(40, 0, 100, 0), None, "fail: mean cost");
        starts(&tally(40, 0, 100, 0), &tally(40, 0, 100, 0), None, "pass");
    }

    #[test]
    fn few_failures_of_few_say_little() {
        assert_eq!(at_least(0, 10), 0.0);
        assert!(at_least(1, 2) < 0.1 && at_least(50, 100) > 0.35 && at_least(50, 100) < 0.5);
        assert!(at_least(1, 1) > 0.1, "one of one is enough only where few may fail");
    }
}
