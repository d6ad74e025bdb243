//! What reports say about an attempt besides its output: the failure, the work done, what it used up.

use std::time::Duration;

use kapelle_engine::{Failure, FailureKind, Usage, Work};
use kapelle_types::{Timestamp, printed};

use crate::error::DecodeError;
use crate::v1;
use crate::v1::step_failure::Kind;

impl From<&Failure> for v1::StepFailure {
    fn from(failure: &Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Agent => Kind::Agent,
            FailureKind::Timeout => Kind::Timeout,
            FailureKind::LeaseLost => Kind::LeaseLost,
            FailureKind::Returned => Kind::Returned,
        };
        Self {
            kind: kind.into(),
            code: failure.code.clone(),
            message: failure.message.clone(),
            retryable: failure.retryable,
            retry_after_millis: failure.retry_after.map(millis),
            evidence: failure.evidence.clone(),
        }
    }
}

impl TryFrom<v1::StepFailure> for Failure {
    type Error = DecodeError;

    fn try_from(wire: v1::StepFailure) -> Result<Self, DecodeError> {
        let kind = match Kind::try_from(wire.kind).map_err(|_| DecodeError::Unknown("failure.kind"))? {
            Kind::Unspecified => return Err(DecodeError::Missing("failure.kind")),
            Kind::Agent => FailureKind::Agent,
            Kind::Timeout => FailureKind::Timeout,
            Kind::LeaseLost => FailureKind::LeaseLost,
            Kind::Returned => FailureKind::Returned,
        };
        Ok(Self {
            kind,
            code: wire.code,
            message: wire.message,
            retryable: wire.retryable,
            retry_after: wire.retry_after_millis.map(Duration::from_millis),
            evidence: wire.evidence,
        })
    }
}

/// Reads a failure that must be there.
pub(crate) fn decode(wire: Option<v1::StepFailure>, field: &'static str) -> Result<Failure, DecodeError> {
    wire.ok_or(DecodeError::Missing(field))?.try_into()
}

impl From<&Work> for v1::WorkDone {
    fn from(work: &Work) -> Self {
        Self {
            worker: work.worker.clone(),
            started_at_unix_nanos: work.started_at.nanos(),
            duration_nanos: u64::try_from(work.duration.as_nanos()).unwrap_or(u64::MAX),
            agent: work.agent.as_ref().map(printed).unwrap_or_default(),
        }
    }
}

impl From<v1::WorkDone> for Work {
    fn from(wire: v1::WorkDone) -> Self {
        Self {
            worker: wire.worker,
            started_at: Timestamp::from_nanos(wire.started_at_unix_nanos),
            duration: Duration::from_nanos(wire.duration_nanos),
            // It is for people to read: what is none says nothing.
            agent: wire.agent.parse().ok(),
        }
    }
}

impl From<Usage> for v1::ResourceUsage {
    fn from(usage: Usage) -> Self {
        let Usage { cost_usd, input_tokens, output_tokens, tool_calls } = usage;
        Self { cost_usd, input_tokens, output_tokens, tool_calls }
    }
}

impl TryFrom<v1::ResourceUsage> for Usage {
    type Error = DecodeError;

    fn try_from(wire: v1::ResourceUsage) -> Result<Self, DecodeError> {
        if !wire.cost_usd.is_finite() {
            return Err(DecodeError::invalid("usage.cost_usd", "a sum of money is a finite number"));
        }
        let v1::ResourceUsage { cost_usd, input_tokens, output_tokens, tool_calls } = wire;
        Ok(Self { cost_usd, input_tokens, output_tokens, tool_calls })
    }
}

/// Milliseconds as the wire has them, rounded up: a short wait must not become none.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_wait_is_not_none() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }

    #[test]
    fn kinds_that_a_newer_release_has_are_named() {
        let of = |kind| Failure::try_from(v1::StepFailure { kind, ..Default::default() });
        assert!(of(1).is_ok());
        assert!(matches!(of(0), Err(DecodeError::Missing("failure.kind"))));
        assert!(of(99).unwrap_err().is_newer());
    }

    #[test]
    fn money_is_a_number() {
        let of = |cost_usd| Usage::try_from(v1::ResourceUsage { cost_usd, ..Default::default() });
        assert!(of(0.25).is_ok());
        assert!(of(f64::NAN).is_err() && of(f64::INFINITY).is_err());
    }
}
