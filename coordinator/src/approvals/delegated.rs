//! Who decides in whose place: asked when somebody decides, and once more just before what they agreed to is used.
//!
//! What is given are groups that the giver was in. It makes nobody an approver who is none, it ends at its time, it is worth
//! nothing once the policies would not let the giver decide, and what one was given one cannot give on: only the groups of
//! one's own login can be.

use std::collections::BTreeSet;

use kapelle_bus::approvals::{Approvals, Delegation};
use kapelle_bus::{Bus, Error};
use kapelle_engine::Decider;
use kapelle_telemetry::clock;
use kapelle_types::Timestamp;

use crate::access::Access;

/// As whom a person may decide beside themselves, by what was given to them.
///
/// # Errors
/// The broker's.
pub(crate) async fn in_place_of(
    store: &Approvals,
    access: &Access,
    rpc: &str,
    decider: &Decider,
) -> Result<Vec<Decider>, Error> {
    let now = clock::now();
    let given = store.delegations().await?.into_iter();
    let good = given.filter(|it| it.to == decider.person && stands(it, now) && access.might(&it.by, rpc));
    Ok(good.map(|it| Decider { groups: it.groups, in_place_of: it.from, ..decider.clone() }).collect())
}

/// Why the word of one of these counts no more: they decided in somebody's place, and may not any longer.
///
/// # Errors
/// The broker's.
pub(crate) async fn withdrawn(bus: &Bus, deciders: &[Decider]) -> Result<Option<String>, Error> {
    let now = clock::now();
    for decider in deciders.iter().filter(|it| !it.in_place_of.is_empty()) {
        let Decider { person, groups, in_place_of, .. } = decider;
        let given = Approvals::open(bus).await?.delegation(in_place_of, person).await?;
        if !given.is_some_and(|it| stands(&it, now) && covers(&it, groups)) {
            return Ok(Some(format!("{person} does not decide in the place of {in_place_of} any more")));
        }
    }
    Ok(None)
}

fn stands(delegation: &Delegation, now: Timestamp) -> bool {
    now < delegation.until
}

fn covers(delegation: &Delegation, groups: &[String]) -> bool {
    let given: BTreeSet<&String> = delegation.groups.iter().collect();
    groups.iter().all(|group| given.contains(group))
}
