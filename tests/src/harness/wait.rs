//! Waiting for conditions, never for time, and never for ever.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The longest that any condition is waited for: several times what a busy machine with two cores was seen to need.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    within(PATIENCE, what, ask).await
}

/// The same with a bound of one's own.
pub(super) async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Whether this is a long run (`make chaos`): sizes are multiplied.
#[must_use]
pub fn is_chaos() -> bool {
    std::env::var_os("KAPELLE_CHAOS").is_some_and(|v| !v.is_empty() && v != "0")
}
