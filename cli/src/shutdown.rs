//! Leaving in order: the first signal asks for it, the second ends it at once.

use std::future::Future;
use std::io;

use kapelle_bus::Connection;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::End;
use crate::exit::Exit;
use crate::failure::Failure;

/// SIGINT (Ctrl-C) and SIGTERM.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on the signals come here and no longer end the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next signal, or for the day that the broker does not take our credentials any more: who cannot come back
    /// says so and ends, instead of trying in silence.
    pub(crate) async fn unless_refused(&mut self, connection: &Connection) -> Result<(), Failure> {
        tokio::select! {
            () = self.next() => Ok(()),
            error = connection.refused() => Err(error.into()),
        }
    }

    /// Does `work` unless a signal comes first; `None` then.
    pub(crate) fn unless<'s, T>(
        &'s mut self,
        work: impl Future<Output = T> + 's,
    ) -> impl Future<Output = Option<T>> + 's {
        // Starting and stopping everything is a large future, and this is where they all pass.
        let work = Box::pin(work);
        async move {
            tokio::select! {
                done = work => Some(done),
                () = self.next() => None,
            }
        }
    }

    /// Leaves in order, unless another signal says to leave at once. What that cuts off comes back to others.
    pub(crate) async fn leave(&mut self, stop: impl Future<Output = ()>) -> End {
        match self.unless(stop).await {
            Some(()) => Ok(Exit::Ok),
            None => Err(Failure::plain(Exit::Failed, "Stopped at once, by a second signal.")
                .hint("Nothing is lost: what was running comes back when its lease ends.")),
        }
    }
}
