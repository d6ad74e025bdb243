//! Dead letters at scale: which are alike, and replays that are bounded, counted and done once.

use std::collections::BTreeMap;
use std::time::Duration;

use kapelle_proto::subject::{DeadSubject, dead_all};
use kapelle_proto::v1::dead_letter_act_answer::Answer;
use kapelle_proto::v1::dead_letter_acted::Outcome;
use kapelle_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use kapelle_proto::v1::{self, DeadLetterActRequest, DeadLetterFilter, DeadLetterGroup, RunStatus};
use kapelle_types::{AgentVersion, RunId};
use serde_json::json;
use tonic::transport::Channel;

use crate::fleet::{Fleet, chain, eventually, fan_out};

/// What came of a request: what was selected, each letter's run with its outcome and code, how many of each outcome.
struct Came {
    selected: v1::DeadLetterSelected,
    acted: Vec<(String, Outcome, String)>,
    summary: Option<v1::DeadLetterActSummary>,
}

fn letters(fleet: &Fleet) -> DeadLetterServiceClient<Channel> {
    DeadLetterServiceClient::new(fleet.channel())
}

async fn act(fleet: &Fleet, request: DeadLetterActRequest) -> Came {
    let mut answers = letters(fleet).act(request).await.unwrap().into_inner();
    let mut came = Came { selected: v1::DeadLetterSelected::default(), acted: vec![], summary: None };
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.answer.unwrap() {
            Answer::Selected(selected) => came.selected = selected,
            Answer::Acted(acted) => {
                let outcome = acted.outcome();
                let code = acted.error.map_or_else(String::new, |error| error.code);
                came.acted.push((acted.letter.unwrap().run_id, outcome, code));
            }
            Answer::Summary(summary) => came.summary = Some(summary),
        }
    }
    came
}

async fn groups(fleet: &Fleet) -> Vec<DeadLetterGroup> {
    letters(fleet).stats(v1::DeadLetterStatsRequest::default()).await.unwrap().into_inner().groups
}

async fn until(fleet: &Fleet, count: usize) {
    eventually("so many dead letters", || async { (fleet.dead_letters().await.len() == count).then_some(()) }).await;
}

async fn stalled(fleet: &Fleet, says: &str) -> String {
    let view = fleet.execute("chain", json!({ "fail_attempts": 1_000, "says": says })).await;
    assert_eq!(view.status(), RunStatus::Stalled, "{view:?}");
    view.run_id
}

