//! From YAML text to JSON values that remember where in the text they stand. The one place that names the YAML reader.
//!
//! The reader is strict: no key twice, only `true` and `false` are booleans, no tags, no NaN; and it stops at budgets
//! that a manifest never needs, so that a file that unfolds (aliases of aliases) costs nothing.

use std::ops::Range;

use kapelle_contract::Pointer;
use kapelle_types::Code;
use kapelle_types::limits::MANIFEST_BYTES_MAX;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use crate::spans::{Side, Spans, Spot};

/// Values, keys and lists of all documents of a file together; a workflow of 500 steps has some 10,000.
const NODES_MAX: usize = 50_000;
/// Nesting; each level costs the reader stack.
const DEPTH_MAX: usize = 64;
/// Uses of aliases. They are fine to say a schema once; nobody says it 1,000 times.
const ALIASES_MAX: usize = 1_000;

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) spans: Spans,
}

/// Why a text cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) at: Option<Range<usize>>,
}

/// Reads all documents of a text; empty ones are left out.
pub(crate) fn read(text: &str) -> Result<Vec<Document>, Unreadable> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(Unreadable {
            code: Code::MANIFEST_BOUND,
            message: format!("the file is {} bytes long, {MANIFEST_BYTES_MAX} are allowed", text.len()),
            label: "this file",
            hint: "split it into several files and apply their folder",
            at: Some(0..1),
        });
    }
    let nodes: Vec<Node> =
        serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| unreadable(text, &error))?;
    let documents = nodes.into_iter().filter(|node| !matches!(node.kind, Kind::Scalar(Value::Null)));
    documents.map(|node| document(text, node)).collect()
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
        reject_unsupported_tags: true,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::Reject,
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_recorded_anchor_events: 4 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_total_scalar_bytes: 2 * MANIFEST_BYTES_MAX,
            max_recorded_anchor_bytes: 4 * MANIFEST_BYTES_MAX,
        },
    }
}

/// A value with its place.
struct Node {
    kind: Kind,
    at: Location,
}

enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value: kind, referenced, .. } = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { kind, at: referenced })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(it.into()))
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(it.into()))
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(it.into()))
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Kind, E> {
        let number = Number::from_f64(it).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Kind::Scalar(Value::Number(number)))
    }

    fn visit_str<E: de::Error>(self, it: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(it.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Kind::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(key) = entries.next_key()? {
            nodes.push((key, entries.next_value()?));
        }
        Ok(Kind::Map(nodes))
    }
}

fn document(text: &str, node: Node) -> Result<Document, Unreadable> {
    let mut spans = Spans::default();
    let value = plain(text, node, None, &Pointer::root(), &mut spans)?;
    Ok(Document { value, spans })
}

fn plain(
    text: &str,
    node: Node,
    key: Option<Range<usize>>,
    pointer: &Pointer,
    spans: &mut Spans,
) -> Result<Value, Unreadable> {
    // The reader knows where a list or an object starts; where it ends is where its last part does.
    let mut at = range(text, &node.at);
    let value = match node.kind {
        Kind::Scalar(value) => exact(text, value, &at)?,
        Kind::List(items) => {
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let pointer = pointer.item(index);
                values.push(plain(text, item, None, &pointer, spans)?);
                at.end = spans.find(&pointer, Side::Value).map_or(at.end, |part| part.end.max(at.end));
            }
            Value::Array(values)
        }
        Kind::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (name, value) in entries {
                let pointer = pointer.field(&name.value);
                let value = plain(text, value, Some(range(text, &name.referenced)), &pointer, spans)?;
                at.end = spans.find(&pointer, Side::Value).map_or(at.end, |part| part.end.max(at.end));
                map.insert(name.value, value);
            }
            Value::Object(map)
        }
    };
    spans.insert(pointer, Spot { key, value: at });
    Ok(value)
}

/// Refuses a whole number that would be rounded.
fn exact(text: &str, value: Value, at: &Range<usize>) -> Result<Value, Unreadable> {
    let written = text.get(at.clone()).unwrap_or_default();
    let digits = written.trim_start_matches(['-', '+']);
    if value.is_f64() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Unreadable {
            code: Code::MANIFEST_SYNTAX,
            message: format!("the number {written} does not fit into 64 bits"),
            label: "too large",
            hint: "quote it, to have it as a text",
            at: Some(at.clone()),
        });
    }
    Ok(value)
}

