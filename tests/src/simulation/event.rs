//! What can happen next, and who can still be told.

use kapelle_coordinator::partition::effect::{Loaded, Token};
use kapelle_engine::{Body, Channel, Command, Entry, TimerId};
use kapelle_types::RunId;

use super::tasks::Key;

/// A process: its place and which life of it. What is meant for an earlier life reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) slot: usize,
    pub(crate) life: u32,
}

/// Who sent a message and waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A coordinator, with the token of its order.
    Owner(Process, Token),
    /// A worker, which reported on these tasks.
    Worker(Process),
    /// A client that submits a job.
    Submitter(RunId),
    /// A client that asks for something.
    Steerer,
}

/// A message on its way to the broker. Sent again until it is acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) sender: Sender,
    pub(crate) run: RunId,
    pub(crate) message: Message,
}

/// What the broker shall do.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// A command of the engine.
    Command(Command),
    /// Entries for a run's log, and the tasks whose reports they are.
    Record { channel: Channel, entries: Vec<Entry>, reported: Vec<Key>, only_first: bool },
    /// Remove the entries of what is no run, up to where it was seen.
    PurgeRun { through: u64 },
}

/// Something that happens at a point of virtual time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A coordinator asks for cursor and stream state.
    Take(Process),
    /// It lists what is open and begins to read.
    Begin {
        owner: Process,
        cursor: u64,
        high_water: u64,
    },
    Deliver(Process),
    Tick(Process),
    /// The queue is looked at, then the log.
    Observe(Process),
    Observed {
        owner: Process,
        created: i64,
        oldest: Option<u64>,
    },
    /// A load reaches the broker.
    Load {
        owner: Process,
        run: RunId,
        at_least: u64,
    },
    Loaded {
        owner: Process,
        run: RunId,
        loaded: Box<Loaded>,
        seen: u64,
    },
    SaveCursor {
        seq: u64,
    },
    /// A graceful end that waited long enough.
    LetGo(Process),
    Arrive(Box<Publish>),
    Acked(Box<Publish>),
    Resend(Box<Publish>),
    Fire {
        run: RunId,
        timer: TimerId,
        setting: u64,
    },
    /// A task looks for a worker.
    Offer {
        created: i64,
        seq: u64,
    },
    LeaseEnds {
        created: i64,
        seq: u64,
        delivered: u32,
    },
    /// An attempt ended; what its worker reports.
    Done {
        worker: Process,
        key: Key,
        report: Box<Body>,
    },
    /// A worker writes what it has to report on a run.
    Flush {
        worker: Process,
        run: RunId,
    },
    WorkerDies(Process),
    TaskAck {
        seq: u64,
    },
    /// A record is written again, long after it was stored.
    Again {
        run: RunId,
        entries: Vec<Entry>,
    },
    /// A client wants a job done.
    Submit(usize),
    Disturb(Disturbance),
    /// Faults stop.
    Quiet,
    /// Somebody looks after what waits for people.
    Person(Care),
    /// After a loss in quiet times: is everything queued again?
    Requeued,
}

/// Something larger that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    Crash,
    SecondOwner,
    Flip,
    Purge,
    Recreate,
    Garbage,
    Steer,
}

/// What people do for runs that wait for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    Resume,
    Retry,
    Fail,
}

impl Event {
    /// Whether it comes again by itself and is nothing to wait for.
    pub(crate) const fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::Tick(_)
                | Self::Observe(_)
                | Self::Observed { .. }
                | Self::LeaseEnds { .. }
                | Self::SaveCursor { .. }
                | Self::Disturb(_)
        )
    }
}