fn of(fingerprint: &str) -> DeadLetterFilter {
    DeadLetterFilter { fingerprint: fingerprint.to_owned(), ..DeadLetterFilter::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alike_failures_are_one_group_and_a_group_is_dealt_with_alone() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let mut runs = BTreeMap::new();
    for says in ["order 4711 is locked", "order 12 is locked", "the ledger is closed", "order 800 is locked"] {
        runs.insert(stalled(&fleet, says).await, says);
    }
    until(&fleet, 4).await;
    let groups = groups(&fleet).await;
    assert_eq!(
        groups.iter().map(|g| (g.text.as_str(), g.count)).collect::<Vec<_>>(),
        [("order … is locked", 3), ("the ledger is closed", 1),]
    );
    assert_eq!((groups[0].agent.as_str(), groups[0].versions.as_slice()), ("echo", &["1.0.0".to_owned()][..]));
    let newest = &runs[&groups[0].run_id];
    assert_eq!((*newest, groups[0].workflows.as_slice()), ("order 800 is locked", &["chain@1.0.0".to_owned()][..]));

    let locked = of(&groups[0].fingerprint);
    let dry =
        act(&fleet, DeadLetterActRequest { filter: Some(locked.clone()), dry_run: true, ..Default::default() }).await;
    assert_eq!((dry.selected.total, dry.selected.letters.len(), dry.selected.groups.len()), (3, 3, 1));
    assert!(dry.acted.is_empty() && dry.summary.is_none(), "a dry run does nothing");

    let discard = DeadLetterActRequest {
        filter: Some(locked),
        discard: true,
        reason: "nobody unlocks them".into(),
        ..Default::default()
    };
    let came = act(&fleet, discard).await;
    assert!(came.acted.iter().all(|it| it.1 == Outcome::Done && runs[&it.0].starts_with("order")), "{:?}", came.acted);
    assert_eq!(came.summary.unwrap().done, 3);
    for (run, says) in &runs {
        let expected = if says.starts_with("order") { RunStatus::Failed } else { RunStatus::Stalled };
        eventually("each is as it should be", || async { (fleet.get(run).await.status() == expected).then_some(()) })
            .await;
    }
    until(&fleet, 1).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_letter_is_put_back_once_however_often_it_is_asked_for() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let all = (0..6).map(|_| fleet.execute("chain", json!({ "fail_attempts": 4 })));
    let runs: Vec<_> = futures::future::join_all(all).await.into_iter().map(|view| view.run_id).collect();
    until(&fleet, 6).await;
    let asked = (0..5).map(|_| act(&fleet, DeadLetterActRequest::default()));
    let came = futures::future::join_all(asked).await;
    for outcome in came.iter().flat_map(|it| &it.acted) {
        assert!(matches!(outcome.1, Outcome::Done | Outcome::Already), "{outcome:?}");
    }
    for run in &runs {
        // Three attempts, of which all failed; a fresh budget of three, of which the first fails and the second does it.
        let view = fleet.until_ended(run).await;
        assert_eq!((view.status(), view.steps[0].attempts), (RunStatus::Completed, 5), "{view:?}");
        assert!(came.iter().flat_map(|it| &it.acted).any(|it| it.0 == *run && it.1 == Outcome::Done));
    }
    until(&fleet, 0).await;
    let nothing = act(&fleet, DeadLetterActRequest::default()).await;
    assert_eq!((nothing.selected.total, nothing.summary.unwrap()), (0, v1::DeadLetterActSummary::default()));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gives_up_again_and_again_is_passed_over() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let run = stalled(&fleet, "it is broken for good").await;
    for attempts in [3, 6, 9] {
        given_up(&fleet, attempts).await;
        let came = act(&fleet, DeadLetterActRequest::default()).await;
        assert_eq!(came.summary.unwrap().done, 1, "{attempts}: {:?}", came.acted);
    }
    given_up(&fleet, 12).await;
    let came = act(&fleet, DeadLetterActRequest::default()).await;
    assert_eq!(came.acted, [(run.clone(), Outcome::PassedOver, "K0242".to_owned())]);
    assert_eq!(came.summary.unwrap().passed_over, 1);
    let request = v1::GetDeadLetterRequest { run_id: run.clone(), step: "s0".into() };
    assert_eq!(letters(&fleet).get(request).await.unwrap().into_inner().replays, 3);
    assert_eq!(fleet.get(&run).await.steps[0].attempts, 12, "nothing was begun");

    let came = act(&fleet, DeadLetterActRequest { replays_max: 4, ..Default::default() }).await;
    assert_eq!(came.summary.unwrap().done, 1, "{:?}", came.acted);
    given_up(&fleet, 15).await;
    let refused = letters(&fleet).act(DeadLetterActRequest { per_second: 1_001, ..Default::default() }).await;
    assert_eq!(fleet.code(&refused.unwrap_err()), "K0209");
    fleet.stop().await;
}

/// Waits until the only dead letter is that of this attempt.
async fn given_up(fleet: &Fleet, attempt: u32) {
    eventually("it gives up again", || async {
        fleet.dead_letters().await.iter().map(|it| it.attempt).eq([attempt]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_fan_out_are_put_back_at_the_rate_that_was_asked_for() {
    let fleet = Fleet::start().await;
    fleet.register(fan_out("each", 64)).await;
    let items: Vec<_> = (0..60).map(|n| json!({ "fail_attempts": if n % 2 == 0 { 3 } else { 0 }, "n": n })).collect();
    let run = fleet.submit_input("each", json!({ "items": items })).await;
    until(&fleet, 30).await;

    let begun = tokio::time::Instant::now();
    let ten = DeadLetterFilter { limit: 10, ..DeadLetterFilter::default() };
    let came = act(&fleet, DeadLetterActRequest { filter: Some(ten), per_second: 20, ..Default::default() }).await;
    assert_eq!((came.selected.total, came.summary.unwrap().done), (30, 10));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(450), "10 at 20 a second in {took:?}");
    until(&fleet, 20).await;

    assert_eq!(act(&fleet, DeadLetterActRequest::default()).await.summary.unwrap().done, 20);
    let view = fleet.until_ended(&run).await;
    assert_eq!(view.status(), RunStatus::Completed, "{view:?}");
    until(&fleet, 0).await;
    fleet.stop().await;
}

/// What the broker announced when the list began may be gone when it is its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_ends_though_what_it_lists_leaves_meanwhile() {
    let fleet = Fleet::start().await;
    let bus = fleet.bus().await;
    let (agent, run_id): (AgentVersion, _) = ("echo@1.0.0".parse().unwrap(), RunId::from_uuid(uuid::Uuid::now_v7()));
    let dead = |n: u32| DeadSubject { agent: agent.clone(), run_id, step: format!("each:{n}").parse().unwrap() };
    let all: Vec<DeadSubject> = (0..1_500).map(dead).collect();
    for letter in &all {
        bus.keep_dead_letter(letter, bytes::Bytes::from_static(b"{}")).await.unwrap().await.unwrap();
    }
    assert_eq!(bus.dead_letters(dead_all()).await.unwrap().len(), all.len());
    let removes = async {
        for letter in all.iter().rev() {
            bus.remove_dead_letter(letter).await.unwrap();
        }
    };
    let lists = async {
        let mut before = all.len();
        while before > 0 {
            let now = bus.dead_letters(dead_all()).await.unwrap().len();
            assert!(now <= before, "{now} after {before}");
            before = now;
        }
    };
    tokio::join!(removes, lists);
    fleet.stop().await;
}
