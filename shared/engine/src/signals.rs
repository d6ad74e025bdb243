//! Signals that came before anybody waited for them.
//!
//! A signal goes to the first place that waits for its name, in the order of the plan, or is kept until one does; kept ones
//! are given out in the order in which they came. Each is given once.

use std::collections::{BTreeMap, VecDeque};

use kapelle_types::limits::SIGNALS_KEPT_MAX;
use kapelle_types::{Payload, SignalName};

use crate::plan::Act;
use crate::state::{Place, Run, SlotState};
use crate::weight::payload_bytes;

/// The signals that a run keeps.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Signals {
    /// By name, the oldest first. A name without signals has no entry.
    pub(crate) kept: BTreeMap<SignalName, VecDeque<Kept>>,
    /// How many there are.
    pub(crate) count: usize,
    /// What they weigh.
    pub(crate) bytes: usize,
}

/// One that is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// Where the log has it.
    seq: u64,
    payload: Payload,
}

impl Signals {
    pub(crate) const fn weight_bytes(&self) -> usize {
        self.bytes
    }
}

/// Keeps a signal that nobody waits for; false if there are too many.
pub(crate) fn keep(run: &mut Run, name: &SignalName, seq: u64, payload: Payload) -> bool {
    let signals = run.signals.get_or_insert_default();
    if signals.count >= SIGNALS_KEPT_MAX {
        return false;
    }
    signals.count += 1;
    signals.bytes += weight(&payload);
    signals.kept.entry(name.clone()).or_default().push_back(Kept { seq, payload });
    true
}

/// The oldest signal of this name that is kept, and where the log has it.
pub(crate) fn take(run: &mut Run, name: &SignalName) -> Option<(u64, Payload)> {
    let signals = run.signals.as_mut()?;
    let of_name = signals.kept.get_mut(name)?;
    let Kept { seq, payload } = of_name.pop_front()?;
    if of_name.is_empty() {
        signals.kept.remove(name);
    }
    signals.count = signals.count.saturating_sub(1);
    signals.bytes = signals.bytes.saturating_sub(weight(&payload));
    if signals.count == 0 {
        run.signals = None;
    }
    Some((seq, payload))
}

/// The first place that waits for this signal, or that has given it up and holds up its run.
pub(crate) fn awaited(run: &Run, name: &SignalName) -> Option<Place> {
    let waits = |place: &&Place| {
        let act = run.plan.steps.get(place.step).map(|planned| &planned.act);
        matches!(act, Some(Act::Signal(signal)) if signal.name == *name)
    };
    let gave_up = |place: &&Place| run.slot(**place).is_some_and(|slot| matches!(slot.state, SlotState::GaveUp(_)));
    run.awaiting.iter().find(waits).or_else(|| run.stuck.iter().filter(waits).find(gave_up)).copied()
}

fn weight(payload: &Payload) -> usize {
    size_of::<Kept>() + payload_bytes(payload)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kapelle_types::limits::SIGNALS_KEPT_MAX;
    use serde_json::json;

    use crate::testing::{entry, fresh, plan};
    use crate::{Ignored, Stamp, apply, invariant};

    #[test]
    fn so_many_are_kept_and_no_more() {
        let plan = plan(
            &json!({"signals": {"go": null}, "steps": [{"id": "a"}, {"id": "b", "needs": ["a"], "signal": "go"}]}),
        );
        let mut run = fresh(Arc::new(plan));
        let mut told = |text: &str, seq: u64| {
            let (entry, channel) = entry(text);
            let ignored = apply(&mut run, &entry, channel, Stamp { seq, ..Stamp::default() }).ignored;
            invariant::check(&run).unwrap();
            (ignored, run.weight_bytes())
        };
        let (_, empty) = told("submit", 1);
        for seq in 0..SIGNALS_KEPT_MAX as u64 {
            assert_eq!(told("signal go 1", 2 + seq).0, None);
        }
        let (ignored, full) = told("signal go 1", 5_000);
        assert_eq!(ignored, Some(Ignored::TooManySignals));
        assert!(full > empty, "what is kept weighs something: {empty}, {full}");
        assert_eq!(told("ok a 1", 5_001).0, None, "the step takes one");
    }
}
