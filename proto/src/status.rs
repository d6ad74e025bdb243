//! How a run stands, on the wire.

use kapelle_engine::RunStatus;

use crate::error::DecodeError;
use crate::v1;

impl From<RunStatus> for v1::RunStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Pending => Self::Pending,
            RunStatus::Running => Self::Running,
            RunStatus::Paused => Self::Paused,
            RunStatus::Waiting => Self::Waiting,
            RunStatus::Completed => Self::Completed,
            RunStatus::Failed => Self::Failed,
            RunStatus::Canceled => Self::Canceled,
            RunStatus::Terminated => Self::Terminated,
            RunStatus::TimedOut => Self::TimedOut,
            RunStatus::Stalled => Self::Stalled,
        }
    }
}

impl TryFrom<v1::RunStatus> for RunStatus {
    type Error = DecodeError;

    fn try_from(status: v1::RunStatus) -> Result<Self, DecodeError> {
        Ok(match status {
            v1::RunStatus::Unspecified => return Err(DecodeError::Missing("status")),
            v1::RunStatus::Pending => Self::Pending,
            v1::RunStatus::Running => Self::Running,
            v1::RunStatus::Paused => Self::Paused,
            v1::RunStatus::Waiting => Self::Waiting,
            v1::RunStatus::Completed => Self::Completed,
            v1::RunStatus::Failed => Self::Failed,
            v1::RunStatus::Canceled => Self::Canceled,
            v1::RunStatus::Terminated => Self::Terminated,
            v1::RunStatus::TimedOut => Self::TimedOut,
            v1::RunStatus::Stalled => Self::Stalled,
        })
    }
}

/// Reads a status as messages carry it: a number, so that a newer release's status survives the decoding.
pub(crate) fn decode(number: i32) -> Result<RunStatus, DecodeError> {
    v1::RunStatus::try_from(number).map_err(|_| DecodeError::Unknown("status"))?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_status_or_named() {
        for number in 1..=10 {
            let status = decode(number).unwrap();
            assert_eq!(v1::RunStatus::from(status) as i32, number);
        }
        assert!(matches!(decode(0), Err(DecodeError::Missing("status"))));
        assert!(matches!(decode(11), Err(DecodeError::Unknown("status"))));
    }
}
