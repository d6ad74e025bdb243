//! `TokenService`: API tokens of the caller's own namespace. A caller hands on no more than it has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::tokens::{TokenId, Wanted};
use kapelle_proto::v1::{self, token_service_server::TokenService};
use kapelle_telemetry::clock;
use kapelle_types::{AuditWhat, Caller, Code, Diagnosis, InvalidName, Namespace, Role, limits};
use tonic::{Request, Response, Status};

use super::status::{caller, status};
use crate::access::{Access, Act};
use crate::identity::TokenCache;

/// Characters of the person behind a token: the longest mail address.
const PERSON_CHARS_MAX: usize = 254;

const CREATE: &str = "kapelle.v1.TokenService/Create";
const REVOKE: &str = "kapelle.v1.TokenService/Revoke";

pub(super) struct TokensApi {
    tokens: Arc<TokenCache>,
    access: Arc<Access>,
}

impl TokensApi {
    pub(super) const fn new(tokens: Arc<TokenCache>, access: Arc<Access>) -> Self {
        Self { tokens, access }
    }

    async fn make(&self, caller: &Caller, request: v1::CreateTokenRequest) -> Result<Made, Diagnosis> {
        let wanted = wanted(caller, request).inspect_err(|refused| {
            if refused.code == Code::DENIED {
                self.access.refused(caller, CREATE, refused);
            }
        })?;
        let roles: Vec<_> = wanted.roles.iter().map(ToString::to_string).collect();
        let reason = format!("roles {}, person {}", roles.join(" "), wanted.person.as_deref().unwrap_or("none"));
        self.act(caller, "token-create", CREATE, wanted.name.to_string(), reason).await?;
        let now = clock::now();
        let (secret, record) = self.tokens.bucket().create(wanted, now).await.map_err(|e| unavailable(&e))?;
        self.tokens.has(&record).await;
        Ok(Made { token: secret.reveal().to_owned(), view: Some(record.view(now)) })
    }

    async fn end(&self, caller: &Caller, id: &str) -> Result<v1::TokenView, Diagnosis> {
        let id: TokenId = id.parse().map_err(|e| invalid(&e))?;
        let namespace = own(caller)?;
        let there = self.tokens.bucket().all().await.map_err(|e| unavailable(&e))?;
        // A token of another namespace is not there for this caller.
        if !there.iter().any(|r| r.id == id && r.namespace == namespace) {
            return Err(Diagnosis::new(Code::UNKNOWN_TOKEN, format!("there is no token {id}"))
                .hint("`kapelle token list` shows them with their ids"));
        }
        self.act(caller, "token-revoke", REVOKE, id.to_string(), String::new()).await?;
        let now = clock::now();
        let record = self.tokens.bucket().revoke(&id, now).await.map_err(|e| unavailable(&e))?;
        self.tokens.has(&record).await;
        Ok(record.view(now))
    }

    async fn act(
        &self,
        caller: &Caller,
        verb: &'static str,
        rpc: &str,
        name: String,
        reason: String,
    ) -> Result<(), Diagnosis> {
        let what = AuditWhat { kind: "token".into(), name, ..AuditWhat::default() };
        self.access.act(caller, Act { verb, rpc, owner: None, what, reason }).await
    }
}

type Made = v1::CreateTokenResponse;

#[tonic::async_trait]
impl TokenService for TokensApi {
    async fn create(&self, request: Request<v1::CreateTokenRequest>) -> Result<Response<Made>, Status> {
        let caller = caller(&request)?;
        self.make(&caller, request.into_inner()).await.map(Response::new).map_err(|e| status(&e))
    }

    async fn list(&self, request: Request<v1::ListTokensRequest>) -> Result<Response<v1::ListTokensResponse>, Status> {
        let namespace = own(&*caller(&request)?).map_err(|e| status(&e))?;
        let all = self.tokens.bucket().all().await.map_err(|e| status(&unavailable(&e)))?;
        let now = clock::now();
        let tokens = all.iter().filter(|r| r.namespace == namespace).map(|r| r.view(now)).collect();
        Ok(Response::new(v1::ListTokensResponse { tokens }))
    }

    async fn revoke(&self, request: Request<v1::RevokeTokenRequest>) -> Result<Response<v1::TokenView>, Status> {
        let caller = caller(&request)?;
        self.end(&caller, &request.get_ref().id).await.map(Response::new).map_err(|e| status(&e))
    }
}

