//! Reading a document field by field, all that is wrong at once.
//!
//! Manifests are read by hand and not by derived code, because what a person wrote deserves every error with its place,
//! the nearest name for a typo, and a word on keys that a later version will know.

use std::time::Duration;

use kapelle_contract::Pointer;
use kapelle_expression::{Expression, Template};
use kapelle_types::{InvalidName, duration};
use serde_json::{Map, Value};

use crate::issue::{Issue, suggestion};
use crate::size;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Part<'v> {
    pub(crate) value: &'v Value,
    pub(crate) pointer: Pointer,
}

/// All that is wrong so far.
pub(crate) type Issues = Vec<Issue>;

/// An object whose fields are read one by one.
pub(crate) struct Fields<'v> {
    map: &'v Map<String, Value>,
    pointer: Pointer,
    /// What the object is, for messages: `spec.role`.
    known: Vec<&'static str>,
}

impl<'v> Part<'v> {
    pub(crate) fn root(value: &'v Value) -> Self {
        Self { value, pointer: Pointer::root() }
    }

    /// The value as an object.
    pub(crate) fn fields(&self, issues: &mut Issues) -> Option<Fields<'v>> {
        match self.value {
            Value::Object(map) => Some(Fields { map, pointer: self.pointer.clone(), known: vec![] }),
            _ => self.expected("an object with named fields", "", issues),
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self, issues: &mut Issues) -> Option<Vec<Part<'v>>> {
        match self.value {
            Value::Array(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, value)| Part { value, pointer: self.pointer.item(index) })
                    .collect(),
            ),
            Value::String(_) | Value::Number(_) => {
                self.expected("a list", &format!("write a list of one: `[{}]`", plain(self.value)), issues)
            }
            _ => self.expected("a list", "", issues),
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, issues: &mut Issues) -> Option<&'v str> {
        match self.value {
            Value::String(text) if text.trim().is_empty() => {
                issues.push(Issue::rule(&self.pointer, "a text is expected here, this one is empty"));
                None
            }
            Value::String(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.expected("a text", "quote it if it is meant to be a text", issues)
            }
            _ => self.expected("a text", "", issues),
        }
    }

    /// A name or version of its own shape.
    pub(crate) fn name<T: std::str::FromStr<Err = InvalidName>>(&self, issues: &mut Issues) -> Option<T> {
        // A version such as 1.2 is a number to YAML; what a version is says more than that.
        let text = match self.value {
            Value::Number(number) => &number.to_string(),
            _ => self.text(issues)?,
        };
        match text.parse() {
            Ok(name) => Some(name),
            Err(invalid) => {
                let message = format!("`{}` is not a valid {}", invalid.value, invalid.what);
                issues.push(
                    Issue::rule(&self.pointer, message).label(format!("not a {}", invalid.what)).hint(invalid.rule),
                );
                None
            }
        }
    }

    /// Yes or no.
    pub(crate) fn flag(&self, issues: &mut Issues) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(*flag),
            _ => self.expected("`true` or `false`", "", issues),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn count(&self, min: u32, max: u32, issues: &mut Issues) -> Option<u32> {
        let Value::Number(number) = self.value else {
            return self.expected(&format!("a whole number from {min} to {max}"), "", issues);
        };
        match number.as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| (min..=max).contains(it)) {
            Some(count) => Some(count),
            None => {
                let message = format!("a whole number from {min} to {max} is expected here, not {number}");
                issues.push(Issue::rule(&self.pointer, message).label("out of range"));
                None
            }
        }
    }

    /// A number within bounds.
    pub(crate) fn number(&self, min: f64, max: f64, issues: &mut Issues) -> Option<f64> {
        let Value::Number(number) = self.value else {
            return self.expected(&format!("a number from {min} to {max}"), "", issues);
        };
        match number.as_f64().filter(|it| (min..=max).contains(it)) {
            Some(it) => Some(it),
            None => {
                let message = format!("a number from {min} to {max} is expected here, not {number}");
                issues.push(Issue::rule(&self.pointer, message).label("out of range"));
                None
            }
        }
    }

    /// A duration above zero.
    pub(crate) fn duration(&self, issues: &mut Issues) -> Option<Duration> {
        let Value::String(text) = self.value else {
            return self.expected("a duration", duration::HINT, issues);
        };
        match duration::parse(text) {
            Ok(duration) => Some(duration),
            Err(why) => {
                let issue = Issue::rule(&self.pointer, format!("`{text}` is not a duration: {why}"));
                issues.push(issue.label("not a duration").hint(duration::HINT));
                None
            }
        }
    }

    /// A size that is not below `min`.
    pub(crate) fn size(&self, min: u64, issues: &mut Issues) -> Option<u64> {
        let Value::String(text) = self.value else { return self.expected("a size", size::HINT, issues) };
        match size::parse(text) {
            Some(size) if size >= min => return Some(size),
            Some(_) => {
                let issue = Issue::rule(&self.pointer, format!("`{text}` is too little"));
                issues.push(issue.label("too small").hint(format!("`{}` is the least", size::format(min))));
            }
            None => {
                let issue = Issue::rule(&self.pointer, format!("`{text}` is not a size"));
                issues.push(issue.label("not a size").hint(size::HINT));
            }
        }
        None
    }

    /// An expression, with or without its `${ }`.
    pub(crate) fn expression(&self, issues: &mut Issues) -> Option<Expression> {
        let Value::String(text) = self.value else {
            return self.expected("an expression", "write `${…}`, for example `${input.on}`", issues);
        };
        Expression::compile(text).map_err(|error| issues.push(Issue::expression(&self.pointer, &error))).ok()
    }

    /// Any JSON, whose strings may hold expressions.
    pub(crate) fn template(&self, issues: &mut Issues) -> Option<Template> {
        Template::compile(self.value)
            .map_err(|errors| issues.extend(errors.iter().map(|error| Issue::expression(&self.pointer, error))))
            .ok()
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)], issues: &mut Issues) -> Option<T> {
        let names = words.iter().map(|(name, _)| *name);
        let Value::String(text) = self.value else {
            let all: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            return self.expected(&all.join(" or "), "", issues);
        };
        if let Some((_, it)) = words.iter().find(|(name, _)| name == text) {
            return Some(*it);
        }
        let issue = Issue::shape(&self.pointer, format!("`{text}` is not known here"));
        issues.push(issue.label("not known").hint(suggestion(text, names)));
        None
    }

    pub(crate) fn expected<T>(&self, what: &str, hint: &str, issues: &mut Issues) -> Option<T> {
        let found = match self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(it) => format!("the boolean {it}"),
            Value::Number(it) => format!("the number {it}"),
            Value::String(_) => format!("the text `{}`", plain(self.value)),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        let issue = Issue::shape(&self.pointer, format!("{what} is expected here, not {found}"));
        let issue = match self.value {
            Value::Array(_) | Value::Object(_) | Value::Null => issue.on_key(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => issue,
        };
        issues.push(issue.label(format!("expected {what}")).hint(hint));
        None
    }
}

