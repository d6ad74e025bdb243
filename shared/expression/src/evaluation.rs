//! Evaluating an analysed expression with CEL.

use std::fmt::{self, Write};

use cel::common::types::CelBool;
use cel::common::value::{CowVal, Val};
use cel::{Context, ExecutionError, Value as CelValue};
use kapelle_types::Payload;
use serde_json::Value;

use crate::analysis::{Analysis, Slot, slot_index, slot_name};
use crate::cost::{self, Size};
use crate::functions::library;
use crate::lookup::{self, Fault};
use crate::{Root, Scope, convert};

/// Evaluates to JSON.
pub(crate) fn evaluate(analysis: &Analysis, scope: &dyn Scope) -> Result<Value, Fault> {
    run(analysis, scope, convert::to_json)
}

/// Evaluates to a boolean; anything else is an error.
pub(crate) fn evaluate_bool(analysis: &Analysis, scope: &dyn Scope) -> Result<bool, Fault> {
    run(analysis, scope, |value| match value.downcast_ref::<CelBool>() {
        Some(it) => Ok(*it.inner()),
        None => Err(not_a_bool(value.get_type().name())),
    })
}

pub(crate) fn not_a_bool(what: &str) -> Fault {
    Fault::evaluation(format!("the condition yields {what} instead of true or false"))
}

fn run<T>(
    analysis: &Analysis,
    scope: &dyn Scope,
    read: impl FnOnce(&(dyn Val + '_)) -> Result<T, Fault>,
) -> Result<T, Fault> {
    // A root that cannot be had is an error only if the evaluation comes to it: `a || b` may not.
    let payloads: Vec<Result<Payload, Fault>> =
        analysis.slots.iter().map(|slot| lookup::root(root(slot), scope)).collect();
    let values: Vec<Result<&Value, Fault>> =
        analysis.slots.iter().zip(&payloads).map(|(slot, payload)| value(slot, payload)).collect();
    if analysis.grows {
        let sizes: Vec<Size> = analysis.slots.iter().zip(&values).map(|(slot, value)| size(slot, value)).collect();
        cost::check(&analysis.tree, &sizes)?;
    }
    let mut context = Context::with_env(library());
    for (index, (slot, (value, payload))) in analysis.slots.iter().zip(values.iter().zip(&payloads)).enumerate() {
        let bound: Box<dyn Val + '_> = match (slot, value) {
            (Slot::There(_), _) => Box::new(CelBool::from(payload.is_ok())),
            (_, Err(_)) => continue,
            (Slot::Value(_), Ok(value)) => convert::to_cel(value)?,
            (Slot::Items(_), Ok(value)) => convert::to_cel_items(value)?,
            (Slot::Has(parent, field), Ok(value)) => match lookup::has(value, parent, field) {
                Ok(has) => Box::new(CelBool::from(has)),
                Err(_) => continue,
            },
        };
        context.add_variable_as_val(slot_name(index), bound);
    }
    let result: Result<CowVal<'_, '_>, ExecutionError> = CelValue::resolve_val(&analysis.tree, &context);
    match result {
        Ok(value) => read(&*value),
        Err(ExecutionError::UndeclaredReference(name)) => Err(unbound(&name, analysis, &values)),
        Err(error) => Err(Fault::evaluation(describe(&error))),
    }
}

const fn root(slot: &Slot) -> &Root {
    &slot.reference().root
}

/// The JSON that a slot needs: the value at its path, or for `has` the content of the root.
fn value<'p>(slot: &Slot, payload: &'p Result<Payload, Fault>) -> Result<&'p Value, Fault> {
    let payload = payload.as_ref().map_err(Clone::clone)?;
    let content = lookup::content(payload, root(slot))?;
    match slot {
        Slot::Value(reference) | Slot::Items(reference) => lookup::walk(content, reference),
        Slot::Has(..) | Slot::There(_) => Ok(content),
    }
}

fn size(slot: &Slot, value: &Result<&Value, Fault>) -> Size {
    match (slot, value) {
        (Slot::Value(_) | Slot::Items(_), Ok(value)) => Size::of(value),
        _ => Size::default(),
    }
}

