//! Samples of `registry.proto`: API tokens.

use kapelle_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest, TokenView,
};

use super::at;
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(CreateTokenRequest {
            name: "ci".into(),
            roles: vec!["publisher".into(), "viewer".into()],
            sees_payloads: true,
            person: "ada@example.com".into(),
            life_seconds: 86_400,
        }),
        Sample::new(CreateTokenResponse { token: "kpl_0011223344556677_secret".into(), view: Some(view()) }),
        Sample::new(ListTokensRequest {}),
        Sample::new(ListTokensResponse { tokens: vec![view()] }),
        Sample::new(RevokeTokenRequest { id: "0011223344556677".into() }),
        Sample::new(view()),
    ]
}

fn view() -> TokenView {
    TokenView {
        id: "0011223344556677".into(),
        name: "ci".into(),
        roles: vec!["publisher".into(), "viewer".into()],
        namespace: "default".into(),
        sees_payloads: true,
        person: "ada@example.com".into(),
        created_by: "token:root".into(),
        created_at_unix_nanos: at(0),
        expires_at_unix_nanos: at(86_400),
        revoked_at_unix_nanos: at(60),
        state: "revoked".into(),
    }
}
