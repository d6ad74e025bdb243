//! Random pairs of schemas: the verdict against brute force over the universe.

use kapelle_contract::{Contract, Verdict, compatible, disjoint};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::universe::{schema, universe};

/// Pairs that every run looks at, which takes a second; with `KAPELLE_CHAOS` ten times as many.
const PAIRS: u64 = 2_000;
/// Pairs that went wrong once.
const ONCE_WRONG: [u64; 2] = [79_406, 144_821];

/// A giver and a taker: unrelated, or one a change of the other, which is what people compare.
fn pair(seed: u64) -> (Value, Value) {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let giver = schema(&mut dice, 3);
    match dice.random_range(0..3) {
        0 => (giver, schema(&mut dice, 3)),
        1 => {
            let mut taker = giver.clone();
            change(&mut taker, &mut dice);
            (giver, taker)
        }
        _ => {
            let mut changed = giver.clone();
            change(&mut changed, &mut dice);
            (changed, giver)
        }
    }
}

/// Takes one keyword out, somewhere, or replaces a whole part.
fn change(schema: &mut Value, dice: &mut ChaCha8Rng) {
    let Value::Object(keywords) = schema else { return };
    let names: Vec<String> = keywords.keys().filter(|name| *name != "$defs").cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = &names[dice.random_range(0..names.len())];
    let has_definitions = keywords.contains_key("$defs");
    let below = keywords.get_mut(name).unwrap();
    match below {
        Value::Object(_) if name != "const" && dice.random_bool(0.8) => {
            let parts: Vec<&mut Value> = if name == "properties" || name == "patternProperties" {
                below.as_object_mut().unwrap().values_mut().collect()
            } else {
                vec![below]
            };
            let count = parts.len();
            if let Some(part) = parts.into_iter().nth(dice.random_range(0..count.max(1))) {
                change(part, dice);
            }
        }
        _ if name == "$ref" || has_definitions => {}
        _ => drop(keywords.remove(name)),
    }
}

#[test]
fn verdicts_agree_with_brute_force() {
    let pairs = if std::env::var_os("KAPELLE_CHAOS").is_some_and(|it| !it.is_empty() && it != "0") {
        PAIRS * 10
    } else {
        PAIRS
    };
    let universe = universe();
    let (mut compatibles, mut breakings, mut undecided, mut apart) = (0, 0, Vec::new(), 0);
    for seed in (0..pairs).chain(ONCE_WRONG) {
        let (giver, taker) = pair(seed);
        let told = format!("seed {seed}\ngiver {giver}\ntaker {taker}");
        let (giver, taker) = (Contract::new(giver), Contract::new(taker));
        let (gives, takes) = (giver.compile().expect(&told), taker.compile().expect(&told));
        let counter = universe.iter().find(|it| gives.accepts(it) && !takes.accepts(it));
        match compatible(&giver, &taker) {
            Verdict::Compatible => {
                assert_eq!(counter, None, "compatible, but there is a counterexample\n{told}");
                compatibles += 1;
            }
            Verdict::Breaking(differences) => {
                assert!(!differences.is_empty(), "{told}");
                for difference in differences {
                    let witness = difference.witness.expect(&told);
                    assert!(gives.accepts(&witness) && !takes.accepts(&witness), "{witness} is no witness\n{told}");
                }
                breakings += 1;
            }
            Verdict::Undecided(why) => undecided.push(format!("{} {}: {told}", why[0].pointer, why[0].rule)),
        }
        let common = universe.iter().find(|it| gives.accepts(it) && takes.accepts(it));
        if disjoint(&giver, &taker) {
            assert_eq!(common, None, "disjoint, but something fits both\n{told}");
            apart += 1;
        }
    }
    assert!(undecided.is_empty(), "{} undecided:\n{}", undecided.len(), undecided.join("\n"));
    // Both answers have to come up often enough to mean something.
    assert!(compatibles > pairs / 5 && breakings > pairs / 5, "{compatibles} compatible, {breakings} breaking");
    assert!(apart > 0);
}
