//! JSON to CEL values and back, exactly: integers stay integers, nothing is rounded, dropped or reordered by chance.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
    CelUInt, Kind,
};
use cel::common::value::Val;
use kapelle_types::Timestamp;
use kapelle_types::limits::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX};
use serde_json::{Map, Number, Value};

use crate::lookup::Fault;

/// Lists and objects inside each other: a reader that stops at `JSON_DEPTH_MAX` counts the scalars as a level.
pub(crate) const DEPTH_MAX: usize = JSON_DEPTH_MAX - 1;

/// A JSON value as CEL sees it; strings and keys are borrowed.
pub(crate) fn to_cel(value: &Value) -> Result<Box<dyn Val + '_>, Fault> {
    nested(value, 0)
}

fn nested(value: &Value, depth: usize) -> Result<Box<dyn Val + '_>, Fault> {
    if depth > JSON_DEPTH_MAX {
        return Err(too_deep());
    }
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(it) => Box::new(CelBool::from(*it)),
        Value::String(it) => Box::new(CelString::from(it.as_str())),
        Value::Number(it) => number(it),
        Value::Array(items) => {
            let items = items.iter().map(|item| nested(item, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            Box::new(CelList::from(items))
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((CelMapKey::from(name.as_str()), nested(value, depth + 1)?)))
                .collect::<Result<HashMap<_, _>, Fault>>()?;
            Box::new(CelMap::from(fields))
        }
    })
}

fn number(it: &Number) -> Box<dyn Val> {
    if let Some(int) = it.as_i64() {
        Box::new(CelInt::from(int))
    } else if let Some(uint) = it.as_u64() {
        Box::new(CelUInt::from(uint))
    } else {
        Box::new(CelDouble::from(it.as_f64().unwrap_or(f64::NAN)))
    }
}

/// What a comprehension walks: the items of a list, or the keys of an object in sorted order.
pub(crate) fn to_cel_items(value: &Value) -> Result<Box<dyn Val + '_>, Fault> {
    let Value::Object(fields) = value else { return to_cel(value) };
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    let names = names.into_iter().map(|name| Box::new(CelString::from(name)) as Box<dyn Val>).collect::<Vec<_>>();
    Ok(Box::new(CelList::from(names)))
}

/// A CEL value as JSON, the fields of an object in sorted order.
pub(crate) fn to_json(value: &(dyn Val + '_)) -> Result<Value, Fault> {
    let mut budget = Budget::default();
    json(value, 0, &mut budget)
}

/// How much JSON may still be built.
pub(crate) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(PAYLOAD_BYTES_MAX)
    }
}

impl Budget {
    /// Accounts for so many bytes of JSON text.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            Fault::bound(format!("the result is larger than a payload may be ({PAYLOAD_BYTES_MAX} bytes)"))
        })?;
        Ok(())
    }
}

pub(crate) fn too_deep() -> Fault {
    Fault::bound(format!("the value is nested more than {DEPTH_MAX} levels deep"))
}

/// A copy of a value that is nested `depth` levels below the result's root, within the budget and the depth.
pub(crate) fn copy(value: &Value, depth: usize, budget: &mut Budget) -> Result<Value, Fault> {
    within(value, depth, budget)?;
    Ok(value.clone())
}

/// Checks that a value fits at this depth and takes its bytes from the budget.
pub(crate) fn within(value: &Value, depth: usize, budget: &mut Budget) -> Result<(), Fault> {
    if depth >= DEPTH_MAX && (value.is_array() || value.is_object()) {
        return Err(too_deep());
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => budget.take(1),
        Value::String(text) => budget.take(text.len() + 2),
        Value::Array(items) => {
            budget.take(2)?;
            items.iter().try_for_each(|item| within(item, depth + 1, budget))
        }
        Value::Object(fields) => {
            budget.take(2)?;
            fields.iter().try_for_each(|(name, value)| {
                budget.take(name.len() + 3)?;
                within(value, depth + 1, budget)
            })
        }
    }
}

