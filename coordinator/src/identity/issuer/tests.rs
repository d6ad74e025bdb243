//! JWTs with real keys against a JWKS that a real HTTP server serves, changes, and stops serving.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::ring::hmac;
use ::ring::rand::SystemRandom;
use ::ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapelle_telemetry::clock;
use kapelle_types::Principal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::super::config::{Claims, KeySource};
use super::*;

const ISSUER: &str = "https://id.example.com";
/// The longest that any condition is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// The modulus of a key that another implementation made; its private half is gone.
const RSA_MODULUS: &str = "\
0kWkGImEbXVb0zB2LrPLB5Qhb_AMZq4VHc1gfgC4r9r2LzYzQs00t75ZbV3pQwsMoWAXCbOG2jbyYYeP4g49GC-sxXOT70QPdzVh\
6Gn5DrT40CUxdXjcbRupv793GjQZMT7xc4PqoaFnK1fWA2lZUUEEM6NbIP0zwFpVo1z-fH7EFGFMhUefNLrpl9QvWn0s3Sxwkpob\
UzE1OIPR5jNr4vNV31xCfcX-uFsJK2ZoNFi1MDz-8KY-NXqgzrG1CXwnwt3ypjdBISp_Xy1xRsZ5O-fVJAwZqUUc_VHBapXxWHJd\
L9yv_D-e_Yg2vYJtCN0tZRjjVWEpa6Zh7JCl-SnXFw";
/// Signed with it by that implementation; valid until 2100.
const SIGNED_RS256: &str = "\
eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoia2FwZWxsZSI\
sInN1YiI6ImFkYSIsImV4cCI6NDEwMjQ0NDgwMH0.w4B4bVMRCu_1xbtiKxDzbrx4GWdwbNxzE3Eg7sJKH-EAQQJebzRlAThMCFV\
WNiAo-SUUQ9EupmGvnppP1sqs0rR-tThpQuDIMjZGC5b8sCUdlvQV6b4IL-9u4Pmih8vnEWZNwwGFB2VDZN9D1C4GEGbZnUGQaiy\
4zNbHN-QbfQr1LtyXDeowFHVNmsMkyPTpsGj-S9gf-DPEykZITq0XhEy8IdELey3noChU89b20DgSJKKwRFDJl5hWnNZkTosLQmD\
IIsNO1zA-FxL7xNK3ABQcfdsL1JihCuMwhlp49tlR6ZPyKoo1J4kdyFJh33Ig6hyMdbbJlMOU9o9jHSDV3g";
/// The same with PSS.
const SIGNED_PS256: &str = "\
eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoia2FwZWxsZSI\
sInN1YiI6ImFkYSIsImV4cCI6NDEwMjQ0NDgwMH0.hdPFS6pDnS2VVPjxq74kOQ9JRXgUfC6JIG8LoHk1lhWdOUJjdH6keo2AIxa\
1Y2rds2wxtrLLq_NAU7bPC_2J1PIrzJ-s0RjKoWMJexyW2HXythWYsjLddbWfbsVDuwcpMTUB2r-vfkWs3wGB-gg7Ki0bJBMQxeQ\
KJ84RGBrWoXplbTQbFXu2H1kHG7wh3Bz1tMBbbmL0C8bUr9Z1q9L9Lk9-OH0OXAcqNmdtyDmM5FWR9TkCEEhC9hzwNpuR5QYeATv\
gC7Aqn_wEHxsXbywx6qN_xOy7uSO7Az1wurh887PCizN0GGLRKcJLepjdbmtZzlqqkeYnarB50x1P8VV4kg";

