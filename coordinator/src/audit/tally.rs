//! Denials that are alike, counted together: the first of a kind is written at once, the others as one record when the
//! interval is over. So nobody fills the trail by trying again and again.

use std::collections::HashMap;

use kapelle_types::{AuditRecord, AuditWhat, AuditWho, Principal};

/// Kinds that one interval tells apart: some tens of kilobytes a minute at most, whatever is tried. What comes beyond is
/// counted by component and verb alone.
const KINDS_MAX: usize = 64;

/// What makes two records alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    component: String,
    verb: String,
    principal: Principal,
    action: String,
    policy: String,
    code: String,
}

/// What came in this interval.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By kind: what came after the first.
    alike: HashMap<Kind, Option<AuditRecord>>,
    /// By component and verb: what there was no room for.
    others: HashMap<(String, String), AuditRecord>,
}

impl Tally {
    /// Takes a record; gives it back if it is to be written at once.
    pub(super) fn take(&mut self, record: AuditRecord) -> Option<AuditRecord> {
        let kind = Kind {
            component: record.component.clone(),
            verb: record.verb.clone(),
            principal: record.who.principal.clone(),
            action: record.what.action.clone(),
            policy: record.policy.clone(),
            code: record.code.clone(),
        };
        if let Some(counted) = self.alike.get_mut(&kind) {
            add(counted, record);
            return None;
        }
        if self.alike.len() < KINDS_MAX {
            self.alike.insert(kind, None);
            return Some(record);
        }
        let key = (record.component.clone(), record.verb.clone());
        match self.others.get_mut(&key) {
            Some(counted) => count_in(counted, &record),
            None => drop(self.others.insert(key, anonymous(record))),
        }
        None
    }

    /// Ends the interval: what was counted in it.
    pub(super) fn close(&mut self) -> Vec<AuditRecord> {
        let alike = self.alike.drain().filter_map(|(_, counted)| counted);
        alike.chain(self.others.drain().map(|(_, counted)| counted)).collect()
    }
}

fn add(counted: &mut Option<AuditRecord>, record: AuditRecord) {
    match counted {
        Some(counted) => count_in(counted, &record),
        None => *counted = Some(record),
    }
}

fn count_in(counted: &mut AuditRecord, record: &AuditRecord) {
    counted.count += record.count;
    counted.at = counted.at.max(record.at);
    // What differs among them is not said of all.
    if counted.what != record.what {
        counted.what = AuditWhat { action: counted.what.action.clone(), ..AuditWhat::default() };
    }
}

/// A record that stands for many of whom there was no room to tell.
fn anonymous(record: AuditRecord) -> AuditRecord {
    AuditRecord {
        who: AuditWho::default(),
        what: AuditWhat::default(),
        policy: String::new(),
        code: String::new(),
        reason: format!("More than {KINDS_MAX} kinds within a minute; these are the others."),
        ..record
    }
}

#[cfg(test)]
mod tests {
    use kapelle_types::{AuditDecision, Timestamp};

    use super::*;

    fn denied(principal: &str, name: &str, at: i64) -> AuditRecord {
        let at = Timestamp::from_millis(at);
        AuditRecord {
            id: at.to_string(),
            at,
            component: "api".into(),
            verb: "denied".into(),
            who: AuditWho { principal: Principal(principal.into()), ..AuditWho::default() },
            what: AuditWhat { action: "Cancel".into(), name: name.into(), ..AuditWhat::default() },
            decision: AuditDecision::Deny,
            policy: "default_deny".into(),
            code: "K0503".into(),
            reason: "No policy permits it.".into(),
            count: 1,
            first_at: at,
            by: "c".into(),
        }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let mut tally = Tally::default();
        assert_eq!(tally.take(denied("ada", "x", 1)), Some(denied("ada", "x", 1)));
        assert!(tally.take(denied("bob", "x", 2)).is_some(), "somebody else is another kind");
        assert_eq!((3..1_003).filter_map(|at| tally.take(denied("ada", "x", at))).count(), 0);
        assert!(tally.take(denied("ada", "y", 1_003)).is_none());
        let closed = tally.close();
        let [told] = closed.as_slice() else { panic!("{closed:?}") };
        assert_eq!((told.count, told.first_at.millis(), told.at.millis()), (1_001, 3, 1_003));
        assert_eq!((told.what.action.as_str(), told.what.name.as_str()), ("Cancel", ""), "they differ in the name");
        assert!(tally.close().is_empty());
        assert!(tally.take(denied("ada", "x", 2_000)).is_some(), "a new interval begins anew");
    }

    #[test]
    fn whoever_changes_names_is_counted_and_fills_nothing() {
        let mut tally = Tally::default();
        let told = (0..10_000).filter_map(|n| tally.take(denied(&n.to_string(), "x", n))).count();
        let closed = tally.close();
        assert_eq!((told, closed.len()), (KINDS_MAX, 1));
        assert_eq!(closed[0].count, 10_000 - KINDS_MAX as u64);
        assert_eq!(closed[0].who, AuditWho::default());
    }
}
