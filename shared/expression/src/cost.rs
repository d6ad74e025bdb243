//! What evaluating an expression may cost at most, computed from its tree and its values before the first step.
//!
//! An evaluation cannot be stopped, and a short expression can ask for a lot: `input.list.map(x, input.list)` copies a
//! list of 10,000 items 10,000 times. So the bytes that would be copied are added up, every branch taken, and an
//! expression that may exceed the bound is refused: the same decision on every machine.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use kapelle_types::limits::{EXPRESSION_LIST_MAX, EXPRESSION_MEMORY_BYTES_MAX};
use serde_json::Value;

use crate::analysis::slot_index;
use crate::lookup::Fault;

/// Bytes that one value costs beside its text.
const NODE_BYTES: u64 = 64;

/// How large the value of a slot is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// Bytes of a copy.
    bytes: u64,
    /// Bytes of a copy of the largest of its items or fields.
    largest: u64,
    /// Items, if it is a list, or fields.
    len: u64,
    /// The longest list in it, itself included.
    longest: u64,
}

impl Size {
    /// The size of a JSON value.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self { bytes: NODE_BYTES, ..Self::default() },
            Value::String(text) => Self { bytes: NODE_BYTES + text.len() as u64, ..Self::default() },
            Value::Array(items) => {
                let size = items.iter().map(Self::of).fold(Self::default(), |sum, item| sum.with(item, 0));
                Self { longest: size.longest.max(size.len), bytes: size.bytes + NODE_BYTES, ..size }
            }
            Value::Object(fields) => {
                let sizes = fields.iter().map(|(name, value)| (Self::of(value), name.len() as u64));
                let size = sizes.fold(Self::default(), |sum, (value, name)| sum.with(value, name));
                Self { bytes: size.bytes + NODE_BYTES, ..size }
            }
        }
    }

    fn with(self, item: Self, name_bytes: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_add(item.bytes).saturating_add(name_bytes),
            largest: self.largest.max(item.bytes),
            len: self.len + 1,
            longest: self.longest.max(item.longest),
        }
    }
}

/// Refuses an expression that would walk too long a list or copy too much.
pub(crate) fn check(tree: &IdedExpr, slots: &[Size]) -> Result<(), Fault> {
    let longest = slots.iter().map(|slot| slot.longest.max(slot.len)).max().unwrap_or(0);
    let mut meter = Meter { slots, longest, item: 0, copied: 0 };
    meter.weigh(tree)?;
    if meter.copied > EXPRESSION_MEMORY_BYTES_MAX {
        let message = format!(
            "the expression may build {} MiB out of these values, {} MiB are allowed; compute it in a step of its own",
            meter.copied >> 20,
            EXPRESSION_MEMORY_BYTES_MAX >> 20
        );
        return Err(Fault::bound(message));
    }
    Ok(())
}

struct Meter<'s> {
    slots: &'s [Size],
    /// The longest list in any slot.
    longest: u64,
    /// Bytes of an item of the comprehension around the current node, on average.
    item: u64,
    /// Bytes copied so far.
    copied: u64,
}

/// An upper bound of the value of a node.
#[derive(Clone, Copy)]
struct Weight {
    bytes: u64,
    len: u64,
}

impl Meter<'_> {
    fn weigh(&mut self, node: &IdedExpr) -> Result<Weight, Fault> {
        let scalar = Weight { bytes: NODE_BYTES, len: 0 };
        match &node.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                Ok(Weight { bytes: NODE_BYTES + text.inner().len() as u64, len: 0 })
            }
            Expr::Literal(_) | Expr::Unspecified | Expr::Struct(_) => Ok(scalar),
            Expr::Ident(name) => Ok(self.ident(name)),
            Expr::Select(select) => {
                let operand = self.weigh(&select.operand)?;
                Ok(Weight { bytes: self.part(&select.operand, operand), len: self.longest })
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut bytes = NODE_BYTES;
                for element in &list.elements {
                    bytes = bytes.saturating_add(self.weigh(element)?.bytes);
                }
                self.copy(bytes);
                Ok(Weight { bytes, len: list.elements.len() as u64 })
            }
            Expr::Map(map) => {
                let mut bytes = NODE_BYTES;
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        bytes = bytes.saturating_add(self.weigh(&entry.key)?.bytes);
                        bytes = bytes.saturating_add(self.weigh(&entry.value)?.bytes);
                    }
                }
                self.copy(bytes);
                Ok(Weight { bytes, len: 0 })
            }
            Expr::Comprehension(it) => self.comprehension(it),
        }
    }

    fn ident(&self, name: &str) -> Weight {
        match slot_index(name).and_then(|index| self.slots.get(index)) {
            Some(slot) => Weight { bytes: slot.bytes, len: slot.len },
            // The list that a comprehension builds is appended to in place.
            None if name.starts_with('@') => Weight { bytes: 0, len: 0 },
            None => Weight { bytes: self.item, len: self.longest },
        }
    }

    /// One field or item of a value.
    fn part(&self, whole: &IdedExpr, weight: Weight) -> u64 {
        match &whole.expr {
            Expr::Ident(name) => {
                slot_index(name).and_then(|index| self.slots.get(index)).map_or(weight.bytes, |slot| slot.largest)
            }
            _ => weight.bytes,
        }
    }

    fn call(&mut self, call: &CallExpr) -> Result<Weight, Fault> {
        let mut sum = Weight { bytes: 0, len: 0 };
        for part in call.target.iter().map(|target| &**target).chain(&call.args) {
            let weight = self.weigh(part)?;
            sum = Weight { bytes: sum.bytes.saturating_add(weight.bytes), len: sum.len.saturating_add(weight.len) };
        }
        match call.func_name.as_str() {
            operators::ADD => {
                self.copy(sum.bytes);
                Ok(sum)
            }
            operators::CONDITIONAL => Ok(sum),
            operators::INDEX => {
                let Some(whole) = call.args.first() else { return Ok(sum) };
                Ok(Weight { bytes: self.part(whole, sum), len: self.longest })
            }
            "string" | "bytes" | "dyn" => {
                self.copy(sum.bytes);
                Ok(Weight { bytes: sum.bytes, len: self.longest })
            }
            // What is left compares, computes or looks: a scalar.
            _ => Ok(Weight { bytes: NODE_BYTES, len: 0 }),
        }
    }

    fn comprehension(&mut self, it: &ComprehensionExpr) -> Result<Weight, Fault> {
        let range = self.weigh(&it.iter_range)?;
        if range.len > EXPRESSION_LIST_MAX as u64 {
            let message =
                format!("a list of {} items is too long to be walked; {EXPRESSION_LIST_MAX} are allowed", range.len);
            return Err(Fault::bound(message));
        }
        self.copy(range.bytes);
        let before = self.copied;
        self.copied = 0;
        self.item = range.bytes.div_ceil(range.len.max(1));
        self.weigh(&it.loop_cond)?;
        let step = self.weigh(&it.loop_step)?;
        self.item = 0;
        let each = self.copied.saturating_add(step.bytes);
        self.copied = before.saturating_add(each.saturating_mul(range.len));
        Ok(Weight { bytes: NODE_BYTES.saturating_add(step.bytes.saturating_mul(range.len)), len: range.len })
    }

    fn copy(&mut self, bytes: u64) {
        self.copied = self.copied.saturating_add(bytes);
    }
}