/// An identity provider: a JWKS that the test changes; without one it answers 503.
struct Provider {
    url: String,
    jwks: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(jwks: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let (jwks, asked) = (Arc::new(Mutex::new(Some(jwks))), Arc::new(AtomicUsize::new(0)));
        let (served, counted) = (Arc::clone(&jwks), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                counted.fetch_add(1, Ordering::SeqCst);
                let (status, body) = match &*served.lock().unwrap() {
                    Some(jwks) => ("200 OK", jwks.to_string()),
                    None => ("503 Service Unavailable", String::new()),
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, jwks, asked }
    }

    fn serve(&self, jwks: Option<Value>) {
        *self.jwks.lock().unwrap() = jwks;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn issuer(&self, timing: Timing) -> Issuer {
        issuer(KeySource::Url(self.url.clone()), timing)
    }
}

/// Nothing is read again by itself, and everything at once if there is a reason.
fn prompt() -> Timing {
    Timing { ask_pause: Duration::ZERO, ..Timing::default() }
}

fn issuer(keys: KeySource, timing: Timing) -> Issuer {
    let config = IssuerConfig {
        issuer: ISSUER.into(),
        audience: "kapelle".into(),
        algorithms: vec![Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256, Algorithm::PS256],
        keys,
        namespace: Some("default".parse().unwrap()),
        claims: Claims { roles: "roles".into(), namespace: None, person: None, may_see_payloads: None, groups: None },
        leeway: Duration::from_secs(60),
    };
    Issuer::start(config, timing, CancellationToken::new()).unwrap()
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A P-256 key of the provider.
struct Signer {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self { id, pair }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "alg": "ES256",
            "x": text(&point[1..33]), "y": text(&point[33..]),
        })
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "ES256", "kid": self.id, "typ": "JWT" }), claims)
    }

    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", text(signature))
    }
}

fn jwks(signers: &[&Signer]) -> Value {
    json!({ "keys": signers.iter().map(|s| s.jwk()).collect::<Vec<_>>() })
}

/// Seconds since 1970, from now.
fn from_now(seconds: i64) -> i64 {
    clock::now().millis() / 1000 + seconds
}

/// What the provider says about ada, with a change.
fn claims(change: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "kapelle", "sub": "ada", "roles": ["operator"],
        "iat": from_now(0), "nbf": from_now(0), "exp": from_now(300),
    });
    let all = claims.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() { drop(all.remove(name)) } else { drop(all.insert(name.clone(), value.clone())) }
    }
    claims
}

async fn verdict(issuer: &Issuer, jwt: &str) -> Result<Principal, Refused> {
    issuer.session(jwt, clock::now()).await.map(|session| session.caller.principal.clone())
}

fn ada() -> Result<Principal, Refused> {
    Ok(Principal(format!("oidc:{ISSUER}#ada")))
}

