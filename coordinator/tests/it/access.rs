//! Who may call what, at real coordinators over a real broker: nobody without a credential, nobody beyond their role,
//! nobody after their token has ended.

use std::time::Duration;

use crate::callers::{Client, Place, agent, code, eventually, workflow};
use futures::StreamExt;
use kapelle_coordinator::{Accepted, Config, Coordinator};
use kapelle_proto::v1;
use kapelle_types::Role;
use serde_json::json;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// What stands where a payload would.
const HIDDEN: &str = r#""[hidden: needs payload access]""#;

fn list() -> v1::ListRunsRequest {
    v1::ListRunsRequest::default()
}

fn job(input: &serde_json::Value) -> v1::SubmitRequest {
    v1::SubmitRequest { workflow: "say".into(), input: input.to_string().into(), ..v1::SubmitRequest::default() }
}

async fn refusal(client: &Client) -> (Code, String) {
    let status = client.runs().list(list()).await.unwrap_err();
    (status.code(), code(&status))
}

fn unauthenticated() -> (Code, String) {
    (Code::Unauthenticated, "K0502".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_calls_without_a_credential_but_health_is_open() {
    let place = Place::start(1).await;
    let (good, _) = place.token("reader", &[Role::Viewer], |_| {}).await;
    let (id, _) = good[4..].split_once('_').unwrap();
    let wrong_secret = format!("kpl_{id}_{}", "A".repeat(43));
    let unknown = format!("kpl_0000000000000000_{}", "A".repeat(43));
    let mut told = Vec::new();
    for bad in [wrong_secret.as_str(), &unknown, "garbage", "eyJhbGciOiJub25lIn0.e30."] {
        let client = place.client(bad).await;
        let status = client.runs().list(list()).await.unwrap_err();
        assert_eq!((status.code(), code(&status)), unauthenticated(), "{bad}");
        told.push(status.message().to_owned());
    }
    told.dedup();
    assert_eq!(told, ["the credential is not known"], "nothing says which part was wrong");

    let nobody = place.client("").await;
    assert_eq!(refusal(&nobody).await, unauthenticated());
    let status = nobody.tokens().list(v1::ListTokensRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let health = HealthClient::new(nobody.0.clone()).check(HealthCheckRequest::default()).await;
    assert!(health.is_ok(), "whoever probes a coordinator has no credential");
    // Reflection tells the whole API; any path that is not health's is behind the gate.
    let mut raw = tonic::client::Grpc::new(nobody.0.clone());
    for path in ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/kapelle.v1.NoService/Sing", "/"] {
        raw.ready().await.unwrap();
        let request = tonic::Request::new(v1::ListRunsRequest::default());
        let codec = tonic_prost::ProstCodec::<v1::ListRunsRequest, v1::ListRunsResponse>::default();
        let status = raw.unary(request, path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{path}");
    }
    assert!(place.client(&good).await.runs().list(list()).await.is_ok());
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_allows_what_it_is_for_and_a_denial_names_the_policy() {
    let place = Place::start(1).await;
    let (viewer, _) = place.token("reader", &[Role::Viewer], |_| {}).await;
    let (operator, _) = place.token("ops", &[Role::Operator], |_| {}).await;
    let (other, _) = place.token("other", &[Role::Admin], |w| w.namespace = "other".parse().unwrap()).await;
    let (viewer, operator) = (place.client(&viewer).await, place.client(&operator).await);
    operator.apply(&agent()).await.unwrap();
    operator.apply(&workflow()).await.unwrap();
    let denied = |status: Status, policy: &str| {
        assert_eq!((status.code(), code(&status).as_str()), (Code::PermissionDenied, "K0503"), "{status}");
        assert!(status.message().contains(&format!("policy `{policy}`")), "{status}");
    };
    denied(viewer.apply(&agent()).await.unwrap_err(), "default_deny");
    denied(viewer.runs().submit(job(&json!({}))).await.unwrap_err(), "default_deny");
    denied(operator.tokens().list(v1::ListTokensRequest {}).await.unwrap_err(), "default_deny");
    denied(place.client(&other).await.runs().list(list()).await.unwrap_err(), "other_namespace");
    let run = operator.runs().submit(job(&json!({ "wait": true }))).await.unwrap().into_inner().run_id;
    let steer = v1::SteerRequest { run_id: run.clone(), reason: String::new() };
    denied(viewer.runs().cancel(steer.clone()).await.unwrap_err(), "default_deny");
    operator.runs().cancel(steer).await.unwrap();
    let request = v1::DeadLetterActionRequest::default();
    denied(viewer.dead_letters().replay(request).await.unwrap_err(), "default_deny");
    let seen = viewer.runs().get(v1::GetRunRequest { run_id: run }).await.unwrap().into_inner();
    assert_eq!(seen.submitted_by, "token:ops", "what is recorded is who the credential is of");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_refused_everywhere_at_once_and_its_streams_end() {
    let place = Place::start(2).await;
    let (root, _) = place.token("root", &[Role::Admin], |_| {}).await;
    let root = place.client_at(0, &root).await;
    root.apply(&agent()).await.unwrap();
    root.apply(&workflow()).await.unwrap();
    let request = v1::CreateTokenRequest { name: "ci".into(), roles: vec!["operator".into()], ..Default::default() };
    let made = root.tokens().create(request).await.unwrap().into_inner();
    let (view, there) = (made.view.unwrap(), place.client_at(1, &made.token).await);
    assert_eq!((view.created_by.as_str(), view.namespace.as_str()), ("token:root", "default"));
    assert!(
        place.client_at(0, &made.token).await.runs().list(list()).await.is_ok(),
        "known where it was made, at once"
    );
    eventually("the other coordinator knows it", || async { there.runs().list(list()).await.ok() }).await;

    let run = eventually("the other coordinator has the workflow", || async {
        there.runs().submit(job(&json!({ "wait": true }))).await.ok()
    });
    let run_id = run.await.into_inner().run_id;
    let mut watched = there.runs().watch(v1::WatchRunRequest { run_id }).await.unwrap().into_inner();
    assert!(watched.next().await.unwrap().is_ok());

    let revoked = tokio::time::Instant::now();
    let ended = root.tokens().revoke(v1::RevokeTokenRequest { id: view.id.clone() }).await.unwrap().into_inner();
    assert_eq!(ended.state, "revoked");
    eventually("the other coordinator refuses it", || async { there.runs().list(list()).await.err() }).await;
    let last = loop {
        if let Err(status) = watched.next().await.unwrap() {
            break status;
        }
    };
    let took = revoked.elapsed();
    assert_eq!((last.code(), code(&last)), unauthenticated(), "a stream does not outlive its credential");
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    assert_eq!(refusal(&there).await, unauthenticated());
    let unknown = root.tokens().revoke(v1::RevokeTokenRequest { id: "0".repeat(16) }).await.unwrap_err();
    assert_eq!((unknown.code(), code(&unknown).as_str()), (Code::NotFound, "K0505"));
    let listed = root.tokens().list(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert_eq!(listed.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["root", "ci"]);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_by_itself() {
    let place = Place::start(1).await;
    let (short, _) = place.token("short", &[Role::Viewer], |w| w.life = Duration::from_secs(2)).await;
    let client = place.client(&short).await;
    let status = eventually("the token ends", || async { client.runs().list(list()).await.err() }).await;
    assert_eq!((status.code(), code(&status)), unauthenticated());
    assert_eq!(status.message(), "the credential has expired");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_may_be_out_of_date_are_refused_until_they_are_current_again() {
    let mut place = Place::start(1).await;
    let (token, record) = place.token("reader", &[Role::Auditor], |_| {}).await;
    let client = place.client(&token).await;
    let mut open = client.audit().watch(v1::WatchAuditRequest::default()).await.unwrap().into_inner();
    place.server.kill9().await;
    let status = eventually("tokens are refused", || async {
        let answer = client.runs().list(list()).await.err();
        answer.filter(|status| code(status) == "K0504")
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable);
    let ended = loop {
        if let Err(status) = open.next().await.expect("a stream ends with a status") {
            break status;
        }
    };
    assert_eq!(code(&ended), "K0504", "what is open ends as well");
    place.server.restart().await;
    eventually("tokens are accepted again", || async { client.runs().list(list()).await.ok() }).await;
    // And the watch that came back is a living one.
    eventually("the token can be revoked", || async {
        place.tokens().await.revoke(&record.id, kapelle_telemetry::clock::now()).await.ok()
    })
    .await;
    eventually("it is refused", || async {
        client.runs().list(list()).await.err().filter(|status| code(status) == "K0502")
    })
    .await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_for_those_who_may_see_them_and_a_result_for_who_asked_for_it() {
    let place = Place::start(1).await;
    let (operator, _) = place.token("ops", &[Role::Operator], |_| {}).await;
    let (auditor, _) = place.token("audit", &[Role::Auditor], |w| w.sees_payloads = true).await;
    let (publisher, _) = place.token("clinic", &[Role::Publisher], |_| {}).await;
    let (operator, auditor) = (place.client(&operator).await, place.client(&auditor).await);
    let publisher = place.client(&publisher).await;
    operator.apply(&agent()).await.unwrap();
    operator.apply(&workflow()).await.unwrap();
    let mut request = job(&json!({ "wait": false, "word": "secret" }));
    request.idempotency_key = Some("k".into());
    let execute = || v1::ExecuteRequest { submit: Some(request.clone()), wait_millis: 30_000 };
    let own = publisher.runs().execute(execute()).await.unwrap().into_inner();
    assert_eq!((own.status(), own.output.as_ref()), (v1::RunStatus::Completed, br#""secret""#.as_slice()), "{own:?}");
    let get = || v1::GetRunRequest { run_id: own.run_id.clone() };
    assert_eq!(publisher.runs().get(get()).await.unwrap().into_inner().output, own.output);
    assert_eq!(auditor.runs().get(get()).await.unwrap().into_inner().output, own.output);
    assert_eq!(operator.runs().get(get()).await.unwrap().into_inner().output, HIDDEN);
    let foreign = operator.runs().execute(execute()).await.unwrap().into_inner();
    assert_eq!(
        (foreign.run_id, foreign.output.as_ref()),
        (own.run_id.clone(), HIDDEN.as_bytes()),
        "a key opens nothing"
    );
    let watch = v1::WatchRunRequest { run_id: own.run_id.clone() };
    let shown = operator.runs().watch(watch).await.unwrap().into_inner().next().await.unwrap().unwrap();
    assert_eq!(shown.output, HIDDEN);
    let query = |name: &str| v1::QueryRequest { run_id: own.run_id.clone(), name: name.to_owned() };
    for client in [&publisher, &auditor] {
        assert_eq!(client.runs().query(query("word")).await.unwrap().into_inner().value, own.output);
        assert_eq!(code(&client.runs().query(query("nothing")).await.unwrap_err()), "K0236");
    }
    for name in ["word", "nothing"] {
        let shown = operator.runs().query(query(name)).await.unwrap().into_inner();
        assert_eq!(shown.value, HIDDEN, "not even whether there is a value");
    }
    answers_are_payloads(&place, &publisher, &operator).await;
    let history = v1::HistoryRequest { run_id: own.run_id.clone() };
    for (client, sees) in [(&operator, false), (&publisher, false), (&auditor, true)] {
        let entries = client.runs().history(history.clone()).await.unwrap().into_inner().entries;
        assert_eq!(format!("{entries:?}").contains("secret"), sees, "{entries:?}");
    }
    place.stop().await;
}

/// Whoever may tell a run something and not see its payloads does not see the answer; a reader may not tell.
async fn answers_are_payloads(place: &Place, publisher: &Client, operator: &Client) {
    let mut told = workflow();
    told["metadata"]["name"] = json!("told");
    told["spec"] = json!({
        "input": { "schema": { "type": "object" } },
        "signals": { "word": { "answer": "${steps.told.output}" }, "lost": { "answer": "${steps.told.output.lost}" } },
        "steps": [{ "id": "told", "signal": "word" }, { "id": "after", "needs": ["told"], "signal": "lost" }],
    });
    operator.apply(&told).await.unwrap();
    let request = v1::SubmitRequest { workflow: "told".into(), ..job(&json!({})) };
    let run_id = publisher.runs().submit(request).await.unwrap().into_inner().run_id;
    let update = |name: &str| v1::UpdateRequest {
        run_id: run_id.clone(),
        name: name.to_owned(),
        payload: json!("secret").to_string().into(),
        id: "u1".into(),
        ..v1::UpdateRequest::default()
    };
    let (viewer, _) = place.token("viewer", &[Role::Viewer], |_| {}).await;
    let denied = place.client(&viewer).await.runs().update(update("word")).await.unwrap_err();
    assert_eq!((denied.code(), code(&denied)), (Code::PermissionDenied, "K0503".to_owned()));
    for name in ["word", "lost"] {
        let hidden = operator.runs().update(update(name)).await.unwrap().into_inner();
        assert_eq!(hidden.value, HIDDEN, "not even whether there is an answer");
    }
    let own = publisher.runs().update(update("word")).await.unwrap().into_inner();
    assert_eq!((own.value.as_ref(), own.duplicate), (br#""secret""#.as_slice(), true));
    assert_eq!(code(&publisher.runs().update(update("lost")).await.unwrap_err()), "K0238");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_development_identity_is_for_this_machine_alone() {
    let place = Place::start(0).await;
    let config =
        Config { accepted: Accepted::Development, grpc_address: "0.0.0.0:0".parse().unwrap(), ..Config::default() };
    let refused = Coordinator::start(config, place.bus.connection().clone()).await.err().unwrap();
    assert_eq!(refused.code, kapelle_types::Code::REQUEST_INVALID);
}
