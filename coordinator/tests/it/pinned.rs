//! Which open runs are pinned to an agent, asked of every owner.

use crate::fleet::{Fleet, agent, chain, eventually, fan_out};
use kapelle_proto::v1::{PinnedRequest, PinnedResponse};
use serde_json::{Value, json};
use tonic::Status;

async fn pinned(fleet: &Fleet, agent: &str, version: &str) -> Result<PinnedResponse, Status> {
    let request = PinnedRequest { agent: agent.to_owned(), version: version.to_owned() };
    fleet.runs().pinned(request).await.map(tonic::Response::into_inner)
}

fn counts(answer: &PinnedResponse) -> Vec<(&str, u64)> {
    answer.workflows.iter().map(|it| (it.workflow.as_str(), it.runs)).collect()
}

/// A version that no worker serves, so that its runs stay open.
fn idle(version: &str) -> Value {
    let mut idle = agent();
    idle["metadata"]["version"] = json!(version);
    idle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_runs_are_counted_by_the_version_that_they_are_pinned_to() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[idle("1.1.0"), chain("early", 2), fan_out("wide", 1)]).await.unwrap();
    let early = fleet.submit_input("early", json!({})).await;
    fleet.apply_all(&[idle("1.2.0")]).await.unwrap();
    let mut late = Vec::new();
    for _ in 0..25 {
        late.push(fleet.submit_input("wide", json!({ "items": [1, 2] })).await);
    }

    let old = eventually("all partitions answer", || async {
        let answer = pinned(&fleet, "echo", "1.1.0").await.unwrap();
        (answer.complete && !answer.workflows.is_empty()).then_some(answer)
    })
    .await;
    assert_eq!((counts(&old), &old.run_ids), (vec![("early@1.0.0", 1)], &vec![early.clone()]));
    let new = eventually("all runs are read", || async {
        let answer = pinned(&fleet, "echo", "1.2.0").await.unwrap();
        (counts(&answer) == [("wide@1.0.0", 25)]).then_some(answer)
    })
    .await;
    assert_eq!((new.run_ids.len(), new.unknown), (20, 0), "the first are named, all are counted");
    assert!(new.run_ids.iter().all(|run| late.contains(run)));
    let all = pinned(&fleet, "echo", "").await.unwrap();
    assert_eq!((counts(&all), &all.run_ids[0]), (vec![("early@1.0.0", 1), ("wide@1.0.0", 25)], &early));
    let nobody = pinned(&fleet, "echo", "2.0.0").await.unwrap();
    assert_eq!(nobody, PinnedResponse { complete: true, ..PinnedResponse::default() });
    let refused = pinned(&fleet, "Echo", "").await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0209");
    fleet.stop().await;
}