/// Why the slot that the evaluation came to is not bound.
fn unbound(name: &str, analysis: &Analysis, values: &[Result<&Value, Fault>]) -> Fault {
    let slot = slot_index(name).and_then(|index| Some((analysis.slots.get(index)?, values.get(index)?)));
    match slot {
        Some((_, Err(fault))) => fault.clone(),
        Some((Slot::Has(parent, field), Ok(content))) => match lookup::has(content, parent, field) {
            Err(fault) => fault,
            Ok(_) => Fault::evaluation(format!("`{parent}` is not there")),
        },
        _ => Fault::evaluation(format!("there is no `{name}`")),
    }
}

/// An evaluation error in words, never longer than a few lines: CEL's own text may contain whole payloads.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            mismatch(symbol(operator), &[type_name(left), type_name(right)])
        }
        ExecutionError::NoSuchOverload(it) => mismatch(symbol(it.function()), it.argument_types()),
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", type_name(left), type_name(right))
        }
        ExecutionError::NoSuchKey(name) => format!("there is no field `{name}`"),
        ExecutionError::IndexOutOfBounds(CelValue::Int(index)) => format!("the list has no item {index}"),
        ExecutionError::IndexOutOfBounds(CelValue::UInt(index)) => format!("the list has no item {index}"),
        ExecutionError::IndexOutOfBounds(_) => "the list has no such item".to_owned(),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "remainder of a division by zero".to_owned(),
        ExecutionError::Overflow(operator, ..) => format!("the result of `{}` is out of range", symbol(operator)),
        ExecutionError::UnexpectedType { got, want } if want == "iterable" => {
            format!("only a list or an object can be walked, not {got}")
        }
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        ExecutionError::FunctionError { function, .. } if function == "duration" => {
            "`duration` takes text such as `90s`, `1h30m` or `250ms`, up to 292 years".to_owned()
        }
        ExecutionError::FunctionError { function, message } => short(&format_args!("`{function}`: {message}")),
        ExecutionError::DuplicateKey(_) => "a map has the same key twice".to_owned(),
        ExecutionError::UnsupportedKeyType(key) => format!("{} cannot be the key of a map", type_name(key)),
        other => short(other),
    }
}

/// The type as CEL spells it; `cel` itself is not of one mind about `double`.
fn type_name(value: &CelValue) -> String {
    match value {
        CelValue::Float(_) => "double".to_owned(),
        other => other.type_of().to_string(),
    }
}

fn mismatch(operator: &str, types: &[String]) -> String {
    let numbers = |it: &String| matches!(it.as_str(), "int" | "uint" | "double");
    let way_out = if types.len() == 2 && types[0] != types[1] && types.iter().all(numbers) {
        "; convert one of them: `double(x)`, `int(x)`"
    } else if operator == "+" && types.iter().any(|it| it == "string") {
        "; convert with `string(x)`"
    } else if operator == "+" && types.iter().any(|it| it == "map") {
        "; an object that is not a plain path cannot be walked or added to"
    } else {
        ""
    };
    format!("`{operator}` does not work on {}{way_out}", types.join(" and "))
}

/// What stands in the source for CEL's name of an operator.
fn symbol(name: &str) -> &str {
    match name {
        "add" => "+",
        "sub" | "negate" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        "@in" => "in",
        "_?_:_" => "?:",
        "_[_]" => "[]",
        "_._" => ".",
        other => other.trim_matches('_'),
    }
}

/// The first 200 bytes or so of a text that may be huge.
fn short(text: &dyn fmt::Display) -> String {
    struct Short(String);
    impl Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            const BYTES_MAX: usize = 200;
            let room = BYTES_MAX.saturating_sub(self.0.len());
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let cut = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            self.0.push_str(&text[..cut]);
            self.0.push('…');
            Err(fmt::Error)
        }
    }
    let mut out = Short(String::new());
    // The error means that enough was written.
    let _ = write!(out, "{text}");
    out.0
}
