//! Policies of one's own at real coordinators: served everywhere at once, never less than was applied, and weakened by two
//! persons alone.

use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::Bus;
use kapelle_bus::policies::{File, PolicySets, Proposal, Proposed, Set, digest};
use kapelle_bus::provision::provision;
use kapelle_coordinator::Config;
use kapelle_proto::v1;
use kapelle_types::{Principal, Role, Timestamp, limits};
use tonic::{Code, Status};

use crate::callers::{Client, Place, agent, code, eventually, workflow};
use crate::fleet::connect;
use crate::issuer::Issuer;

const FORBID: &str = r#"
@id("no_lists") @mode("enforce") @why("Nobody lists runs today.")
forbid (principal in Role::"viewer", action == Action::"kapelle.v1.RunService/List", resource);
"#;

/// The policies that come with Kapelle, and one more.
async fn with(client: &Client, more: &str) -> v1::ApplyPoliciesRequest {
    let embedded = v1::GetPoliciesRequest { version: Some(0) };
    let mut files = client.policies().get(embedded).await.unwrap().into_inner().files;
    files.push(v1::PolicyFile { name: "more.cedar".into(), text: more.into() });
    v1::ApplyPoliciesRequest { files, why: "a test".into() }
}

fn refused(status: &Status, expected: (Code, &str)) {
    assert_eq!((status.code(), code(status).as_str()), expected, "{status}");
}

