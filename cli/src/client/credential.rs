//! What this process shows to coordinators: a token or a JWT, as it goes with every call and into nothing else.

use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::failure::Failure;

/// A credential as somebody gave it. Nothing that prints prints it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential(String);

/// Puts the credential into every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl From<String> for Credential {
    fn from(text: String) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Bearer {
    /// Without a credential, calls bring none: the development identity of `kapelle dev` needs none.
    pub(super) fn new(credential: Option<&Credential>) -> Result<Self, Failure> {
        let Some(Credential(text)) = credential.filter(|c| !c.0.is_empty()) else { return Ok(Self(None)) };
        let malformed = || {
            let hint = "It is what `kapelle token create` printed, or a JWT: one line, without quotes.";
            Failure::usage("the token has characters that no token has", hint)
        };
        let mut value: MetadataValue<Ascii> = format!("Bearer {text}").parse().map_err(|_| malformed())?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// Whether calls bring a credential.
    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_with_the_call_and_is_printed_nowhere() {
        let credential = Credential::from(" kpl_0011_secret\n".to_owned());
        let mut bearer = Bearer::new(Some(&credential)).unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer kpl_0011_secret");
        for shown in [format!("{credential:?}"), format!("{bearer:?}"), format!("{request:?}")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn nothing_is_no_credential_and_garbage_is_not_repeated() {
        assert!(!Bearer::new(Some(&Credential::from(String::new()))).unwrap().is_there());
        let failure = Bearer::new(Some(&Credential::from("kpl_\u{1}secret".to_owned()))).unwrap_err();
        assert!(!failure.text().contains("secret"));
    }
}
