//! How an agent says how far it is. Progress is for people; it keeps no lease alive and extends no timeout.

use std::fmt;
use std::sync::Arc;

use crate::Usage;

/// One step forward.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    /// How much is done.
    pub done: u64,
    /// Of how much; 0 if nobody knows.
    pub total: u64,
    /// A few words.
    pub note: String,
    /// What the task has used up so far, if that is what is said.
    pub usage: Option<Usage>,
}

/// A handle that a task carries. Cloning is cheap; without a listener updates are dropped.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Update) + Send + Sync>>);

impl Progress {
    /// A handle that hands each update to `listener`.
    pub fn to(listener: impl Fn(Update) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Says how far the task is.
    pub fn report(&self, done: u64, total: u64, note: impl Into<String>) {
        if let Some(listener) = &self.0 {
            listener(Update { done, total, note: note.into(), usage: None });
        }
    }

    /// Says what the task has used up so far, all of it and not what came on top. Said early and often, it stops a task
    /// that goes beyond the limits of its agent before the money is gone; it is in the report even if the task fails.
    pub fn used(&self, usage: Usage) {
        if let Some(listener) = &self.0 {
            listener(Update { usage: Some(usage), ..Update::default() });
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_reach_the_listener() {
        let (send, seen) = std::sync::mpsc::channel();
        let progress = Progress::to(move |u| send.send(u).unwrap());
        progress.clone().report(3, 10, "third");
        assert_eq!(seen.try_recv(), Ok(Update { done: 3, total: 10, note: "third".into(), usage: None }));
        let usage = Usage { tool_calls: 2, ..Usage::default() };
        progress.used(usage);
        assert_eq!(seen.try_recv().map(|u| u.usage), Ok(Some(usage)));
        Progress::default().report(1, 1, "nobody listens");
    }
}
