//! Approvals at real coordinators: what persons decide together, and twelve ways in which nobody gets anything approved.

use kapelle_proto::v1;
use kapelle_types::Role;
use serde_json::json;

use crate::callers::{code, eventually};
use crate::office::{Office, asked, decide, office, refused, said, status, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_persons_agree_to_exactly_what_they_were_shown() {
    let Office { place, ada, bob, cyd, .. } = office().await;
    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    assert_eq!((view.arguments.as_ref(), view.quorum), (br#"{"amount":5}"#.as_slice(), 2));
    assert_eq!(
        (view.submitted_by.as_str(), view.groups.as_slice()),
        ("ada@example.com", ["legal".to_owned()].as_slice())
    );
    let listed = bob.approvals().list(v1::ListApprovalsRequest::default()).await.unwrap().into_inner().approvals;
    assert_eq!((listed.len(), listed[0].digest.as_str()), (1, view.digest.as_str()));
    assert_eq!(decide(&bob, &view, "approve").await.unwrap(), "waiting");
    assert_eq!(status(&ada, &run).await, v1::RunStatus::Waiting);
    assert_eq!(decide(&cyd, &view, "approve").await.unwrap(), "decided");
    let output = until(&ada, &run, v1::RunStatus::Completed).await;
    assert_eq!(
        (&output["decision"], &output["by"]),
        (&json!("approve"), &json!(["bob@example.com", "cyd@example.com"]))
    );
    ada.on_record("api", "approve", |record| record.reason.contains(&view.digest)).await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_approves_alone_or_as_somebody_else() {
    let Office { place, issuer, ada, bob, .. } = office().await;
    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    assert_eq!(refused(&ada, &ada, &view, "approve").await, "K0528", "oneself");
    let other_ada = place.client(&issuer.approver("ada-at-home", "Ada@Example.com ", "approver", "legal")).await;
    assert_eq!(refused(&other_ada, &ada, &view, "approve").await, "K0528", "oneself with a second login");
    let (token, _) = place.token("robot", &[Role::Approver], |w| w.sees_payloads = true).await;
    let robot = place.client(&token).await;
    eventually("the token is known", || async { robot.runs().list(v1::ListRunsRequest::default()).await.ok() }).await;
    assert_eq!(refused(&robot, &ada, &view, "approve").await, "K0527", "an API token");
    let stranger = place.client(&issuer.approver("eve", "eve@example.com", "approver", "sales")).await;
    assert_eq!(refused(&stranger, &ada, &view, "approve").await, "K0530", "of none of the groups");
    let (foreign, _) = place.token("foreign", &[Role::Approver], |w| w.namespace = "other".parse().unwrap()).await;
    let foreign = place.client(&foreign).await;
    eventually("another namespace", || async {
        decide(&foreign, &view, "approve").await.err().filter(|status| code(status) == "K0503")
    })
    .await;
    ada.on_record("api", "denied", |record| record.policy == "other_namespace").await;

    let first = v1::DecideApprovalRequest { id: "once".into(), ..said(&view, "approve") };
    bob.approvals().decide(first.clone()).await.unwrap();
    assert_eq!(refused(&bob, &ada, &view, "approve").await, "K0529", "the same person twice");
    let again = bob.approvals().decide(first).await.unwrap_err();
    assert_eq!(code(&again), "K0206", "a request that is replayed");
    assert_eq!(asked(&bob, &run).await.agreed, ["bob@example.com"]);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_or_is_over_was_not_agreed_to() {
    let Office { place, ada, bob, cyd, .. } = office().await;
    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    decide(&bob, &view, "approve").await.unwrap();
    let edit = v1::DecideApprovalRequest { arguments: r#"{"amount":4}"#.into(), ..said(&view, "edit") };
    cyd.approvals().decide(edit).await.unwrap();
    assert_eq!(refused(&bob, &ada, &view, "approve").await, "K0526", "edited after the approval");
    let edited = asked(&bob, &run).await;
    assert_eq!((edited.arguments.as_ref(), edited.edited), (br#"{"amount":4}"#.as_slice(), true));
    assert_eq!(edited.agreed, ["cyd@example.com"], "who agreed to the old arguments has not agreed to these");
    ada.runs().cancel(v1::SteerRequest { run_id: run.clone(), reason: String::new() }).await.unwrap();
    until(&ada, &run, v1::RunStatus::Canceled).await;
    assert_eq!(refused(&bob, &ada, &edited, "approve").await, "K0525", "cancelled");

    let run = submit(&ada, "quick").await;
    let view = asked(&bob, &run).await;
    until(&ada, &run, v1::RunStatus::Failed).await;
    assert_eq!(refused(&bob, &ada, &view, "approve").await, "K0525", "expired");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_was_taken_away_voids_what_it_let_happen() {
    let Office { place, ada, bob, cyd, .. } = office().await;
    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    decide(&bob, &view, "approve").await.unwrap();
    let embedded = v1::GetPoliciesRequest { version: Some(0) };
    let mut files = ada.policies().get(embedded).await.unwrap().into_inner().files;
    let text = r#"@id("not_bob") @mode("enforce") @why("Bob has left.")
        forbid (principal, action in Action::"decide", resource)
        when { principal has person && principal.person == "bob@example.com" };"#;
    files.push(v1::PolicyFile { name: "more.cedar".into(), text: text.into() });
    ada.policies().apply(v1::ApplyPoliciesRequest { files, why: "he left".into() }).await.unwrap();
    assert_eq!(decide(&cyd, &view, "approve").await.unwrap(), "decided");
    eventually("it is void", || async { asked(&cyd, &run).await.agreed.is_empty().then_some(()) }).await;
    ada.on_record("approvals", "void", |record| record.reason.contains("bob@example.com")).await;
    assert_eq!(code(&decide(&bob, &view, "approve").await.unwrap_err()), "K0503", "the role is taken away");
    assert_eq!(status(&ada, &run).await, v1::RunStatus::Waiting);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_word_counts_and_an_override_is_its_own_event() {
    let Office { place, issuer, ada, bob, cyd } = office().await;
    let run = submit(&ada, "one").await;
    let view = asked(&bob, &run).await;
    let (yes, no) = tokio::join!(decide(&bob, &view, "approve"), decide(&cyd, &view, "reject"));
    assert!(yes.is_ok() != no.is_ok(), "one of them came first: {yes:?}, {no:?}");
    let wanted = if yes.is_ok() { v1::RunStatus::Completed } else { v1::RunStatus::Failed };
    until(&ada, &run, wanted).await;
    let late = yes.err().or(no.err()).unwrap();
    assert_eq!(code(&late), "K0525", "{late}");
    ada.on_record("api", "denied", |record| record.code == "K0525").await;

    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    let over = |comment: &str| v1::OverrideApprovalRequest {
        run_id: view.run_id.clone(),
        step: view.step.clone(),
        digest: view.digest.clone(),
        comment: comment.into(),
    };
    let denied = bob.approvals().r#override(over("please")).await.unwrap_err();
    assert_eq!(code(&denied), "K0503", "no admin");
    let own = ada.approvals().r#override(over("mine")).await.unwrap_err();
    assert_eq!(code(&own), "K0528", "not even an admin agrees to what they submitted");
    let root = place.client(&issuer.approver("root", "root@example.com", "admin", "none")).await;
    assert_eq!(
        root.approvals().r#override(over("the office is closed")).await.unwrap().into_inner().outcome,
        "decided"
    );
    let output = until(&ada, &run, v1::RunStatus::Completed).await;
    assert_eq!(output["decision"], "override");
    ada.on_record("api", "override-approval", |record| record.reason.contains("the office is closed")).await;
    place.stop().await;
}
