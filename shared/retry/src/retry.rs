//! The loop: try, judge the error, wait, try again.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::{Delays, Policy};

/// What an error means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go well next time.
    Retry,
    /// The other side asked for at least this delay. It may be longer than the policy's `max`; it cannot pass `total`.
    RetryAfter(Duration),
    /// It will not go well next time either.
    Stop,
}

/// Why there was no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The error was judged final.
    Stopped,
    /// The policy's attempts are used up.
    Attempts,
    /// The next attempt would start after the policy's total time.
    Total,
}

/// The last error of something that was tried as often as it was worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaveUp<E> {
    /// What the last attempt ended with.
    pub error: E,
    /// How many attempts there were.
    pub attempts: u32,
    /// The time from the start of the first to the end of the last.
    pub elapsed: Duration,
    /// Why there was no further one.
    pub reason: Reason,
}

impl<E: fmt::Display> fmt::Display for GaveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts <= 1 {
            return self.error.fmt(f);
        }
        write!(f, "{} (after {} attempts in {:.1} s)", self.error, self.attempts, self.elapsed.as_secs_f64())
    }
}

impl<E: std::error::Error + 'static> std::error::Error for GaveUp<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source() // the error itself is in the text already
    }
}

/// Runs `attempt` until it succeeds, `classify` says stop, or the policy's attempts or total time are used up.
///
/// `attempt` is called with its number, from 1, after the delay, so that a timeout built in it starts when it is due.
///
/// # Errors
/// The last attempt's error, with why there was no further one.
pub async fn retry<T, E, F, Fut>(
    policy: &Policy,
    classify: impl Fn(&E) -> Verdict,
    mut attempt: F,
) -> Result<T, GaveUp<E>>
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    let mut delays = Delays::new(policy);
    let mut attempts = 0u32;
    loop {
        attempts = attempts.saturating_add(1);
        let error = match attempt(attempts).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let elapsed = start.elapsed();
        let delay = match classify(&error) {
            Verdict::Stop => return Err(GaveUp { error, attempts, elapsed, reason: Reason::Stopped }),
            Verdict::Retry => delays.next(),
            Verdict::RetryAfter(asked) => delays.next().max(asked),
        };
        if policy.attempts.is_some_and(|most| attempts >= most) {
            return Err(GaveUp { error, attempts, elapsed, reason: Reason::Attempts });
        }
        if policy.total.is_some_and(|total| elapsed.saturating_add(delay) > total) {
            return Err(GaveUp { error, attempts, elapsed, reason: Reason::Total });
        }
        debug!(attempts, delay_ms = delay.as_millis(), "trying again");
        sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn policy() -> Policy {
        Policy { initial: ms(50), multiplier: 2.0, max: ms(100), jitter: 0.0, attempts: None, total: Some(ms(1_000)) }
    }

    /// Retries something that always fails; the virtual milliseconds at which its attempts started, and the end.
    async fn failing(policy: &Policy, verdict: Verdict) -> (Vec<u128>, GaveUp<&'static str>) {
        let start = Instant::now();
        let starts = RefCell::new(Vec::new());
        let ended = retry(
            policy,
            |_| verdict,
            |_| {
                starts.borrow_mut().push(start.elapsed().as_millis());
                async { Err::<(), _>("no") }
            },
        )
        .await;
        (starts.into_inner(), ended.unwrap_err())
    }

    #[tokio::test(start_paused = true)]
    async fn success_ends_it() {
        let third = |n| async move { if n < 3 { Err("no") } else { Ok(n) } };
        assert_eq!(retry(&policy(), |_| Verdict::Retry, third).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_error_ends_it() {
        let (starts, gave_up) = failing(&policy(), Verdict::Stop).await;
        assert_eq!((starts, gave_up.reason), (vec![0], Reason::Stopped));
        assert_eq!(gave_up.to_string(), "no");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_counted() {
        for most in [1, 3] {
            let (starts, gave_up) = failing(&Policy { attempts: Some(most), ..policy() }, Verdict::Retry).await;
            assert_eq!((starts.len(), gave_up.attempts, gave_up.reason), (most as usize, most, Reason::Attempts));
        }
        let (_, gave_up) = failing(&policy(), Verdict::RetryAfter(ms(400))).await;
        assert_eq!(gave_up.to_string(), "no (after 3 attempts in 0.8 s)");
    }

    /// Defect 1 of the package: a delay that the error asks for bypasses its deadline; 71 attempts were made.
    #[tokio::test(start_paused = true)]
    async fn an_asked_delay_cannot_pass_the_total_time() {
        let short = Policy { total: Some(ms(120)), ..policy() };
        let (starts, gave_up) = failing(&short, Verdict::RetryAfter(ms(20))).await;
        assert_eq!((starts, gave_up.reason), (vec![0, 50], Reason::Total));
        let (starts, gave_up) = failing(&short, Verdict::RetryAfter(Duration::MAX)).await;
        assert_eq!((starts, gave_up.reason), (vec![0], Reason::Total));
        assert_eq!(gave_up.elapsed, Duration::ZERO, "it is not waited for in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn an_asked_delay_may_exceed_the_schedule() {
        let (starts, _) = failing(&policy(), Verdict::RetryAfter(ms(400))).await;
        assert_eq!(starts, [0, 400, 800]);
    }

    /// Defect 2 of the package: the next attempt is built before the delay, so a timeout in it has run out when polled.
    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_built_after_the_delay() {
        let slow = Policy { initial: ms(200), max: ms(200), ..policy() };
        let done = retry(
            &slow,
            |_: &&str| Verdict::Retry,
            |n| {
                let work = async move {
                    sleep(ms(5)).await;
                    if n == 1 { Err("first") } else { Ok(n) }
                };
                let bounded = tokio::time::timeout(ms(100), work);
                async move { bounded.await.unwrap_or(Err("spurious timeout")) }
            },
        );
        assert_eq!(done.await, Ok(2));
    }

    /// Defect 3 of the package: its time is not tokio's, so under a paused clock its deadline never comes.
    #[tokio::test(start_paused = true)]
    async fn total_time_passes_under_a_paused_clock() {
        let (starts, gave_up) = failing(&Policy { total: Some(ms(500)), ..policy() }, Verdict::Retry).await;
        assert_eq!(starts, [0, 50, 150, 250, 350, 450]);
        assert_eq!((gave_up.reason, gave_up.elapsed), (Reason::Total, ms(450)));
    }

    /// Defect 4 of the package: jitter lifts a delay above the cap. (`Delays` is tested on its own; this is the loop.)
    #[tokio::test(start_paused = true)]
    async fn no_wait_is_longer_than_the_cap() {
        let (starts, _) = failing(&Policy { jitter: 1.0, total: Some(ms(60_000)), ..policy() }, Verdict::Retry).await;
        assert!(starts.len() > 600, "{}", starts.len());
        // A millisecond more: tokio's timers have that grain.
        assert!(starts.windows(2).all(|w| w[1] - w[0] <= 101), "{starts:?}");
    }
}
