//! `repeat`: a step that is done in rounds until what it gives is good enough.

use kapelle_expression::Expression;
use kapelle_types::limits::ROUNDS_MAX;
use serde::Serialize;

use crate::read::{Issues, Part};
use crate::write;

/// Rounds where a step does not say how many: more of them are rarely better.
const ROUNDS_DEFAULT: u32 = 10;

/// When a step is done again after it succeeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeat {
    /// Whether the round was the last one, over the round's `output`, `last` and `round`.
    #[serde(serialize_with = "write::expression")]
    pub until: Expression,
    /// Rounds at most.
    pub max: u32,
    /// What happens when that many were not enough.
    pub on_max: OnMax,
}

/// What happens when the rounds are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMax {
    /// The step gives up.
    #[default]
    GiveUp,
    /// What the last round gave is the step's output.
    Accept,
}

impl Repeat {
    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let until = fields.required("until", issues).and_then(|it| it.expression(issues));
        let max = fields.optional("max").map_or(Some(ROUNDS_DEFAULT), |it| it.count(1, ROUNDS_MAX, issues));
        let words = [("give_up", OnMax::GiveUp), ("accept", OnMax::Accept)];
        let on_max = fields.optional("on_max").map_or(Some(OnMax::GiveUp), |it| it.word(&words, issues));
        fields.close(&[], issues);
        Some(Self { until: until?, max: max?, on_max: on_max? })
    }
}