/// The bytes of a place. Errors of the reader often have only line and column.
fn range(text: &str, at: &Location) -> Range<usize> {
    let number = |it: Option<u64>| it.and_then(|it| usize::try_from(it).ok());
    let start = number(at.span().byte_offset()).unwrap_or_else(|| offset(text, at.line(), at.column()));
    let start = (0..=start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let end = start.saturating_add(number(at.span().byte_len()).unwrap_or(0)).min(text.len());
    start..(end..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(start)
}

fn offset(text: &str, line: u64, column: u64) -> usize {
    let line = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[before..];
    let rest = rest.split('\n').next().unwrap_or_default();
    before + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

/// What the reader says, and what it means for somebody who writes YAML by hand.
const TRANSLATIONS: &[(&str, &str, &str)] = &[
    (
        "mapping values are not allowed in this context",
        "a `:` is not expected here",
        "check the indentation of this line and the one before; a text that contains `: ` has to be quoted",
    ),
    (
        "simple key expected ':'",
        "this is neither a `key: value` nor a `- item`",
        "a key is followed by `:` and a space",
    ),
    (
        "illegal placement of ':'",
        "a `:` is not expected here",
        "a bracket before it, `[` or `{`, may not be closed; a text that contains `: ` has to be quoted",
    ),
    ("found a tab", "a tab cannot indent", "YAML is indented with spaces only; the tab is behind this place"),
    ("unclosed bracket '['", "this `[` is never closed", "add the `]`"),
    ("unclosed bracket '{'", "this `{` is never closed", "add the `}`"),
    (
        "did not find expected '-' indicator",
        "a list goes on here, but with something that is no `- item`",
        "indent it as the items of the list if it belongs to them, less if it does not",
    ),
    (
        "did not find expected key",
        "an object goes on here, but with something that is no `key: value`",
        "check the indentation of this line and the one before",
    ),
    (
        "invalid indentation in multiline quoted scalar",
        "a quoted text is never closed, or goes on with too little indentation",
        "check the quotes of the line before",
    ),
    (
        "found unknown escape character",
        "this text has an unknown escape",
        "in 'single quotes' a backslash is a backslash",
    ),
    (
        "alias references unknown anchor",
        "this alias names no anchor",
        "an anchor is set with `&name` before it is used with `*name`",
    ),
    ("unexpected character", "a value cannot start with this character", "quote the value"),
    ("unsupported tag", "tags are not supported", "remove the `!…`; the schema says what a value is"),
    ("non-finite float", "a number is finite; infinity and NaN are none", ""),
    ("cannot deserialize null into string", "a key is a text, `null` is none", "quote it"),
    ("expected string scalar", "a key is a text", ""),
    ("YAML merge value", "`<<` merges an object, or a list of objects", "use it with an alias: `<<: *name`"),
];

fn unreadable(text: &str, error: &serde_saphyr::Error) -> Unreadable {
    let error = error.without_snippet();
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let at = error.location().map(|at| range(text, &at));
    if let Some(key) = said.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", set DuplicateKeyPolicy").next().unwrap_or(key);
        return Unreadable {
            code: Code::MANIFEST_SYNTAX,
            message: format!("the key `{key}` is there twice"),
            label: "the second one",
            hint: "remove one of them; none would win",
            at,
        };
    }
    if ["budget breached", "recursion limit", "limit exceeded", "exceeds"].iter().any(|it| said.contains(it)) {
        return Unreadable {
            code: Code::MANIFEST_BOUND,
            message: format!(
                "the file holds more than a manifest may: {NODES_MAX} values, {DEPTH_MAX} levels, {ALIASES_MAX} aliases"
            ),
            label: "too much from here on",
            hint: "aliases count as often as they are used; data belongs into a run's input, not into a manifest",
            at,
        };
    }
    let (message, hint) = TRANSLATIONS
        .iter()
        .find(|(theirs, ..)| said.contains(theirs))
        .map_or((format!("this is not valid YAML: {said}"), ""), |(_, ours, hint)| ((*ours).to_owned(), *hint));
    Unreadable { code: Code::MANIFEST_SYNTAX, message, label: "here", hint, at }
}
