//! What an attempt has used up so far, held against the limits of its task while it runs.
//!
//! ```text
//!   progress lines, progress calls, the answer ──running totals──▶ meter ──above a limit, or no totals──▶ the attempt ends
//!                                                                    └── whatever becomes of it: into the report
//! ```
//!
//! Agents are believed what they say that they used; one that says nothing is held to nothing but its time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kapelle_engine::{Failure, TaskLimits, Usage};
use kapelle_types::{Code, Usd};
use tokio::sync::Notify;

use crate::failure;

/// The usage of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    limits: TaskLimits,
    seen: Mutex<Seen>,
    over: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    usage: Usage,
    verdict: Option<Failure>,
}

impl Meter {
    pub(crate) fn new(limits: TaskLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The latest totals that made sense.
    pub(crate) fn usage(&self) -> Usage {
        self.seen().usage
    }

    /// Takes in what the agent says that it has used up since its task began.
    ///
    /// # Errors
    /// The failure of the attempt: a limit is exceeded, or these are no totals.
    pub(crate) fn take(&self, usage: Usage) -> Result<(), Failure> {
        let mut seen = self.seen();
        if seen.verdict.is_none() {
            match nonsense(&seen.usage, &usage) {
                Some(what) => {
                    let message = format!("the agent says that it used {what}");
                    seen.verdict = Some(failure::transient(Code::AGENT_GARBAGE, message));
                }
                None => {
                    seen.usage = usage;
                    let exceeded = self.limits.exceeded_by(&usage);
                    seen.verdict = exceeded.map(|(code, why)| failure::permanent(code, why));
                }
            }
        }
        match &seen.verdict {
            None => Ok(()),
            Some(failure) => {
                self.over.notify_one();
                Err(failure.clone())
            }
        }
    }

    /// Waits until there is a reason to end the attempt.
    pub(crate) async fn over(&self) -> Failure {
        loop {
            if let Some(failure) = self.seen().verdict.clone() {
                return failure;
            }
            self.over.notified().await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing in here panics half-way, so what is there is whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with totals that come after others.
fn nonsense(before: &Usage, now: &Usage) -> Option<&'static str> {
    let Some(cost) = Usd::reported(now.cost_usd) else { return Some("a cost that is no amount of money") };
    let less = cost < Usd::reported(before.cost_usd).unwrap_or_default()
        || now.input_tokens < before.input_tokens
        || now.output_tokens < before.output_tokens
        || now.tool_calls < before.tool_calls;
    less.then_some("less than it said before, and usage is counted from the task's beginning")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_rise_until_a_limit_is_exceeded() {
        let meter = Meter::new(TaskLimits { tokens: Some(10), tool_calls: Some(0), ..TaskLimits::default() });
        let usage = Usage { cost_usd: 0.1, input_tokens: 6, output_tokens: 4, tool_calls: 0 };
        assert_eq!(meter.take(usage), Ok(()));
        assert_eq!(meter.take(usage), Ok(()));
        let more = Usage { output_tokens: 5, ..usage };
        let failure = meter.take(more).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable, meter.usage()), ("K0415", false, more));
        assert_eq!(meter.take(usage), Err(failure), "what has ended stays so");
        let calls = Meter::new(meter.limits).take(Usage { tool_calls: 1, ..Usage::default() }).unwrap_err();
        assert_eq!(calls.code, "K0416");
    }

    #[test]
    fn what_makes_no_sense_is_garbage_and_not_kept() {
        let first = Usage { cost_usd: 0.5, input_tokens: 5, output_tokens: 5, tool_calls: 5 };
        for bad in [
            Usage { cost_usd: -1.0, ..first },
            Usage { cost_usd: f64::NAN, ..first },
            Usage { cost_usd: 0.4, ..first },
            Usage { input_tokens: 4, ..first },
            Usage { output_tokens: 4, ..first },
            Usage { tool_calls: 4, ..first },
        ] {
            let meter = Meter::default();
            assert_eq!(meter.take(first), Ok(()));
            assert_eq!(meter.take(bad).unwrap_err().code, "K0403", "{bad:?}");
            assert_eq!(meter.usage(), first);
        }
    }
}
