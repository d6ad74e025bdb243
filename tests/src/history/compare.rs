//! What today's engine makes of a log against what was recorded, difference by difference.

use std::fmt::Debug;

use super::{Answer, Made, Turn};

/// Differences that are told of one file: the first ones explain the others.
const DIFFERENCES_MAX: usize = 5;

/// Every difference, the first ones first.
#[must_use]
pub fn differences(recorded: &Made, now: &Made) -> Vec<String> {
    let mut found = Vec::new();
    for (then, now) in recorded.records.iter().zip(&now.records) {
        turn(then, now, &mut found);
    }
    differ("records", &recorded.records.len(), &now.records.len(), &mut found);
    differ("behaviour", &recorded.behaviour, &now.behaviour, &mut found);
    differ("status", &recorded.status, &now.status, &mut found);
    differ("output", &recorded.output, &now.output, &mut found);
    differ("error code", &recorded.error_code, &now.error_code, &mut found);
    differ("decided_seq", &recorded.decided_seq, &now.decided_seq, &mut found);
    lines("steps", &recorded.steps, &now.steps, &mut found);
    let more = found.len().saturating_sub(DIFFERENCES_MAX);
    found.truncate(DIFFERENCES_MAX);
    if more > 0 {
        found.push(format!("and {more} more, most of them because of these"));
    }
    found
}

fn turn(then: &Turn, now: &Turn, found: &mut Vec<String>) {
    let place = format!("seq {}", then.seq);
    differ(&format!("{place}: sequence"), &then.seq, &now.seq, found);
    differ(&format!("{place}: refused"), &then.refused, &now.refused, found);
    differ(&format!("{place}: entries"), &then.entries.len(), &now.entries.len(), found);
    for (then, now) in then.entries.iter().zip(&now.entries) {
        answer(&place, then, now, found);
    }
    differ(&format!("{place}: status behind it"), &then.status, &now.status, found);
    lines(&format!("{place}: outstanding behind it"), &then.outstanding, &now.outstanding, found);
}

fn answer(place: &str, then: &Answer, now: &Answer, found: &mut Vec<String>) {
    differ(&format!("{place}: entry"), &then.entry, &now.entry, found);
    let what = format!("{place}, {}", then.entry);
    differ(&format!("{what}: ignored"), &then.ignored, &now.ignored, found);
    lines(&format!("{what}: commands"), &then.commands, &now.commands, found);
}

/// The lines that one has and the other has not; the order if that is all.
fn lines(what: &str, then: &[String], now: &[String], found: &mut Vec<String>) {
    if then == now {
        return;
    }
    let gone = then.iter().filter(|l| !now.contains(l)).map(|l| format!("\n      - {l}"));
    let new = now.iter().filter(|l| !then.contains(l)).map(|l| format!("\n      + {l}"));
    let changed: String = gone.chain(new).collect();
    let order = || format!("the order or the number: {then:?}, now {now:?}");
    found.push(format!("{what}: {}", if changed.is_empty() { order() } else { changed }));
}

fn differ<T: PartialEq + Debug>(what: &str, then: &T, now: &T, found: &mut Vec<String>) {
    if then != now {
        found.push(format!("{what}: {then:?}, now {now:?}"));
    }
}
