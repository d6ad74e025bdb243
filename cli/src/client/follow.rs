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
    let mut patience = Patience::new(run_id);
    loop {
        let broke = match client.runs().watch(v1::WatchRunRequest { run_id: run_id.to_owned() }).await {
            Err(status) => status,
            Ok(answer) => {
                let mut views = answer.into_inner();
                loop {
                    match views.message().await {
                        Ok(Some(view)) => {
                            patience.renew();
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
        patience.again(client, broke).await?;
    }
}

/// Shows what the run's models write to `heard` until the run is over, and gives how it stands then.
pub(crate) async fn follow_text(
    client: &Client,
    request: &v1::WatchTextRequest,
    mut heard: impl FnMut(v1::TextPiece) -> Result<(), Failure>,
) -> Result<v1::RunView, Failure> {
    let mut patience = Patience::new(&request.run_id);
    loop {
        let broke = match client.runs().watch_text(request.clone()).await {
            Err(status) => status,
            Ok(answer) => {
                let (mut pieces, opened) = (answer.into_inner(), Instant::now());
                let ended = loop {
                    match pieces.message().await {
                        Ok(Some(piece)) => {
                            patience.renew();
                            heard(piece)?;
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                };
                patience.was_there(opened);
                match ended {
                    Some(status) => status,
                    // The run is over, or the coordinator stops: the run itself says which.
                    None => match client.runs().get(v1::GetRunRequest { run_id: request.run_id.clone() }).await {
                        Ok(view) if view::is_final(view.get_ref().status) => return Ok(view.into_inner()),
                        Ok(_) => Status::unavailable("the coordinator ended the stream"),
                        Err(status) => status,
                    },
                }
            }
        };
        patience.again(client, broke).await?;
    }
}

/// How long we have been without an answer, and when we ask again.
struct Patience<'r> {
    run_id: &'r str,
    delays: Delays,
    last_sign: Instant,
}

impl<'r> Patience<'r> {
    fn new(run_id: &'r str) -> Self {
        let policy = Policy { total: None, ..Policy::default() };
        Self { run_id, delays: Delays::new(&policy), last_sign: Instant::now() }
    }

    /// There was a sign of life.
    fn renew(&mut self) {
        self.last_sign = Instant::now();
        self.delays.reset();
    }

    /// A stream was open since then. Nothing may be said in it for hours, and that is no absence.
    fn was_there(&mut self, since: Instant) {
        self.last_sign = Instant::now().min(self.last_sign + since.elapsed());
    }

    /// Waits until it makes sense to ask again; fails with why it broke if it does not.
    async fn again(&mut self, client: &Client, broke: Status) -> Result<(), Failure> {
        if !is_transient(&broke) || self.last_sign.elapsed() > AWAY_MAX {
            return Err(client.failure(broke));
        }
        tracing::debug!(%broke, run_id = self.run_id, "watching again");
        sleep(self.delays.next()).await;
        Ok(())
    }
}

fn is_done(until: Until, status: i32) -> bool {
    match until {
        Until::Settled => view::is_settled(status),
        Until::Final => view::is_final(status),
    }
}
