//! The audit trail at real coordinators: what is denied and what is done is on record, once, and nothing is done that is not.

use futures::StreamExt;
use kapelle_bus::cursors::{Cursor, Cursors};
use kapelle_engine::{Body, Channel, Entry, StepSucceeded, Usage, Work};
use kapelle_proto::v1::{self, AuditDecision};
use kapelle_proto::{encode_record, stream};
use kapelle_types::{Payload, Principal, Role, RunId, TaskId};
use serde_json::json;
use tonic::Code;

use crate::callers::{Client, Place, agent, code, eventually, workflow};
use crate::issuer::Issuer;

fn waiting() -> v1::SubmitRequest {
    let input = json!({ "wait": true }).to_string().into();
    v1::SubmitRequest { workflow: "say".into(), input, ..v1::SubmitRequest::default() }
}

async fn prepared(place: &Place) -> (Client, Client) {
    let (operator, _) = place.token("ops", &[Role::Operator], |_| {}).await;
    let (auditor, _) = place.token("audit", &[Role::Auditor], |_| {}).await;
    let (operator, auditor) = (place.client(&operator).await, place.client(&auditor).await);
    operator.apply(&agent()).await.unwrap();
    operator.apply(&workflow()).await.unwrap();
    (operator, auditor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_and_what_is_denied_is_on_record() {
    let place = Place::start(1).await;
    let (operator, auditor) = prepared(&place).await;
    let (viewer, _) = place.token("reader", &[Role::Viewer], |w| w.person = Some("vera".into())).await;
    let viewer = place.client(&viewer).await;
    let mut live = auditor.audit().watch(v1::WatchAuditRequest::default()).await.unwrap().into_inner();

    let run = operator.runs().submit(waiting()).await.unwrap().into_inner().run_id;
    let steer = v1::SteerRequest { run_id: run.clone(), reason: "no more".into() };
    for _ in 0..3 {
        viewer.runs().cancel(steer.clone()).await.unwrap_err();
    }
    operator.runs().cancel(steer.clone()).await.unwrap();
    let seen = loop {
        let record = live.next().await.unwrap().unwrap().record.unwrap();
        // A token is tried until the coordinator knows it.
        if record.verb != "unauthenticated" {
            break record;
        }
    };
    assert!(["denied", "cancel"].contains(&seen.verb.as_str()), "as it comes: {seen:?}");

    let denied = auditor.on_record("api", "denied", |_| true).await;
    let (who, what) = (denied.who.clone().unwrap(), denied.what.clone().unwrap());
    assert_eq!((who.principal.as_str(), who.person.as_str(), who.roles.len()), ("token:reader", "vera", 1));
    assert_eq!((what.action.as_str(), denied.policy.as_str()), ("kapelle.v1.RunService/Cancel", "default_deny"));
    assert_eq!((denied.decision(), denied.count), (AuditDecision::Deny, 1), "the others are counted");
    let done = auditor.on_record("api", "cancel", |_| true).await;
    assert_eq!((done.decision(), done.policy.as_str()), (AuditDecision::Allow, "operators_steer"));
    assert_eq!((done.what.unwrap().run_id, done.reason.as_str()), (run.clone(), "no more"));
    let applied = auditor.on_record("api", "apply", |_| true).await;
    assert_eq!(applied.what.unwrap().name, "Agent echo@1.0.0");

    let mut verbs: Vec<_> = auditor.trail().await.into_iter().map(|r| r.verb).collect();
    verbs.retain(|verb| verb != "unauthenticated");
    verbs.sort();
    assert_eq!(verbs, ["apply", "apply", "cancel", "denied"]);
    let filter = v1::AuditFilter { decision: AuditDecision::Allow.into(), ..Default::default() };
    let mut request = v1::ListAuditRequest { filter: Some(filter), limit: 2, ..Default::default() };
    let page = auditor.audit().list(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.entries.len(), 2);
    request.page = page.next;
    let page = auditor.audit().list(request).await.unwrap().into_inner();
    assert_eq!((page.entries.len(), page.entries[0].record.as_ref().unwrap().verb.as_str()), (1, "cancel"));
    let last_seq = page.entries[0].seq;
    let since = page.entries[0].record.as_ref().unwrap().at_unix_nanos + 60_000_000_000;
    let later = v1::ListAuditRequest { since_unix_nanos: since, ..Default::default() };
    assert!(auditor.audit().list(later).await.unwrap().into_inner().entries.is_empty(), "nothing after {last_seq}");

    let status = viewer.audit().list(v1::ListAuditRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::PermissionDenied, "K0503"));
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_be_established_is_named_as_far_as_known_and_no_credential_is_told() {
    let issuer = Issuer::new();
    let place = Place::accepting(1, &issuer.accepted()).await;
    let (auditor, _) = place.token("audit", &[Role::Auditor], |_| {}).await;
    let auditor = place.client(&auditor).await;
    let (good, record) = place.token("ci", &[Role::Viewer], |_| {}).await;
    place.tokens().await.revoke(&record.id, kapelle_telemetry::clock::now()).await.unwrap();
    let expired = issuer.jwt("ada", "ada@example.com", "viewer", -3_600);
    let wrong = format!("kpl_{}_{}", record.id, "A".repeat(43));
    let ask = |credential: String| {
        let place = &place;
        async move {
            let client = place.client(&credential).await;
            eventually("it is refused", || async {
                client.runs().list(v1::ListRunsRequest::default()).await.err().filter(|e| code(e) == "K0502")
            })
            .await;
        }
    };
    ask(good.clone()).await;
    let named =
        auditor.on_record("api", "unauthenticated", |r| r.who.as_ref().is_some_and(|w| w.principal == "token:ci"));
    let (named, id) = (named.await, record.id.to_string());
    assert_eq!((named.code.as_str(), named.what.unwrap().name), ("K0502", id.clone()), "revoked, and its own secret");
    ask(expired.clone()).await;
    let is_ada = |r: &v1::AuditRecord| r.who.as_ref().is_some_and(|w| w.person == "ada@example.com");
    auditor.on_record("api", "unauthenticated", is_ada).await;
    for (bad, principal) in [(wrong.as_str(), ""), ("garbage", "")] {
        ask(bad.to_owned()).await;
        let is = |r: &v1::AuditRecord| r.who.as_ref().is_none_or(|w| w.principal == principal);
        auditor.on_record("api", "unauthenticated", is).await;
    }
    let all = format!("{:?}", auditor.trail().await);
    for secret in [good.splitn(3, '_').last().unwrap(), expired.rsplit('.').next().unwrap(), &"A".repeat(43), "garbage"]
    {
        assert!(!all.contains(secret), "{all}");
    }
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_for_somebody_elses_task_is_on_record_once_whoever_reads_it() {
    let mut place = Place::start(1).await;
    let (operator, auditor) = prepared(&place).await;
    let run: RunId = operator.runs().submit(waiting()).await.unwrap().into_inner().run_id.parse().unwrap();
    let task = TaskId { step: "only".parse().unwrap(), attempt: 1 };
    let report = StepSucceeded {
        task,
        output: Payload::inline(json!("forged")),
        work: Work::default(),
        usage: Usage::default(),
        token: None,
    };
    let principal = Principal("worker:mallory".into());
    let entry = Entry { id: "forged".into(), principal, traceparent: None, body: Body::StepSucceeded(report) };
    place.bus.append_now(run, Channel::Report, encode_record(&[entry])).await.unwrap();
    let told = auditor.on_record("partition", "bad-token", |_| true).await;
    let (who, what) = (told.who.unwrap(), told.what.unwrap());
    assert_eq!((who.principal.as_str(), what.run_id, what.step.as_str()), ("worker:mallory", run.to_string(), "only"));

    // Somebody else takes over, and by a cursor that was lost reads everything again.
    let partition = place.bus.partitions().of(&run);
    let log = place.bus.stream_state(&stream::runs(partition)).await.unwrap();
    let (auditor, _) = place.token("again", &[Role::Auditor], |_| {}).await;
    place
        .replace_with(async |bus| {
            let cursor = Cursor { seq: 0, stream_created: log.created };
            Cursors::open(bus).await.unwrap().save(partition, cursor).await.unwrap();
        })
        .await;
    let auditor = place.client(&auditor).await;
    eventually("all is read again", || async {
        let cursor = Cursors::open(&place.bus).await.unwrap().load(partition).await.unwrap();
        cursor.filter(|cursor| cursor.seq >= log.last_seq)
    })
    .await;
    // What is denied now is written behind what was said before it.
    auditor.apply(&agent()).await.unwrap_err();
    auditor.on_record("api", "denied", |_| true).await;
    let again = auditor.trail().await.into_iter().filter(|r| r.verb == "bad-token").count();
    assert_eq!(again, 1);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_that_cannot_be_recorded_and_nothing_on_record_goes_away() {
    let place = Place::start(1).await;
    let (operator, auditor) = prepared(&place).await;
    let run = operator.runs().submit(waiting()).await.unwrap().into_inner().run_id;
    let acts = || async { auditor.trail().await.iter().filter(|r| r.decision() == AuditDecision::Allow).count() };
    let before = acts().await;
    let trail = place.bus.jetstream().get_stream(stream::AUDIT).await.unwrap();
    assert!(trail.purge().await.is_err(), "whoever asks: nobody purges it");
    assert!(trail.delete_message(1).await.is_err(), "nor deletes from it");
    let mut config = trail.cached_info().config.clone();
    config.max_bytes = 1;
    place.bus.jetstream().update_stream(&config).await.unwrap();

    let refused = operator.runs().cancel(v1::SteerRequest { run_id: run.clone(), ..Default::default() }).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.code(), code(&refused).as_str()), (Code::Unavailable, "K0515"), "{refused}");
    let view = operator.runs().get(v1::GetRunRequest { run_id: run.clone() }).await.unwrap().into_inner();
    assert_eq!(view.status(), v1::RunStatus::Running, "it was not done");
    let mut other = agent();
    other["metadata"]["version"] = "1.1.0".into();
    assert_eq!(code(&operator.apply(&other).await.unwrap_err()), "K0515");
    assert_eq!(acts().await, before, "a full trail drops nothing");

    config.max_bytes = 1 << 20;
    place.bus.jetstream().update_stream(&config).await.unwrap();
    operator.runs().cancel(v1::SteerRequest { run_id: run, ..Default::default() }).await.unwrap();
    assert_eq!(acts().await, before + 1);
    place.stop().await;
}
