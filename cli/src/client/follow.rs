//! Following a run to its end over coordinators that come and go.
//!
//! The run is durable and so is waiting for it: when the stream breaks, it is opened again until the coordinator has been
//! away for longer than a restart or a fail-over takes.

use std::time::Duration;

use kapelle_proto::v1;
use kapelle_retry::{Delays, Policy};
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::{Client, is_transient};
use crate::failure::Failure;
use crate::view;

/// How long a coordinator may be away before waiting for the run is given up.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// When to stop following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// When the run is over or STALLED: it does not go on by itself.
    Settled,
    /// When the run is over. A STALLED run may be mended while we watch.
    Final,
}

/// Shows each state of the run to `seen` and gives the last one.
pub(crate) async fn follow(
    client: &Client,
    run_id: &str,
    until: Until,
    mut seen: impl FnMut(&v1::RunView) -> Result<(), Failure>,
) -> Result<v1::RunView, Failure> {
    let policy = Policy { total: None, ..Policy::default() };
    let mut delays = Delays::new(&policy);
    let mut last_sign = Instant::now();
    loop {
        let broke = match client.runs().watch(v1::WatchRunRequest { run_id: run_id.to_owned() }).await {
            Err(status) => status,
            Ok(answer) => {
                let mut views = answer.into_inner();
                loop {
                    match views.message().await {
                        Ok(Some(view)) => {
                            last_sign = Instant::now();
                            delays.reset();
                            seen(&view)?;
                            if is_done(until, view.status) {
                                return Ok(view);
                            }
                        }
                        // It ended the stream (because it stops, say) before the run ended.
                        Ok(None) => break Status::unavailable("the coordinator ended the stream"),
                        Err(status) => break status,
                    }
                }
            }
        };
        if !is_transient(&broke) || last_sign.elapsed() > AWAY_MAX {
            return Err(client.failure(broke));
        }
        tracing::debug!(%broke, run_id, "watching again");
        sleep(delays.next()).await;
    }
}

fn is_done(until: Until, status: i32) -> bool {
    match until {
        Until::Settled => view::is_settled(status),
        Until::Final => view::is_final(status),
    }
}