/// What a request asks for, within what its caller may hand on.
fn wanted(caller: &Caller, request: v1::CreateTokenRequest) -> Result<Wanted, Diagnosis> {
    let v1::CreateTokenRequest { name, roles, sees_payloads, person, life_seconds } = request;
    let refused = |message: String| Diagnosis::new(Code::REQUEST_INVALID, message);
    let roles: Result<BTreeSet<Role>, InvalidName> = roles.iter().map(|r| r.parse()).collect();
    let roles = roles.map_err(|e| invalid(&e))?;
    if roles.is_empty() {
        return Err(refused("a token has at least one role".into()));
    }
    if sees_payloads && !caller.sees_payloads {
        let message = format!("{} may not read payloads, so it cannot hand that on", caller.principal);
        return Err(Diagnosis::new(Code::DENIED, message).hint("ask somebody who may read payloads"));
    }
    if person.chars().count() > PERSON_CHARS_MAX {
        return Err(refused(format!("a person is named in {PERSON_CHARS_MAX} characters at most")));
    }
    let life = if life_seconds == 0 { limits::TOKEN_LIFE_DEFAULT } else { Duration::from_secs(life_seconds) };
    if life > limits::TOKEN_LIFE_MAX {
        let days = limits::TOKEN_LIFE_MAX.as_secs() / 86_400;
        return Err(refused(format!("a token lives for {days} days at most")));
    }
    Ok(Wanted {
        name: name.parse().map_err(|e| invalid(&e))?,
        roles,
        namespace: own(caller)?,
        sees_payloads,
        person: (!person.is_empty()).then_some(person),
        life,
        created_by: caller.principal.clone(),
    })
}

/// The caller's namespace: there is no way to name another.
fn own(caller: &Caller) -> Result<Namespace, Diagnosis> {
    let none = || Diagnosis::new(Code::DENIED, format!("{} belongs to no namespace", caller.principal));
    caller.namespace.clone().ok_or_else(none)
}

fn invalid(error: &InvalidName) -> Diagnosis {
    Diagnosis::new(Code::REQUEST_INVALID, error.to_string())
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    match error {
        kapelle_bus::Error::Refused { .. } => Diagnosis::new(Code::REQUEST_INVALID, error.to_string())
            .hint("revoke those that nobody uses; records of ended tokens are kept for 90 days"),
        kapelle_bus::Error::NotFound(_) => Diagnosis::new(Code::UNKNOWN_TOKEN, error.to_string()),
        kapelle_bus::Error::Unavailable(_)
        | kapelle_bus::Error::Unauthorized(_)
        | kapelle_bus::Error::Unreadable(_) => {
            Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("the tokens cannot be read or written: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_types::Principal;

    fn asked(sees_payloads: bool, change: impl Fn(&mut v1::CreateTokenRequest)) -> Result<Wanted, Code> {
        let caller = Caller {
            principal: Principal("token:root".into()),
            person: None,
            roles: [Role::Admin].into(),
            groups: [].into(),
            namespace: Some("legal".parse().unwrap()),
            sees_payloads,
        };
        let mut request =
            v1::CreateTokenRequest { name: "ci".into(), roles: vec!["viewer".into()], ..Default::default() };
        change(&mut request);
        wanted(&caller, request).map_err(|e| e.code)
    }

    #[test]
    fn the_namespace_is_the_callers_and_the_life_has_a_default() {
        let made = asked(false, |_| {}).unwrap();
        assert_eq!((made.namespace.as_str(), made.life), ("legal", limits::TOKEN_LIFE_DEFAULT));
        assert_eq!(made.created_by, Principal("token:root".into()));
    }

    #[test]
    fn nobody_hands_on_what_they_do_not_have() {
        assert_eq!(asked(false, |r| r.sees_payloads = true), Err(Code::DENIED));
        assert!(asked(true, |r| r.sees_payloads = true).unwrap().sees_payloads);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        assert_eq!(asked(true, |r| r.roles.clear()), Err(Code::REQUEST_INVALID));
        assert_eq!(asked(true, |r| r.roles = vec!["root".into()]), Err(Code::REQUEST_INVALID));
        assert_eq!(asked(true, |r| r.name = "CI".into()), Err(Code::REQUEST_INVALID));
        assert_eq!(asked(true, |r| r.life_seconds = 367 * 86_400), Err(Code::REQUEST_INVALID));
        assert_eq!(asked(true, |r| r.person = "x".repeat(255)), Err(Code::REQUEST_INVALID));
    }
}
