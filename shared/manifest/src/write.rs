//! Writing values of other crates as manifests have them.

use std::collections::BTreeMap;
use std::time::Duration;

use kapelle_contract::Contract;
use kapelle_expression::{Expression, Template};
use kapelle_prompt::Prompt;
use kapelle_types::RetryPolicy;
use serde::{Serialize, Serializer};

pub(crate) fn duration<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&kapelle_types::duration::format(*duration))
}

pub(crate) fn durations<S: Serializer>(durations: &[Duration], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(durations.iter().map(|it| kapelle_types::duration::format(*it)))
}

pub(crate) fn optional_duration<S: Serializer>(duration: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    duration.map(kapelle_types::duration::format).serialize(s)
}

pub(crate) fn optional_size<S: Serializer>(bytes: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
    bytes.map(crate::size::format).serialize(s)
}

pub(crate) fn retry<S: Serializer>(policy: &RetryPolicy, s: S) -> Result<S::Ok, S::Error> {
    crate::retry::write(policy).serialize(s)
}

pub(crate) fn optional_retry<S: Serializer>(policy: &Option<RetryPolicy>, s: S) -> Result<S::Ok, S::Error> {
    policy.as_ref().map(crate::retry::write).serialize(s)
}

pub(crate) fn expression<S: Serializer>(it: &Expression, s: S) -> Result<S::Ok, S::Error> {
    enclosed(it).serialize(s)
}

pub(crate) fn optional_expression<S: Serializer>(it: &Option<Expression>, s: S) -> Result<S::Ok, S::Error> {
    it.as_ref().map(enclosed).serialize(s)
}

fn enclosed(it: &Expression) -> String {
    // A comment would swallow the brace behind it.
    let end = if it.source().contains("//") { "\n}" } else { "}" };
    format!("${{{}{end}", it.source())
}

pub(crate) fn optional_template<S: Serializer>(template: &Option<Template>, s: S) -> Result<S::Ok, S::Error> {
    template.as_ref().map(Template::source).serialize(s)
}

pub(crate) fn template<S: Serializer>(template: &Template, s: S) -> Result<S::Ok, S::Error> {
    template.source().serialize(s)
}

pub(crate) fn templates<K: Serialize, S: Serializer>(map: &BTreeMap<K, Template>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(map.iter().map(|(name, template)| (name, template.source())))
}

pub(crate) fn prompt<S: Serializer>(prompt: &Prompt, s: S) -> Result<S::Ok, S::Error> {
    prompt.source().serialize(s)
}

pub(crate) fn optional_prompt<S: Serializer>(prompt: &Option<Prompt>, s: S) -> Result<S::Ok, S::Error> {
    prompt.as_ref().map(Prompt::source).serialize(s)
}

pub(crate) fn schema<S: Serializer>(contract: &Contract, s: S) -> Result<S::Ok, S::Error> {
    contract.schema().serialize(s)
}
