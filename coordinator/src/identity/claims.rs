//! What an issuer says about a caller, as far as it is believed.

use kapelle_types::{Caller, Principal};
use serde_json::{Map, Value};

use super::config::IssuerConfig;

/// What the principals of issuers begin with; those of tokens begin with `token:`.
const ISSUED: &str = "oidc:";

/// The person behind a caller, where an issuer says so. What a token says of a person is the word of whoever made the token,
/// who may make another for anybody.
pub(crate) fn vouched_person(caller: &Caller) -> Option<&str> {
    let issued = caller.principal.0.starts_with(ISSUED);
    caller.person.as_deref().map(str::trim).filter(|person| issued && !person.is_empty())
}

/// A person as entries and comparisons have them: two spellings of one address are one person.
pub(crate) fn spelled(person: &str) -> String {
    person.trim().to_lowercase()
}

/// The caller that these claims describe; `None` if they name nobody.
pub(super) fn caller(config: &IssuerConfig, claims: &Map<String, Value>) -> Option<Caller> {
    let names = &config.claims;
    let subject = claims.get("sub")?.as_str().filter(|s| !s.is_empty())?;
    let of_claim = |name: &Option<String>| name.as_ref().and_then(|name| find(claims, name));
    let namespace = match &names.namespace {
        Some(name) => find(claims, name).and_then(Value::as_str).and_then(|n| n.parse().ok()),
        None => config.namespace.clone(),
    };
    Some(Caller {
        principal: Principal(format!("{ISSUED}{}#{subject}", config.issuer)),
        person: of_claim(&names.person).and_then(Value::as_str).map(str::to_owned),
        roles: find(claims, &names.roles)
            .map(words)
            .unwrap_or_default()
            .iter()
            .filter_map(|r| r.parse().ok())
            .collect(),
        namespace,
        sees_payloads: of_claim(&names.may_see_payloads) == Some(&Value::Bool(true)),
        groups: of_claim(&names.groups).map(words).unwrap_or_default().into_iter().map(str::to_owned).collect(),
    })
}

/// A claim by its name, or by a JSON pointer.
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = claims.get(first)?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// A list of strings, or one string with spaces.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Claims, KeySource};
    use super::*;
    use kapelle_types::Role;
    use serde_json::json;

    fn of(claims: Value) -> Option<Caller> {
        let names = Claims {
            roles: "/realm/roles".into(),
            namespace: Some("ns".into()),
            person: Some("email".into()),
            may_see_payloads: Some("payloads".into()),
            groups: Some("groups".into()),
        };
        let config = IssuerConfig {
            issuer: "https://id".into(),
            audience: "kapelle".into(),
            algorithms: Vec::new(),
            keys: KeySource::File("none".into()),
            namespace: None,
            claims: names,
            leeway: std::time::Duration::ZERO,
        };
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        caller(&config, &claims)
    }

    #[test]
    fn claims_make_a_caller() {
        let claims = json!({
            "sub": "ada", "email": "ada@example.com", "ns": "legal", "payloads": true,
            "realm": { "roles": ["operator", "offline_access", "viewer"] }, "groups": ["legal", "Ops Leads"],
        });
        let ada = of(claims).unwrap();
        assert_eq!(ada.principal, Principal("oidc:https://id#ada".into()));
        assert_eq!(ada.roles, [Role::Viewer, Role::Operator].into());
        assert_eq!((ada.namespace.unwrap().as_str(), ada.sees_payloads), ("legal", true));
        assert_eq!(ada.person.as_deref(), Some("ada@example.com"));
        assert_eq!(ada.groups, ["legal".to_owned(), "Ops Leads".to_owned()].into());
        assert_eq!(of(json!({ "sub": "a", "realm": { "roles": "viewer admin" } })).unwrap().roles.len(), 2);
    }

    #[test]
    fn a_person_is_whom_an_issuer_vouches_for() {
        let mut ada = of(json!({ "sub": "ada", "email": " ada@example.com" })).unwrap();
        assert_eq!(vouched_person(&ada), Some("ada@example.com"));
        ada.principal = Principal("token:ada".into());
        assert_eq!(vouched_person(&ada), None, "whoever made the token may have written anybody");
        for nobody in [json!({ "sub": "x" }), json!({ "sub": "x", "email": " " })] {
            assert_eq!(vouched_person(&of(nobody).unwrap()), None);
        }
    }

    #[test]
    fn what_is_not_said_or_said_oddly_is_not_given() {
        assert!(of(json!({ "realm": { "roles": ["admin"] } })).is_none(), "nobody has no name");
        for odd in [json!({ "sub": "x" }), json!({ "sub": "x", "payloads": "true", "ns": "NOT A NAME", "realm": 7 })] {
            let caller = of(odd).unwrap();
            assert!(caller.roles.is_empty() && caller.namespace.is_none() && !caller.sees_payloads);
        }
    }
}
