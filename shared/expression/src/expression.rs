//! One compiled expression.

use std::sync::Arc;

use kapelle_types::Payload;
use serde_json::Value;

use crate::analysis::{self, Analysis};
use crate::lookup::{self, Fault};
use crate::scan::{self, Piece};
use crate::{Error, ErrorKind, Reference, Scope, evaluation, syntax};

/// One CEL expression, checked and ready to be evaluated. Cloning is cheap; equal means the same source.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: String,
    plan: Plan,
}

/// How an expression is evaluated.
#[derive(Debug)]
enum Plan {
    /// It is a path: looked up, without CEL. One element, so that `references` can be a slice.
    Path([Reference; 1]),
    /// Everything else.
    Cel(Box<Analysis>),
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Expression {}

impl Expression {
    /// Compiles an expression, with or without its `${ }`.
    ///
    /// # Errors
    /// It is not an expression, refers to something that cannot be there, or exceeds a bound.
    pub fn compile(source: &str) -> Result<Self, Error> {
        let text = source.trim();
        if !text.starts_with("${") {
            return Self::compile_inner(text);
        }
        match scan::pieces(text) {
            Ok(pieces) => match pieces.as_slice() {
                [Piece::Expression(inner)] => Self::compile_inner(inner.trim()),
                _ => {
                    let message = "one `${…}` is expected here, with nothing before or behind it";
                    Err(Error::new(ErrorKind::Syntax, text, message))
                }
            },
            Err(unclosed) => Err(Self::unclosed(unclosed.rest)),
        }
    }

    pub(crate) fn unclosed(rest: &str) -> Error {
        // What is wrong inside is more useful than that the end is missing, unless it is only that.
        let message = "this `${` is never closed: a `}` is missing; a literal `${` is written `$${`";
        let shown: String = rest.chars().take(80).collect();
        Error::new(ErrorKind::Syntax, &shown, message).at(Some(0))
    }

    pub(crate) fn compile_inner(source: &str) -> Result<Self, Error> {
        let tree = syntax::parse(source)?;
        let plan = match analysis::path(source, &tree)? {
            Some(reference) => Plan::Path([reference]),
            None => Plan::Cel(Box::new(analysis::analyse(source, tree)?)),
        };
        Ok(Self(Arc::new(Inner { source: source.to_owned(), plan })))
    }

    /// The source, without `${ }`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// What the expression refers to, each once.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        match &self.0.plan {
            Plan::Path(reference) => reference,
            Plan::Cel(analysis) => &analysis.references,
        }
    }

    /// The value. A reference to a whole root gives that payload itself: its `Arc`, its claim check, even if its value
    /// could not be fetched.
    ///
    /// # Errors
    /// A field is missing, types do not fit, a bound is exceeded, or a payload that is needed could not be fetched.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Payload, Error> {
        self.value(scope).map_err(|fault| fault.in_source(&self.0.source))
    }

    /// The value of a condition.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], and if the value is not a boolean.
    pub fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, Error> {
        let value = match &self.0.plan {
            Plan::Path([reference]) => Self::look_up(reference, scope, |value| {
                value.as_bool().ok_or_else(|| evaluation::not_a_bool(lookup::kind(value)))
            }),
            Plan::Cel(analysis) => evaluation::evaluate_bool(analysis, scope),
        };
        value.map_err(|fault| fault.in_source(&self.0.source))
    }

    /// The value of a `foreach`: at most `max` items, each as a payload of its own.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], and if the value is not a list (`Evaluation`) or longer than `max` (`Bound`).
    pub fn evaluate_list(&self, scope: &dyn Scope, max: usize) -> Result<Vec<Payload>, Error> {
        let items = match &self.0.plan {
            Plan::Path([reference]) => Self::look_up(reference, scope, |value| match value {
                Value::Array(items) => {
                    fits(items.len(), max)?;
                    Ok(items.iter().cloned().map(Payload::inline).collect())
                }
                other => Err(not_a_list(lookup::kind(other))),
            }),
            Plan::Cel(analysis) => evaluation::evaluate(analysis, scope).and_then(|value| match value {
                Value::Array(items) => {
                    fits(items.len(), max)?;
                    Ok(items.into_iter().map(Payload::inline).collect())
                }
                other => Err(not_a_list(lookup::kind(&other))),
            }),
        };
        items.map_err(|fault| fault.in_source(&self.0.source))
    }

    fn value(&self, scope: &dyn Scope) -> Result<Payload, Fault> {
        match &self.0.plan {
            Plan::Path([reference]) => {
                let payload = lookup::root(&reference.root, scope)?;
                if reference.path.is_empty() {
                    return Ok(payload);
                }
                let content = lookup::content(&payload, &reference.root)?;
                Ok(Payload::inline(lookup::walk(content, reference)?.clone()))
            }
            Plan::Cel(analysis) => evaluation::evaluate(analysis, scope).map(Payload::inline),
        }
    }

    /// Hands the value to `read` without copying it where it is a path.
    pub(crate) fn with_value<T>(
        &self,
        scope: &dyn Scope,
        read: impl FnOnce(&Value) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let result = match &self.0.plan {
            Plan::Path([reference]) => Self::look_up(reference, scope, read),
            Plan::Cel(analysis) => evaluation::evaluate(analysis, scope).and_then(|value| read(&value)),
        };
        result.map_err(|fault| fault.in_source(&self.0.source))
    }

    fn look_up<T>(
        reference: &Reference,
        scope: &dyn Scope,
        read: impl FnOnce(&Value) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let payload = lookup::root(&reference.root, scope)?;
        read(lookup::walk(lookup::content(&payload, &reference.root)?, reference)?)
    }
}

fn fits(items: usize, max: usize) -> Result<(), Fault> {
    if items > max {
        return Err(Fault::bound(format!("the list has {items} items, {max} are allowed")));
    }
    Ok(())
}

fn not_a_list(what: &str) -> Fault {
    Fault::evaluation(format!("the expression yields {what} instead of a list"))
}
