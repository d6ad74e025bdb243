//! What people are told of approvals, by real HTTP and real SMTP, and what they are shown when they look.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kapelle_coordinator::{Config, Destinations};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::callers::eventually;
use crate::office::{Office, asked, decide, office, office_with, submit, submit_for, until, workflow};
use crate::outside::{Got, Outside};

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Who is told by these two, with what a coordinator needs for it.
fn notify(webhooks: &Outside, mail: &Outside) -> (Config, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ops.secret"), format!("whsec_{SECRET}")).unwrap();
    let file = format!(
        "webhooks:\n- {{ name: ops, url: 'http://127.0.0.1:{}/kapelle', secret_file: ops.secret }}\nmail:\n  \
         server: 127.0.0.1\n  port: {}\n  security: none\n  from: Kapelle <kapelle@example.com>\n  to:\n  \
         - {{ name: legal, address: legal@example.com, groups: [legal] }}\n  \
         - {{ name: leads, address: leads@example.com, groups: [leads] }}\n",
        webhooks.port, mail.port
    );
    let path = folder.path().join("notify.yaml");
    std::fs::write(&path, file).unwrap();
    let config = Config { notify: Some(Destinations::read(&path).unwrap()), ..Config::default() };
    (config, folder)
}

/// What a webhook said, after its signature was checked as its receiver would.
fn verified(got: &Got) -> Value {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET).unwrap());
    let (id, at) = (&got.headers["webhook-id"], &got.headers["webhook-timestamp"]);
    let age = clock::now().millis() / 1_000 - at.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");
    let signature = STANDARD.decode(got.headers["webhook-signature"].strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&key, format!("{id}.{at}.{}", got.body).as_bytes(), &signature).unwrap();
    let event: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(event["id"], json!(id));
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_what_is_asked_and_how_it_ends_and_can_decide_nothing_by_it() {
    let (webhooks, mail) = (Outside::webhooks().await, Outside::mail().await);
    let (config, _folder) = notify(&webhooks, &mail);
    let Office { place, ada, bob, cyd, .. } = office_with(config).await;
    webhooks.refuse(1);
    mail.refuse(1);
    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    let event = verified(&webhooks.got(&["approval.asked", &run]).await);
    let data = &event["data"];
    assert_eq!((&data["digest"], &data["title"]), (&json!(view.digest), &json!("Pay?")));
    assert_eq!(data["look"], json!(format!("kapelle approval show {run} gate")));
    assert!(!event.to_string().contains("amount"), "no payload: {event}");
    let refused = webhooks.refused();
    assert_eq!(verified(&refused[0])["id"], event["id"], "tried again under the same id");
    let letter = mail.got(&[&run, &view.digest]).await;
    assert_eq!(letter.headers["to"], "legal@example.com");
    assert_eq!(letter.headers["subject"], "[Kapelle] asked: Pay?");
    assert_eq!(letter.headers["message-id"], format!("<{}@kapelle>", event["id"].as_str().unwrap()));

    decide(&bob, &view, "approve").await.unwrap();
    decide(&cyd, &view, "approve").await.unwrap();
    until(&ada, &run, v1::RunStatus::Completed).await;
    let ended = verified(&webhooks.got(&["approval.approved", &run]).await);
    assert_eq!(ended["data"]["by"], json!(["bob@example.com", "cyd@example.com"]));
    let rejected = submit(&ada, "pay").await;
    decide(&bob, &asked(&bob, &rejected).await, "reject").await.unwrap();
    webhooks.got(&["approval.rejected", &rejected, "bob@example.com"]).await;
    let expired = submit(&ada, "quick").await;
    webhooks.got(&["approval.expired", &expired]).await;
    let cancelled = submit(&ada, "pay").await;
    webhooks.got(&["approval.asked", &cancelled]).await;
    ada.runs().cancel(v1::SteerRequest { run_id: cancelled.clone(), reason: String::new() }).await.unwrap();
    webhooks.got(&["approval.withdrawn", &cancelled]).await;
    let letters = mail.taken().into_iter().filter(|it| it.body.contains(&run));
    assert!(letters.into_iter().all(|it| it.headers["to"] == "legal@example.com"), "leads were asked nothing");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_took_is_delivered_by_the_next_coordinator() {
    let (webhooks, mail) = (Outside::webhooks().await, Outside::mail().await);
    let (config, _folder) = notify(&webhooks, &mail);
    let Office { mut place, issuer, ada, bob, .. } = office_with(config).await;
    webhooks.refuse(1_000);
    let run = submit(&ada, "one").await;
    eventually("it was tried", || async { (!webhooks.refused().is_empty()).then_some(()) }).await;
    let view = asked(&bob, &run).await;
    decide(&bob, &view, "reject").await.unwrap();
    // The coordinator is gone at once; how it ended is told by whoever comes.
    place.replace_with(async |_| webhooks.refuse(0)).await;
    let first = verified(&webhooks.refused()[0])["id"].clone();
    assert_eq!(verified(&webhooks.got(&["approval.asked", &run]).await)["id"], first);
    webhooks.got(&["approval.rejected", &run]).await;
    let ada = place.client(&issuer.approver("ada", "ada@example.com", "admin", "legal")).await;
    until(&ada, &run, v1::RunStatus::Failed).await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_reminded_and_others_are_asked_too() {
    let (webhooks, mail) = (Outside::webhooks().await, Outside::mail().await);
    let (config, _folder) = notify(&webhooks, &mail);
    let Office { place, issuer, ada, bob, .. } = office_with(config).await;
    let ladder = json!([{ "after": "3s", "to": ["leads"] }]);
    let slow = json!({ "title": "Pay?", "groups": ["legal"], "remind": ["1s"], "escalate": ladder, "expires": "60s" });
    ada.apply(&workflow("slow", &slow)).await.unwrap();
    let run = submit(&ada, "slow").await;
    let view = asked(&bob, &run).await;
    assert_eq!((view.escalation.len(), view.reminds_at_unix_nanos.len()), (1, 1));
    let lead = place.client(&issuer.approver("eve", "eve@example.com", "approver", "leads")).await;
    webhooks.got(&["approval.reminded", &run]).await;
    let escalated = verified(&webhooks.got(&["approval.escalated", &run]).await);
    assert_eq!(escalated["data"]["groups"], json!(["leads"]));
    let letter = mail.got(&["your group may decide it too", &run]).await;
    assert_eq!(letter.headers["to"], "leads@example.com");
    let view = asked(&lead, &run).await;
    assert_eq!(view.groups, ["legal", "leads"]);
    assert_eq!(
        decide(&lead, &view, "approve").await.unwrap(),
        "decided",
        "a rung lets people decide, and decides nothing"
    );
    until(&ada, &run, v1::RunStatus::Completed).await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_decides_is_shown_what_follows_and_what_is_different() {
    let Office { place, issuer, ada, bob, .. } = office().await;
    let first = submit_for(&ada, "one", 5).await;
    let view = asked(&bob, &first).await;
    assert_eq!((view.compared_with.as_str(), view.changes.len()), ("", 0), "nothing was agreed to before");
    assert!(view.on_approve.contains("succeeds") && view.on_reject.contains("FAILED"), "{view:?}");
    assert!(view.on_expiry.contains("K0331"), "{view:?}");
    assert_eq!(view.sources[0].reference, "input.amount");
    ada.on_record("api", "open", |it| it.reason.contains(&view.digest) && it.what.as_ref().unwrap().run_id == first)
        .await;
    decide(&bob, &view, "approve").await.unwrap();
    let second = submit_for(&ada, "one", 7).await;
    let view = eventually("it is compared", || async {
        let view = asked(&bob, &second).await;
        (view.compared_with == first).then_some(view)
    })
    .await;
    let change = &view.changes[0];
    assert_eq!(
        (change.path.as_str(), change.before.as_ref(), change.after.as_ref()),
        ("/amount", &b"5"[..], &b"7"[..])
    );
    let blind = place.client(&issuer.jwt("dee", "dee@example.com", "approver", 600)).await;
    let hidden = asked(&blind, &second).await;
    assert!(hidden.changes.is_empty() && hidden.compared_with.is_empty(), "{hidden:?}");
    let opened = ada.trail().await.into_iter().filter(|it| it.verb == "open").count();
    assert_eq!(opened, 3, "once for each person and question");
    let request = v1::ApprovalStatsRequest { since_unix_nanos: 1, workflow: "one".into() };
    let stats = ada.approvals().stats(request).await.unwrap().into_inner();
    assert_eq!((stats.asked, stats.approved, stats.open, stats.complete), (2, 1, 1, true), "{stats:?}");
    assert_eq!(
        (stats.decisions, stats.unopened, stats.rubber_stamps),
        (1, 0, 1),
        "seconds are no time to read: {stats:?}"
    );
    let other = v1::ApprovalStatsRequest { since_unix_nanos: 1, workflow: "pay".into() };
    assert_eq!(ada.approvals().stats(other).await.unwrap().into_inner().asked, 0);
    place.stop().await;
}
