//! Which partition of the run log a run belongs to.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::RunId;

/// A fixed share of all runs, from 0. Each has its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u16);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many partitions are provisioned. Fixed when the streams are created and read from there, never configured twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partitions(NonZeroU16);

impl Partitions {
    /// `None` for zero.
    #[must_use]
    pub const fn new(count: u16) -> Option<Self> {
        match NonZeroU16::new(count) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The number of partitions, at least 1.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.0.get()
    }

    /// The partition of a run: a stable hash of its id.
    #[must_use]
    pub fn of(self, run: &RunId) -> Partition {
        let slot = fnv1a(run.as_bytes()) % u64::from(self.count());
        Partition(u16::try_from(slot).unwrap_or(0)) // the remainder is below a u16
    }

    /// All partitions, in order.
    pub fn all(self) -> impl Iterator<Item = Partition> {
        (0..self.count()).map(Partition)
    }
}

/// FNV-1a, 64 bit, with a final mix so that the low bits are usable. It names the partition of every stored run, so it
/// must never change. Source: <http://www.isthe.com/chongo/tech/comp/fnv/>, finaliser of `SplitMix64`.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    hash ^= hash >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 27;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        let id: RunId = "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap();
        let four = Partitions::new(4).unwrap();
        assert_eq!(fnv1a(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(four.of(&id), four.of(&id));
    }

    #[test]
    fn runs_spread_evenly() {
        let parts = Partitions::new(8).unwrap();
        let mut seen = [0u32; 8];
        for i in 0..8000u32 {
            let id = RunId::keyed("default", &"w".parse().unwrap(), &i.to_string());
            seen[usize::from(parts.of(&id).0)] += 1;
        }
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
    }
}