/// Nothing for a field that is left out; `None` for one that is wrong.
pub(crate) fn optional<T>(part: Option<Part<'_>>, read: impl FnOnce(&Part<'_>) -> Option<T>) -> Option<Option<T>> {
    part.map_or(Some(None), |it| read(&it).map(Some))
}

/// A scalar as it is written, cut to what fits into a message.
fn plain(value: &Value) -> String {
    const CHARS_MAX: usize = 40;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(CHARS_MAX).collect()
}

impl<'v> Fields<'v> {
    /// The field, unless it is left out or empty.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Part<'v>> {
        self.known.push(name);
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Part { value, pointer: self.pointer.field(name) })
    }

    /// The field; left out or empty, it is an error.
    pub(crate) fn required(&mut self, name: &'static str, issues: &mut Issues) -> Option<Part<'v>> {
        let field = self.optional(name);
        if field.is_none() {
            let (pointer, message) = if self.map.contains_key(name) {
                (self.pointer.field(name), format!("`{name}` has no value"))
            } else {
                (self.pointer.clone(), format!("`{name}` is missing{}", self.place()))
            };
            issues.push(Issue::shape(&pointer, message).on_key().label(format!("`{name}` is needed here")));
        }
        field
    }

    /// The field; left out, it is an error unless one of the others is there, which is reported on its own.
    pub(crate) fn required_unless(
        &mut self,
        others: &[&str],
        name: &'static str,
        issues: &mut Issues,
    ) -> Option<Part<'v>> {
        if others.iter().any(|other| self.map.contains_key(*other)) {
            self.optional(name)
        } else {
            self.required(name, issues)
        }
    }

    /// Whether a field is there, be it empty.
    pub(crate) fn contains(&mut self, name: &'static str) -> bool {
        self.known.push(name);
        self.map.contains_key(name)
    }

    /// All fields, whatever their names.
    pub(crate) fn all(self) -> impl Iterator<Item = (&'v String, Part<'v>)> {
        let pointer = self.pointer;
        self.map.iter().map(move |(name, value)| (name, Part { value, pointer: pointer.field(name) }))
    }

    /// Reports what was not asked for. `later` are the names that the design knows and this version does not.
    pub(crate) fn close(self, later: &[&str], issues: &mut Issues) {
        let place = self.place();
        for name in self.map.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let pointer = self.pointer.field(name);
            issues.push(if later.contains(&name.as_str()) {
                let issue = Issue::shape(&pointer, format!("`{name}` is not supported by this version of Kapelle"));
                issue.on_key().label("not supported").hint("remove it; nothing would enforce it")
            } else {
                let issue = Issue::shape(&pointer, format!("there is no field `{name}`{place}"));
                issue.on_key().label("not known").hint(suggestion(name, self.known.iter().copied()))
            });
        }
    }

    fn place(&self) -> String {
        let text = self.pointer.to_string();
        if text.is_empty() { String::new() } else { format!(" in `{}`", dotted(&text)) }
    }
}

/// `/spec/steps/3/retry` as people write it: `spec.steps[3].retry`.
fn dotted(pointer: &str) -> String {
    pointer.split('/').skip(1).fold(String::new(), |text, token| {
        if token.chars().all(|c| c.is_ascii_digit()) {
            format!("{text}[{token}]")
        } else if text.is_empty() {
            token.to_owned()
        } else {
            format!("{text}.{token}")
        }
    })
}
