//! What people said about held steps, as the log has it.

use kapelle_engine::{ApprovalChecked, ApprovalDecided, Decider, Verdict};
use kapelle_types::{Payload, printed};

use crate::error::{DecodeError, parsed};
use crate::payload::{self, digest};
use crate::v1;

impl From<&ApprovalDecided> for v1::ApprovalDecided {
    fn from(decided: &ApprovalDecided) -> Self {
        let (verdict, arguments) = encode_verdict(&decided.verdict);
        Self {
            step: printed(&decided.step),
            digest: decided.digest.0.to_vec().into(),
            verdict: verdict.into(),
            arguments: arguments.map(Into::into),
            comment: decided.comment.clone(),
            by: Some((&decided.by).into()),
        }
    }
}

impl TryFrom<v1::ApprovalDecided> for ApprovalDecided {
    type Error = DecodeError;

    fn try_from(wire: v1::ApprovalDecided) -> Result<Self, DecodeError> {
        Ok(Self {
            verdict: decode_verdict(wire.verdict, wire.arguments)?,
            step: parsed(&wire.step, "step")?,
            digest: digest(&wire.digest, "digest")?,
            comment: wire.comment,
            by: wire.by.map(Into::into).ok_or(DecodeError::Missing("by"))?,
        })
    }
}

impl From<&Decider> for v1::ApprovalDecider {
    fn from(by: &Decider) -> Self {
        Self {
            person: by.person.clone(),
            groups: by.groups.clone(),
            policies: by.policies.clone(),
            in_place_of: by.in_place_of.clone(),
        }
    }
}

impl From<v1::ApprovalDecider> for Decider {
    fn from(wire: v1::ApprovalDecider) -> Self {
        Self { person: wire.person, groups: wire.groups, policies: wire.policies, in_place_of: wire.in_place_of }
    }
}

impl From<&ApprovalChecked> for v1::ApprovalChecked {
    fn from(checked: &ApprovalChecked) -> Self {
        Self {
            step: printed(&checked.step),
            digest: checked.digest.0.to_vec().into(),
            agreed: checked.agreed,
            void: checked.void.clone(),
            policies: checked.policies.clone(),
        }
    }
}

impl TryFrom<v1::ApprovalChecked> for ApprovalChecked {
    type Error = DecodeError;

    fn try_from(wire: v1::ApprovalChecked) -> Result<Self, DecodeError> {
        Ok(Self {
            step: parsed(&wire.step, "step")?,
            digest: digest(&wire.digest, "digest")?,
            agreed: wire.agreed,
            void: wire.void,
            policies: wire.policies,
        })
    }
}

fn encode_verdict(verdict: &Verdict) -> (v1::approval_decided::Verdict, Option<&Payload>) {
    use v1::approval_decided::Verdict as Wire;
    match verdict {
        Verdict::Approve => (Wire::Approve, None),
        Verdict::Reject => (Wire::Reject, None),
        Verdict::Edit(arguments) => (Wire::Edit, Some(arguments)),
        Verdict::Override => (Wire::Override, None),
        Verdict::Undo => (Wire::Undo, None),
    }
}

/// A verdict that is not known is none: taking it for another one would let something be done.
fn decode_verdict(verdict: i32, arguments: Option<v1::PayloadData>) -> Result<Verdict, DecodeError> {
    use v1::approval_decided::Verdict as Wire;
    match Wire::try_from(verdict) {
        Ok(Wire::Approve) => Ok(Verdict::Approve),
        Ok(Wire::Reject) => Ok(Verdict::Reject),
        Ok(Wire::Edit) => payload::decode(arguments, "arguments").map(Verdict::Edit),
        Ok(Wire::Override) => Ok(Verdict::Override),
        Ok(Wire::Undo) => Ok(Verdict::Undo),
        Ok(Wire::Unspecified) => Err(DecodeError::Missing("verdict")),
        Err(_) => Err(DecodeError::Unknown("verdict")),
    }
}
