//! Who is still at work with an older catalog.
//!
//! A job is resolved at one moment and recorded at a later one. Whoever has to know that no run will be pinned to something
//! any more waits for both: that the change is followed, and that whatever was resolved before it is written or given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kapelle_bus::Bus;

/// How soon the broker is asked again by whoever waits for what was sent.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The tickets of one catalog, by how far it had followed the registry when they were taken.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    followed: u64,
    held: BTreeMap<u64, usize>,
}

/// Held by whoever resolves something and then writes it.
#[derive(Debug)]
pub struct Ticket {
    tickets: Arc<Tickets>,
    seq: u64,
    /// Something was sent of which it is not known whether it is stored: the stream, and whom to ask.
    sent: Option<(Bus, String)>,
}

impl Tickets {
    /// The registry is followed up to here.
    pub(super) fn follow(&self, seq: u64) {
        let mut state = self.state();
        state.followed = state.followed.max(seq);
    }

    /// How far the registry is followed, by whoever comes now.
    pub(super) fn followed(&self) -> u64 {
        self.state().followed
    }

    /// How far it is followed by everybody.
    pub(super) fn settled(&self) -> u64 {
        let state = self.state();
        state.held.keys().next().map_or(state.followed, |oldest| state.followed.min(*oldest))
    }

    fn give_back(&self, seq: u64) {
        let mut state = self.state();
        if let Some(count) = state.held.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&seq);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(super) fn take(tickets: &Arc<Tickets>) -> Self {
        let mut state = tickets.state();
        let seq = state.followed;
        *state.held.entry(seq).or_default() += 1;
        drop(state);
        Self { tickets: Arc::clone(tickets), seq, sent: None }
    }

    /// Something is sent to this stream now. If its sender is given up before it calls [`Ticket::answered`], the ticket is
    /// held until the broker has answered something else, behind what was sent.
    pub fn sending(&mut self, bus: &Bus, stream: String) {
        self.sent = Some((bus.clone(), stream));
    }

    /// What was sent is known to be stored, or to be refused.
    pub fn answered(&mut self) {
        self.sent = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (tickets, seq) = (Arc::clone(&self.tickets), self.seq);
        let Some((bus, stream)) = self.sent.take() else { return tickets.give_back(seq) };
        // Without a runtime the process is about to end.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            while bus.stream_state(&stream).await.is_err() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            tickets.give_back(seq);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_settled_beyond_the_oldest_ticket() {
        let tickets = Arc::new(Tickets::default());
        tickets.follow(5);
        let (old, same) = (Ticket::take(&tickets), Ticket::take(&tickets));
        tickets.follow(9);
        let new = Ticket::take(&tickets);
        assert_eq!((tickets.followed(), tickets.settled()), (9, 5));
        drop(old);
        assert_eq!(tickets.settled(), 5, "two were taken there");
        drop(same);
        assert_eq!(tickets.settled(), 9);
        tickets.follow(7);
        drop(new);
        assert_eq!(tickets.settled(), 9, "a watch that begins anew takes nothing back");
    }
}
