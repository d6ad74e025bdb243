//! Questions that are alike: found by a rule, decided each by its own digest, and taken back while that is possible.

use kapelle_proto::v1;

use crate::callers::{Client, code, eventually};
use crate::office::{Office, asked, decide, office, status, submit, submit_for, until};

async fn alike(client: &Client, rule: &str, sample: u32) -> Result<Vec<(String, bool)>, tonic::Status> {
    let (workflow, step) = ("one".to_owned(), "gate".to_owned());
    let request = v1::AlikeRequest { workflow, step, r#where: rule.into(), sample };
    let found = client.approvals().alike(request).await?.into_inner().found;
    Ok(found.into_iter().map(|it| (it.approval.unwrap().run_id, it.left)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_finds_what_is_alike_and_leaves_a_sample() {
    let Office { place, issuer, ada, bob, .. } = office().await;
    let mut small = Vec::new();
    for amount in [5, 7, 9] {
        small.push(submit_for(&ada, "one", amount).await);
    }
    let large = submit_for(&ada, "one", 500).await;
    let other = submit(&ada, "pay").await;
    for run in small.iter().chain([&large, &other]) {
        asked(&bob, run).await;
    }
    let found = eventually("all are listed", || async {
        Some(alike(&bob, "input.amount < 100", 1).await.unwrap()).filter(|it| it.len() == 3)
    })
    .await;
    assert!(found.iter().all(|(run, _)| small.contains(run)), "{found:?}");
    assert_eq!(found.iter().filter(|(_, left)| *left).count(), 1);
    assert_eq!(alike(&bob, "input.amount < 100", 1).await.unwrap(), found, "the same one is left whoever asks");
    assert_eq!(alike(&bob, "", 0).await.unwrap().len(), 4);
    assert_eq!(code(&alike(&bob, "steps.x.output", 0).await.unwrap_err()), "K0209");
    let blind = place.client(&issuer.jwt("dee", "dee@example.com", "approver", 600)).await;
    assert_eq!(code(&alike(&blind, "input.amount < 100", 0).await.unwrap_err()), "K0532", "rules tell of arguments");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_agreed_takes_it_back_until_it_is_used() {
    let Office { place, ada, bob, cyd, .. } = office().await;
    let run = submit(&ada, "pay").await;
    let view = asked(&bob, &run).await;
    assert_eq!(code(&decide(&bob, &view, "undo").await.unwrap_err()), "K0525", "nothing was said yet");
    decide(&bob, &view, "approve").await.unwrap();
    assert_eq!(decide(&bob, &view, "undo").await.unwrap(), "waiting");
    assert!(asked(&bob, &run).await.agreed.is_empty());
    ada.on_record("api", "undo-approval", |record| record.reason.contains(&view.digest)).await;
    decide(&cyd, &view, "approve").await.unwrap();
    assert_eq!(status(&ada, &run).await, v1::RunStatus::Waiting, "one of two");
    decide(&bob, &view, "approve").await.unwrap();
    until(&ada, &run, v1::RunStatus::Completed).await;
    assert_eq!(code(&decide(&bob, &view, "undo").await.unwrap_err()), "K0525", "it is used");
    place.stop().await;
}