fn json(value: &(dyn Val + '_), depth: usize, budget: &mut Budget) -> Result<Value, Fault> {
    let kind = value.get_type().kind();
    if depth >= DEPTH_MAX && matches!(kind, Kind::List | Kind::Map) {
        return Err(too_deep());
    }
    budget.take(1)?;
    let converted = match kind {
        Kind::NullType => Some(Value::Null),
        Kind::Boolean => value.downcast_ref::<CelBool>().map(|it| Value::Bool(*it.inner())),
        Kind::Int => value.downcast_ref::<CelInt>().map(|it| (*it.inner()).into()),
        Kind::UInt => value.downcast_ref::<CelUInt>().map(|it| (*it.inner()).into()),
        Kind::Double => match value.downcast_ref::<CelDouble>() {
            Some(it) => Some(double(*it.inner())?),
            None => None,
        },
        Kind::String => match value.downcast_ref::<CelString>() {
            Some(it) => {
                budget.take(it.inner().len())?;
                Some(Value::String(it.inner().to_owned()))
            }
            None => None,
        },
        Kind::Timestamp => value.downcast_ref::<CelTimestamp>().map(|it| timestamp(&it.inner().to_rfc3339()).into()),
        Kind::Duration => value.downcast_ref::<CelDuration>().map(|it| duration(it).into()),
        Kind::List => match value.downcast_ref::<CelList>() {
            Some(list) => Some(items(list, depth, budget)?),
            None => None,
        },
        Kind::Map => match value.downcast_ref::<CelMap>() {
            Some(map) => Some(fields(map, depth, budget)?),
            None => None,
        },
        _ => None,
    };
    converted.ok_or_else(|| {
        let what = if value.downcast_ref::<CelBytes>().is_some() { "bytes" } else { value.get_type().name() };
        Fault::evaluation(format!("the expression yields {what}, which JSON does not have; use `string(…)`"))
    })
}

fn double(it: f64) -> Result<Value, Fault> {
    Number::from_f64(it)
        .map(Value::Number)
        .ok_or_else(|| Fault::evaluation(format!("the expression yields {it}, which JSON does not have")))
}

fn items(list: &CelList<'_>, depth: usize, budget: &mut Budget) -> Result<Value, Fault> {
    let items = list.inner().iter().map(|item| json(item.as_ref(), depth + 1, budget));
    Ok(Value::Array(items.collect::<Result<_, _>>()?))
}

fn fields(map: &CelMap<'_>, depth: usize, budget: &mut Budget) -> Result<Value, Fault> {
    let mut fields = Vec::with_capacity(map.inner().len());
    for (key, value) in map.inner() {
        let CelMapKey::String(name) = key else {
            let message = "the expression yields a map whose keys are not strings, which JSON does not have";
            return Err(Fault::evaluation(message));
        };
        fields.push((name.inner(), value));
    }
    fields.sort_unstable_by_key(|(name, _)| *name);
    let mut object = Map::with_capacity(fields.len());
    for (name, value) in fields {
        budget.take(name.len())?;
        object.insert(name.to_owned(), json(value.as_ref(), depth + 1, budget)?);
    }
    Ok(Value::Object(object))
}

/// UTC with milliseconds, as everywhere in Kapelle; finer times keep what they have.
fn timestamp(rfc3339: &str) -> String {
    match Timestamp::parse(rfc3339) {
        Some(it) if it.nanos().rem_euclid(1_000_000) == 0 => it.rfc3339(),
        _ => rfc3339.to_owned(),
    }
}

/// As CEL's `string()` has it: `90s`, `-1.5s`.
fn duration(it: &CelDuration) -> String {
    let (seconds, nanos) = (it.num_seconds(), it.subsec_nanos());
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = format!("{:09}", nanos.unsigned_abs());
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{}s", seconds.unsigned_abs()),
        fraction => format!("{sign}{}.{fraction}s", seconds.unsigned_abs()),
    }
}
