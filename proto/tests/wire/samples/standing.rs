//! Until when agent versions are used, and what is found when they go.

use kapelle_proto::v1::{
    Certificate, CertificateKey, Dependant, DeprecateRequest, DeprecateResponse, DeprecationView,
    GetCertificateKeyRequest, GetCertificateRequest, UndeprecateRequest, UndeprecateResponse,
};

use super::at;
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(DeprecateRequest {
            agent: "licence-review".into(),
            version: "1.2.0".into(),
            sunset_unix_nanos: at(86_400),
            successor: "2.0.0".into(),
            why: "slower".into(),
        }),
        Sample::new(DeprecateResponse {
            deprecation: Some(deprecation()),
            existed: true,
            dependants: vec![dependant()],
            open_runs: 3,
        }),
        Sample::new(deprecation()),
        Sample::new(dependant()),
        Sample::new(UndeprecateRequest { agent: "licence-review".into(), version: "1.2.0".into() }),
        Sample::new(UndeprecateResponse { existed: true }),
        Sample::new(GetCertificateRequest { agent: "licence-review".into(), version: "1.2.0".into() }),
        Sample::new(Certificate { jws: "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl".into() }),
        Sample::new(GetCertificateKeyRequest {}),
        Sample::new(CertificateKey { jwk: r#"{"kty":"OKP","crv":"Ed25519"}"#.into() }),
    ]
}

pub(super) fn deprecation() -> DeprecationView {
    DeprecationView {
        sunset_unix_nanos: at(86_400),
        successor: "2.0.0".into(),
        by: "user:ada".into(),
        at_unix_nanos: at(5),
        why: "slower".into(),
        over: true,
    }
}

fn dependant() -> Dependant {
    Dependant { workflow: "intake@1.4.0".into(), step: "review".into(), then: "licence-review@1.1.0".into() }
}