async fn until(what: &str, issuer: &Issuer, jwt: &str, wanted: Result<Principal, Refused>) {
    let begun = Instant::now();
    while verdict(issuer, jwt).await != wanted {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_an_issuer_signed_for_us_makes_a_caller() {
    let signer = Signer::new("k1");
    let provider = Provider::start(jwks(&[&signer])).await;
    let issuer = provider.issuer(prompt());
    let jwt = signer.sign(&claims(&json!({})));
    assert_eq!(named_in(&jwt).as_deref(), Some(ISSUER));
    assert_eq!(verdict(&issuer, &jwt).await, ada());
    let session = issuer.session(&jwt, clock::now()).await.unwrap();
    assert_eq!(session.caller.namespace.as_ref().unwrap().as_str(), "default");
    let many = signer.sign(&claims(&json!({ "aud": ["other", "kapelle"], "iat": null, "nbf": null })));
    assert_eq!(verdict(&issuer, &many).await, ada());
}

#[tokio::test]
async fn claims_have_to_be_there_to_be_right_and_to_be_of_this_time() {
    let signer = Signer::new("k1");
    let provider = Provider::start(jwks(&[&signer])).await;
    let issuer = provider.issuer(prompt());
    let (unknown, expired) = (Err(Refused::Unknown), Err(Refused::Expired));
    for (change, wanted) in [
        (json!({ "aud": "somebody-else" }), unknown.clone()),
        (json!({ "aud": null }), unknown.clone()),
        (json!({ "iss": "https://evil.example.com" }), unknown.clone()),
        (json!({ "iss": null }), unknown.clone()),
        (json!({ "sub": null }), unknown.clone()),
        (json!({ "sub": "" }), unknown.clone()),
        (json!({ "exp": null }), unknown.clone()),
        (json!({ "exp": "tomorrow" }), unknown.clone()),
        (json!({ "nbf": "tomorrow" }), unknown.clone()),
        (json!({ "iat": "now" }), unknown.clone()),
        // Clocks that differ by ten minutes, either way, are refused; half a minute is forgiven.
        (json!({ "exp": from_now(-600) }), expired.clone()),
        (json!({ "nbf": from_now(600) }), unknown.clone()),
        (json!({ "iat": from_now(600) }), unknown.clone()),
        (json!({ "exp": from_now(-30) }), ada()),
        (json!({ "nbf": from_now(30), "iat": from_now(30) }), ada()),
    ] {
        assert_eq!(verdict(&issuer, &signer.sign(&claims(&change))).await, wanted, "{change}");
    }
}

#[tokio::test]
async fn the_algorithm_is_ours_to_choose() {
    let (signer, stranger) = (Signer::new("k1"), Signer::new("k1"));
    let random = SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let mut keys = jwks(&[&signer]);
    let list = keys["keys"].as_array_mut().unwrap();
    list.push(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": text(ed.public_key()) }));
    list.push(json!({ "kty": "oct", "kid": "shared", "k": text("secret") }));
    list.push(json!({ "kty": "unheard-of", "kid": "odd" }));
    let provider = Provider::start(keys).await;
    let issuer = provider.issuer(prompt());
    let claims = claims(&json!({}));
    let parts = |header: &Value| format!("{}.{}", text(header.to_string()), text(claims.to_string()));
    let mac = |header: &Value, secret: &[u8]| {
        let message = parts(header);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", text(tag))
    };

    let message = parts(&json!({ "alg": "EdDSA", "kid": "ed" }));
    let by_ed = format!("{message}.{}", text(ed.sign(message.as_bytes())));
    assert_eq!(verdict(&issuer, &by_ed).await, ada(), "a key beside one that cannot be read is used");

    let public = signer.pair.public_key().as_ref();
    let good = signer.sign(&claims);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let tampered = format!("{}.{signature}", head.replacen(&head[head.len() - 8..], "AAAAAAAA", 1));
    for (what, jwt) in [
        ("a MAC with the public key", mac(&json!({ "alg": "HS256", "kid": "k1" }), public)),
        ("a MAC with a shared key of the set", mac(&json!({ "alg": "HS256", "kid": "shared" }), b"secret")),
        ("no signature", format!("{}.", parts(&json!({ "alg": "none", "kid": "k1" })))),
        ("an algorithm of another kind of key", signer.sign_as(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims)),
        ("an algorithm that is not allowed", signer.sign_as(&json!({ "alg": "ES384", "kid": "k1" }), &claims)),
        ("another key", signer.sign_as(&json!({ "alg": "ES256", "kid": "ed" }), &claims)),
        ("no key", signer.sign_as(&json!({ "alg": "ES256" }), &claims)),
        ("an extension", signer.sign_as(&json!({ "alg": "ES256", "kid": "k1", "crit": ["b64"] }), &claims)),
        ("a stranger's key of that name", stranger.sign(&claims)),
        ("another content", tampered),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
    ] {
        assert_eq!(verdict(&issuer, &jwt).await, Err(Refused::Unknown), "{what}");
    }
}

#[tokio::test]
async fn rsa_signatures_of_another_implementation_are_verified() {
    let key = json!({ "kty": "RSA", "kid": "rsa", "e": "AQAB", "n": RSA_MODULUS });
    let provider = Provider::start(json!({ "keys": [key] })).await;
    let issuer = provider.issuer(prompt());
    for signed in [SIGNED_RS256, SIGNED_PS256] {
        assert_eq!(verdict(&issuer, signed).await, ada());
        let (message, signature) = signed.rsplit_once('.').unwrap();
        let other = signature.replace(&signature[..4], "AAAA");
        assert_eq!(verdict(&issuer, &format!("{message}.{other}")).await, Err(Refused::Unknown));
    }
}

#[tokio::test]
async fn keys_may_change_and_one_that_is_withdrawn_is_refused() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let provider = Provider::start(jwks(&[&old])).await;
    let issuer = provider.issuer(prompt());
    let (by_old, by_new) = (old.sign(&claims(&json!({}))), new.sign(&claims(&json!({}))));
    assert_eq!(verdict(&issuer, &by_old).await, ada());
    provider.serve(Some(jwks(&[&old, &new])));
    assert_eq!(verdict(&issuer, &by_new).await, ada(), "an unknown key is looked for");
    assert_eq!(verdict(&issuer, &by_old).await, ada());
    provider.serve(Some(jwks(&[&new])));
    // The next unknown key, or the next hour's reading, brings the withdrawal.
    assert_eq!(verdict(&issuer, &Signer::new("none").sign(&claims(&json!({})))).await, Err(Refused::Unknown));
    assert_eq!(verdict(&issuer, &by_old).await, Err(Refused::Unknown));
}

#[tokio::test]
async fn strangers_cannot_make_us_ask_without_end() {
    let signer = Signer::new("k1");
    let provider = Provider::start(jwks(&[&signer])).await;
    let issuer = provider.issuer(Timing::default());
    assert_eq!(verdict(&issuer, &signer.sign(&claims(&json!({})))).await, ada());
    let asked = provider.asked();
    for _ in 0..50 {
        let jwt = Signer::new("unheard-of").sign(&claims(&json!({})));
        assert_eq!(verdict(&issuer, &jwt).await, Err(Refused::Stale), "the issuer may have made it just now");
    }
    assert_eq!(provider.asked(), asked, "the keys were read a moment ago");
}

#[tokio::test]
async fn keys_that_cannot_be_read_again_grow_too_old() {
    let signer = Signer::new("k1");
    let provider = Provider::start(jwks(&[&signer])).await;
    let age_max = Duration::from_secs(3);
    let refresh = Duration::from_millis(50);
    let issuer = provider.issuer(Timing { refresh, age_max, ask_pause: refresh, ..Timing::default() });
    let jwt = signer.sign(&claims(&json!({})));
    let session = issuer.session(&jwt, clock::now()).await.unwrap();
    provider.serve(None);
    assert_eq!(verdict(&issuer, &jwt).await, ada(), "an outage shorter than that is not noticed");
    until("the keys are too old", &issuer, &jwt, Err(Refused::Stale)).await;
    assert_eq!(session.ended().await, Refused::Stale, "what is open ends too");
    provider.serve(Some(jwks(&[&signer])));
    until("the keys are there again", &issuer, &jwt, ada()).await;
}

#[tokio::test]
async fn keys_that_were_never_read_let_nobody_in() {
    let signer = Signer::new("k1");
    let provider = Provider::start(json!({ "keys": [] })).await;
    let issuer = provider.issuer(prompt());
    assert_eq!(verdict(&issuer, &signer.sign(&claims(&json!({})))).await, Err(Refused::Stale));
}

#[tokio::test]
async fn keys_may_lie_in_a_file() {
    let (first, second) = (Signer::new("k1"), Signer::new("k2"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jwks(&[&first]).to_string()).unwrap();
    let issuer = issuer(KeySource::File(file.path().to_owned()), prompt());
    assert_eq!(verdict(&issuer, &first.sign(&claims(&json!({})))).await, ada());
    std::fs::write(file.path(), jwks(&[&second]).to_string()).unwrap();
    assert_eq!(verdict(&issuer, &second.sign(&claims(&json!({})))).await, ada());
}
