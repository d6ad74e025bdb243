//! Where in a text the parts of a document stand.

use std::collections::HashMap;
use std::ops::Range;

use kapelle_contract::Pointer;

/// The places of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The bytes of its key, if it is a field.
    pub(crate) key: Option<Range<usize>>,
    /// The bytes of its value; of a list or an object all of it.
    pub(crate) value: Range<usize>,
}

/// Which side of a field something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The name.
    Key,
    /// The value.
    Value,
}

/// The places of all parts; empty for a manifest that does not come from a text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans(HashMap<Pointer, Spot>);

impl Spans {
    pub(crate) fn insert(&mut self, pointer: &Pointer, spot: Spot) {
        self.0.insert(pointer.clone(), spot);
    }

    /// The bytes of the part, or of the nearest part around it that is in the text.
    pub(crate) fn find(&self, pointer: &Pointer, side: Side) -> Option<Range<usize>> {
        if let Some(spot) = self.0.get(pointer) {
            return Some(match (side, &spot.key) {
                (Side::Key, Some(key)) => key.clone(),
                _ => spot.value.clone(),
            });
        }
        // What is not in the text was left out or derived: the name of what it belongs to says most.
        self.find(&pointer.parent()?, Side::Key)
    }
}
