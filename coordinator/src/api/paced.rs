//! Many things, one after another, at a bounded rate.

use std::time::Duration;

use futures::{Stream, stream};
use tokio::time::{MissedTickBehavior, interval};

/// The items, of which each is worth `worth` of so many that come in a second: what was missed is not made up for.
pub(super) fn paced<T>(items: Vec<T>, per_second: u32, worth: impl Fn(&T) -> usize) -> impl Stream<Item = T> {
    let mut turns = interval(Duration::from_secs(1) / per_second.max(1));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let items: Vec<_> = items.into_iter().map(|item| (worth(&item), item)).collect();
    stream::unfold((items.into_iter(), turns), |(mut items, mut turns)| async move {
        let (worth, item) = items.next()?;
        for _ in 0..worth {
            turns.tick().await;
        }
        Some((item, (items, turns)))
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    async fn came(items: Vec<u32>, worth: usize) -> Vec<(u32, u128)> {
        let begun = tokio::time::Instant::now();
        paced(items, 10, |_| worth).map(|n| (n, begun.elapsed().as_millis())).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_its_share() {
        let all = came((0..25).collect(), 1).await;
        assert!(all.iter().map(|it| it.0).eq(0..25), "{all:?}");
        assert_eq!((all[0].1, all[10].1, all[24].1), (0, 1_000, 2_400), "{all:?}");
        assert_eq!(came(vec![7, 8], 5).await, [(7, 400), (8, 900)]);
    }
}
