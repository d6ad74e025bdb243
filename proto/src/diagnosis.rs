//! User-visible errors on their way to a client and back.

use kapelle_types::{Code, Diagnosis};

use crate::error::DecodeError;
use crate::v1;

impl From<&Diagnosis> for v1::ApiError {
    fn from(diagnosis: &Diagnosis) -> Self {
        Self {
            code: diagnosis.code.as_str().to_owned(),
            message: diagnosis.message.clone(),
            hint: diagnosis.hint.clone(),
        }
    }
}

impl TryFrom<v1::ApiError> for Diagnosis {
    type Error = DecodeError;

    /// Fails for a code that only a newer release has; the client then shows the message as it came.
    fn try_from(wire: v1::ApiError) -> Result<Self, DecodeError> {
        let code = Code::parse(&wire.code).ok_or(DecodeError::Unknown("code"))?;
        Ok(Self { code, message: wire.message, hint: wire.hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_arrives_as_it_left() {
        for code in Code::ALL {
            let diagnosis = Diagnosis::new(*code, "It is so.").hint("Mend it.");
            assert_eq!(Diagnosis::try_from(v1::ApiError::from(&diagnosis)).unwrap(), diagnosis);
        }
        assert!(Diagnosis::try_from(v1::ApiError { code: "K9999".into(), ..Default::default() }).is_err());
    }
}