async fn lists(client: &Client) -> Option<Status> {
    client.runs().list(v1::ListRunsRequest::default()).await.err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_served_everywhere_and_what_cannot_be_served_is_refused() {
    let place = Place::start(2).await;
    let (admin, _) = place.token("root", &[Role::Admin], |_| {}).await;
    let (viewer, _) = place.token("reader", &[Role::Viewer], |_| {}).await;
    let (admin, here, there) =
        (place.client(&admin).await, place.client_at(0, &viewer).await, place.client_at(1, &viewer).await);
    assert!(lists(&there).await.is_none());

    let mut wanted = with(&admin, FORBID).await;
    let applied = admin.policies().apply(wanted.clone()).await.unwrap().into_inner();
    assert_eq!((applied.outcome.as_str(), applied.served.as_ref().unwrap().version), ("applied", 1));
    let begun = tokio::time::Instant::now();
    let denied = lists(&here).await.expect("served where it was applied, at once");
    assert!(denied.message().contains("policy `no_lists`"), "{denied}");
    eventually("the other coordinator serves it", || lists(&there)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let same = admin.policies().apply(wanted.clone()).await.unwrap().into_inner();
    assert_eq!((same.outcome.as_str(), same.served.unwrap().version), ("unchanged", 1));

    wanted.files.last_mut().unwrap().text = "permit".into();
    refused(&admin.policies().apply(wanted.clone()).await.unwrap_err(), (Code::InvalidArgument, "K0501"));
    wanted.files.last_mut().unwrap().text =
        FORBID.replace("viewer", "admin").replace("RunService/List", "PolicyService/Apply");
    refused(&admin.policies().apply(wanted.clone()).await.unwrap_err(), (Code::FailedPrecondition, "K0517"));
    let open = r#"@id("open") @mode("enforce") @why("open") permit (principal, action, resource);"#;
    wanted.files = vec![v1::PolicyFile { name: "open.cedar".into(), text: open.into() }];
    refused(&admin.policies().apply(wanted).await.unwrap_err(), (Code::InvalidArgument, "K0501"));
    // To go back takes the forbid away, and a token's person is nobody whom anybody vouches for.
    let back = v1::RollbackPoliciesRequest { version: 0, why: String::new() };
    refused(&admin.policies().rollback(back).await.unwrap_err(), (Code::FailedPrecondition, "K0518"));
    refused(&here.policies().apply(with(&here, "").await).await.unwrap_err(), (Code::PermissionDenied, "K0503"));

    let history = admin.policies().history(v1::PolicyHistoryRequest::default()).await.unwrap().into_inner().sets;
    let told: Vec<_> = history.iter().map(|set| (set.version, set.applied_by.as_str())).collect();
    assert_eq!(told, [(1, "token:root"), (0, "kapelle")]);
    let record = admin.on_record("policies", "applied", |_| true).await;
    assert!(record.reason.contains(&history[0].digest) && record.reason.ends_with("a test"), "{record:?}");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_denies_everything_and_nobody_falls_back() {
    let place = Place::start(1).await;
    let (admin, _) = place.token("root", &[Role::Admin], |_| {}).await;
    let admin = place.client(&admin).await;
    admin.policies().apply(with(&admin, FORBID).await).await.unwrap();
    let bucket = place.bus.jetstream().get_key_value("policies").await.unwrap();
    bucket.put("set.2", "from a newer release".into()).await.unwrap();
    let status = eventually("everything is denied", || lists(&admin)).await;
    refused(&status, (Code::Unavailable, "K0516"));
    bucket.purge("set.2").await.unwrap();
    let status = eventually("what was served is removed", || async {
        lists(&admin).await.filter(|status| status.message().contains("was removed"))
    })
    .await;
    refused(&status, (Code::Unavailable, "K0516"));
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_weakens_takes_two_persons() {
    let issuer = Issuer::new();
    let place = Place::accepting(1, &issuer.accepted()).await;
    let login = |login: &'static str, person: &'static str| {
        let jwt = issuer.jwt(login, person, "admin", 600);
        let place = &place;
        async move { place.client(&jwt).await }
    };
    let (ada, bob) = (login("ada", "ada@example.com").await, login("bob", "bob@example.com").await);
    let other_ada = login("ada-at-work", "Ada@Example.com").await;
    ada.policies().apply(with(&ada, FORBID).await).await.unwrap();

    let weaker = with(&ada, &FORBID.replace("\"enforce\"", "\"log_only\"")).await;
    let proposed = ada.policies().apply(weaker).await.unwrap().into_inner();
    assert_eq!((proposed.outcome.as_str(), proposed.served.unwrap().version), ("proposed", 1));
    let proposal = proposed.proposal.unwrap();
    assert_eq!(proposal.weakens, ["`no_lists` would only be logged"]);
    let approve = |id: &str| v1::ApproveProposalRequest { id: id.to_owned() };
    for same in [&ada, &other_ada] {
        let status = same.policies().approve(approve(&proposal.id)).await.unwrap_err();
        refused(&status, (Code::FailedPrecondition, "K0518"));
    }
    let open = bob.policies().proposals(v1::PolicyProposalsRequest {}).await.unwrap().into_inner().proposals;
    assert_eq!(open, std::slice::from_ref(&proposal));
    let applied = bob.policies().approve(approve(&proposal.id)).await.unwrap().into_inner().served.unwrap();
    assert_eq!((applied.version, applied.proposal.as_str()), (2, proposal.id.as_str()));
    assert!(applied.applied_by.ends_with("#ada") && applied.approved_by.ends_with("#bob"), "{applied:?}");
    let status = bob.policies().approve(approve(&proposal.id)).await.unwrap_err();
    refused(&status, (Code::FailedPrecondition, "K0519"));

    let (viewer, _) = place.token("reader", &[Role::Viewer], |_| {}).await;
    assert!(lists(&place.client(&viewer).await).await.is_none(), "it is only logged by now");
    let logged = ada.on_record("api", "log-only", |_| true).await;
    assert_eq!((logged.policy.as_str(), logged.reason.starts_with("it would have been denied")), ("no_lists", true));

    // A proposal is for what is served when it is made.
    let gone = v1::RollbackPoliciesRequest { version: 1, why: "back".into() };
    assert_eq!(ada.policies().rollback(gone).await.unwrap().into_inner().outcome, "applied", "stricter again");
    let embedded = v1::RollbackPoliciesRequest { version: 0, why: String::new() };
    let proposal = ada.policies().rollback(embedded).await.unwrap().into_inner().proposal.unwrap();
    assert_eq!(proposal.weakens, ["the forbid `no_lists` would be gone"]);
    let stricter = FORBID.to_owned() + &FORBID.replace("no_lists", "no_lists_at_all");
    ada.policies().apply(with(&ada, &stricter).await).await.unwrap();
    let status = bob.policies().approve(approve(&proposal.id)).await.unwrap_err();
    refused(&status, (Code::FailedPrecondition, "K0519"));
    bob.on_record("policies", "void", |r| r.what.as_ref().is_some_and(|w| w.name == proposal.id)).await;
    let trail = bob.trail().await;
    let acts = trail.iter().filter(|r| r.component == "policies" && r.verb != "denied");
    let told: Vec<_> = acts.map(|r| r.verb.as_str()).collect();
    assert_eq!(told, ["applied", "proposed", "approved", "applied", "applied", "proposed", "applied", "void"]);
    assert_eq!(trail.iter().filter(|r| r.code == "K0518").count(), 2, "who tried alone");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_for_callers_by_name_are_left_to_two_persons_at_least() {
    let issuer = Issuer::new();
    let place = Place::accepting(1, &issuer.accepted()).await;
    let ada = place.client(&issuer.jwt("ada", "ada@example.com", "admin", 600)).await;
    let bob = place.client(&issuer.jwt("bob", "bob@example.com", "admin", 600)).await;
    let harmless = FORBID.replace("\"enforce\"", "\"log_only\"");
    let served = ada.policies().apply(with(&ada, &harmless).await).await.unwrap().into_inner().served.unwrap();
    let [first, second] = ["#ada", "#bob"].map(|login| served.applied_by.replace("#ada", login));
    let only = |who: &[&String]| {
        let names: Vec<String> = who.iter().map(|name| format!("Caller::\"{name}\"")).collect();
        format!(
            r#"@id("by_name") @mode("enforce") @why("These alone.")
forbid (principal, action in Action::"administer", resource) unless {{ [{}].contains(principal) }};"#,
            names.join(", ")
        )
    };
    let approve = |id: String| v1::ApproveProposalRequest { id };
    let alone = ada.policies().apply(with(&ada, &only(&[&first])).await).await.unwrap().into_inner();
    assert_eq!((alone.outcome.as_str(), alone.served.unwrap().version), ("proposed", 1));
    let alone = alone.proposal.unwrap();
    assert_eq!(alone.weakens.len(), 3, "{:?}", alone.weakens);
    assert!(alone.weakens[0].starts_with("no role could call kapelle.v1.PolicyService/"), "{:?}", alone.weakens);
    let status = bob.policies().approve(approve(alone.id)).await.unwrap_err();
    refused(&status, (Code::FailedPrecondition, "K0517"));
    let both = ada.policies().apply(with(&ada, &only(&[&first, &second])).await).await.unwrap().into_inner();
    let served = bob.policies().approve(approve(both.proposal.unwrap().id)).await.unwrap().into_inner().served;
    assert_eq!(served.unwrap().version, 2);
    let (admin, _) = place.token("root", &[Role::Admin], |_| {}).await;
    let admin = place.client(&admin).await;
    let another = admin.policies().apply(with(&ada, "").await).await.unwrap_err();
    refused(&another, (Code::PermissionDenied, "K0503"));
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_proposals_than_may_be() {
    let server = TestServer::start().await;
    let connection = connect(&server.url()).await;
    let record = provision(connection.jetstream(), &Config::default().layout).await.unwrap();
    let sets = PolicySets::open(&Bus::of(connection.clone(), record)).await.unwrap();
    let proposal = |n: usize| {
        let files = vec![File { name: "a.cedar".into(), text: n.to_string() }];
        let set = Set {
            version: 1,
            digest: digest(&files),
            files,
            applied_by: Principal("ada".into()),
            person: Some("ada".into()),
            applied_at: Timestamp::default(),
            why: String::new(),
            again: None,
            proposal: None,
            approved_by: None,
        };
        let (replaces_digest, expires_at) = (digest(&[]), Timestamp::default());
        Proposal { id: format!("{n:016x}"), set, replaces: 0, replaces_digest, weakens: Vec::new(), expires_at }
    };
    let propose = |n: usize| {
        let (sets, proposal) = (sets.clone(), proposal(n));
        // Others may be quicker a hundred times where everybody comes at once.
        async move { eventually("an answer", || async { sets.propose(&proposal).await.ok() }).await }
    };
    let told = futures::future::join_all((0..limits::PROPOSALS_MAX + 8).map(propose)).await;
    assert_eq!(told.iter().filter(|it| **it == Proposed::New).count(), limits::PROPOSALS_MAX);
    assert_eq!(told.iter().filter(|it| **it == Proposed::Full).count(), 8);
    let there = sets.proposals().await.unwrap();
    assert_eq!(there.len(), limits::PROPOSALS_MAX);
    let again = Proposal { weakens: vec!["more".into()], ..there[0].clone() };
    assert_eq!(sets.propose(&again).await.unwrap(), Proposed::There(Box::new(there[0].clone())), "the first stays");
    sets.remove_proposal(&there[0].id).await.unwrap();
    assert_eq!(sets.propose(&proposal(99)).await.unwrap(), Proposed::New);
    // What is left of one that is gone goes by itself: one answer of the broker has room for a thousand.
    let stream = connection.jetstream().get_stream("KV_policies").await.unwrap();
    let mark = stream.get_last_raw_message_by_subject(&format!("$KV.policies.proposal.{}", there[0].id)).await.unwrap();
    assert_eq!(mark.headers.get("Nats-TTL").map(ToString::to_string), Some("60".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_ends_with_its_credential() {
    let place = Place::start(1).await;
    let (operator, record) = place.token("ops", &[Role::Operator], |_| {}).await;
    let operator = place.client(&operator).await;
    operator.apply(&agent()).await.unwrap();
    operator.apply(&workflow()).await.unwrap();
    let submit =
        v1::SubmitRequest { workflow: "say".into(), input: r#"{"wait":true}"#.into(), ..v1::SubmitRequest::default() };
    let waiting = {
        let operator = operator.clone();
        let request = v1::ExecuteRequest { submit: Some(submit), wait_millis: 600_000 };
        tokio::spawn(async move { operator.runs().execute(request).await })
    };
    eventually("the run is there", || async {
        let runs = operator.runs().list(v1::ListRunsRequest::default()).await.ok()?.into_inner().runs;
        (!runs.is_empty()).then_some(())
    })
    .await;
    place.tokens().await.revoke(&record.id, kapelle_telemetry::clock::now()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it ends").unwrap().unwrap_err();
    refused(&ended, (Code::Unauthenticated, "K0502"));
    place.stop().await;
}
