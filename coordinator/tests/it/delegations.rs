//! Deciding in somebody's place: until a time, within what they may, and for nobody's own run.

use std::time::Duration;

use kapelle_proto::v1;
use kapelle_telemetry::clock;
use tonic::Status;

use crate::callers::{Client, code, eventually};
use crate::office::{Office, asked, decide, office, refused, status, submit, until};

async fn delegate(from: &Client, to: &str, groups: &[&str], life: Duration) -> Result<v1::DelegationView, Status> {
    let until_unix_nanos = clock::now().plus(life).nanos();
    let groups = groups.iter().map(|it| (*it).to_owned()).collect();
    let request = v1::DelegateRequest { to: to.into(), groups, until_unix_nanos };
    from.approvals().delegate(request).await.map(tonic::Response::into_inner)
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_decides_in_the_place_of_one_person_and_with_one_word() {
    let Office { place, issuer, ada, bob, cyd } = office().await;
    let eve = place.client(&issuer.approver("eve", "eve@example.com", "approver", "sales")).await;
    let run = submit(&ada, "pay").await;
    let view = asked(&eve, &run).await;
    assert_eq!(refused(&eve, &ada, &view, "approve").await, "K0530");
    let given = delegate(&bob, " Eve@example.com", &[], HOUR).await.unwrap();
    assert_eq!((given.to.as_str(), given.groups.as_slice()), ("eve@example.com", ["legal".to_owned()].as_slice()));
    ada.on_record("api", "delegate", |it| it.reason.contains("legal")).await;
    assert_eq!(decide(&eve, &view, "approve").await.unwrap(), "waiting");
    assert_eq!(refused(&bob, &ada, &view, "approve").await, "K0529", "it was his word already");
    assert_eq!(decide(&cyd, &view, "approve").await.unwrap(), "decided");
    let output = until(&ada, &run, v1::RunStatus::Completed).await;
    assert_eq!(output["by"], serde_json::json!(["eve@example.com", "cyd@example.com"]));

    // Taken back before it is used, it counts for nothing.
    let run = submit(&ada, "pay").await;
    let view = asked(&eve, &run).await;
    decide(&eve, &view, "approve").await.unwrap();
    bob.approvals().end_delegation(v1::EndDelegationRequest { to: "eve@example.com".into() }).await.unwrap();
    assert_eq!(decide(&cyd, &view, "approve").await.unwrap(), "decided");
    eventually("it is void", || async { asked(&cyd, &run).await.agreed.is_empty().then_some(()) }).await;
    ada.on_record("approvals", "void", |it| it.reason.contains("in the place of bob@example.com")).await;
    assert_eq!(refused(&eve, &ada, &view, "approve").await, "K0530");
    assert_eq!(status(&ada, &run).await, v1::RunStatus::Waiting);
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gives_what_they_do_not_have_or_longer_than_it_is_good() {
    let Office { place, issuer, ada, bob, .. } = office().await;
    let eve = place.client(&issuer.approver("eve", "eve@example.com", "approver", "sales")).await;
    let invalid = |given: Result<v1::DelegationView, Status>| code(&given.unwrap_err());
    delegate(&bob, "eve@example.com", &["legal"], HOUR).await.unwrap();
    assert_eq!(invalid(delegate(&eve, "dee@example.com", &["legal"], HOUR).await), "K0534", "no chains");
    assert_eq!(invalid(delegate(&bob, "BOB@example.com", &[], HOUR).await), "K0534", "to oneself");
    assert_eq!(invalid(delegate(&bob, "eve@example.com", &[], 100 * 24 * HOUR).await), "K0534", "for ever");
    assert_eq!(invalid(delegate(&bob, "eve@example.com", &[], Duration::ZERO).await), "K0534", "no time");
    let end = eve.approvals().end_delegation(v1::EndDelegationRequest { to: "bob@example.com".into() }).await;
    assert_eq!(code(&end.unwrap_err()), "K0535");

    // Neither the submitter's word nor, for one's own run, anybody's.
    bob.approvals().end_delegation(v1::EndDelegationRequest { to: "eve@example.com".into() }).await.unwrap();
    delegate(&ada, "eve@example.com", &[], HOUR).await.unwrap();
    let run = submit(&ada, "pay").await;
    let view = asked(&eve, &run).await;
    assert_eq!(refused(&eve, &ada, &view, "approve").await, "K0528");
    ada.approvals().end_delegation(v1::EndDelegationRequest { to: "eve@example.com".into() }).await.unwrap();

    // It ends by itself.
    delegate(&bob, "eve@example.com", &[], Duration::from_secs(1)).await.unwrap();
    eventually("it is over", || async {
        let listed = ada.approvals().list_delegations(v1::ListDelegationsRequest {}).await.unwrap().into_inner();
        listed.delegations.is_empty().then_some(())
    })
    .await;
    assert_eq!(refused(&eve, &ada, &view, "approve").await, "K0530");
    place.stop().await;
}
