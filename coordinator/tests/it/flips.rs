//! Partitions that change hands every two seconds, while people decide and others signal: every word that was acknowledged
//! counts, and once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kapelle_coordinator::{Assignment, Config};
use kapelle_proto::v1;
use kapelle_types::Partitions;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;
use tonic::Status;

use crate::callers::{Client, Place, code, eventually};
use crate::issuer::Issuer;
use crate::office::until;

type Owned = std::collections::BTreeSet<kapelle_types::Partition>;

/// Runs that ask and runs that listen, of each so many.
const RUNS: usize = 10;
/// Questions of each run, all asked at once.
const QUESTIONS: usize = 12;
/// Signals that each run waits for, all at once.
const SIGNALS: usize = 120;
/// How often one more question is decided.
const DECIDED_EVERY: Duration = Duration::from_millis(60);
/// How often a signal is sent: 200 a second.
const SIGNAL_EVERY: Duration = Duration::from_millis(5);
const FLIP_EVERY: Duration = Duration::from_secs(2);
/// No answer may take this long; whoever has none asks again with the same id.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Two coordinators, and two people and a program at each of them.
struct Stage {
    place: Place,
    owned: [watch::Sender<Owned>; 2],
    ada: [Client; 2],
    bob: [Client; 2],
    cyd: [Client; 2],
}

/// What became of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// It was acknowledged.
    Counted,
    /// Somebody else's had been heard before.
    TooLate,
    /// It is in the log; whether it was the first is for the outcome to say.
    Recorded,
}

fn all() -> Owned {
    Partitions::new(4).unwrap().all().collect()
}

impl Stage {
    async fn start() -> Self {
        let issuer = Issuer::new();
        let [(first, first_in), (second, second_in)] = [(), ()].map(|()| watch::channel(all()));
        let set_up =
            |given| Config { accepted: issuer.accepted(), assignment: Assignment::Given(given), ..Config::default() };
        let mut place = Place::with(1, set_up(first_in)).await;
        place.add(&set_up(second_in)).await;
        let login = |name: &str, role: &str| issuer.approver(name, &format!("{name}@example.com"), role, "legal");
        let at_both = async |token: String| [place.client_at(0, &token).await, place.client_at(1, &token).await];
        let ada = at_both(login("ada", "admin")).await;
        let bob = at_both(login("bob", "approver")).await;
        let cyd = at_both(login("cyd", "approver")).await;
        let ask = json!({
            "id": "ask", "foreach": "${input.list}", "with": "${item}", "on_give_up": "continue",
            "approval": { "title": "May it?", "groups": ["legal"], "expires": "1h" },
        });
        let listen = json!({ "id": "listen", "foreach": "${input.list}", "signal": "go" });
        for step in [ask, listen] {
            ada[0].apply(&workflow(&step)).await.unwrap();
        }
        Self { place, owned: [first, second], ada, bob, cyd }
    }

    async fn submit(&self, workflow: &str, items: usize) -> Vec<String> {
        let mut runs = Vec::new();
        for n in 0..RUNS {
            let input = json!({ "list": (0..items).collect::<Vec<_>>() }).to_string().into();
            let key = Some(format!("{workflow}-{n}"));
            let request =
                v1::SubmitRequest { workflow: workflow.into(), input, idempotency_key: key, ..Default::default() };
            runs.push(
                eventually("it is submitted", || async {
                    Some(self.ada[n % 2].runs().submit(request.clone()).await.ok()?.into_inner().run_id)
                })
                .await,
            );
        }
        runs
    }

    /// Halves that change hands, everything with one, everything with both, until it is aborted.
    fn flip(&self) -> JoinHandle<()> {
        let owned = self.owned.clone();
        tokio::spawn(async move {
            let (low, high): (Owned, Owned) = all().into_iter().partition(|it| it.0 < 2);
            let shares = [[low.clone(), high.clone()], [high, low], [all(), Owned::new()], [all(), all()]];
            let mut ticks = interval(FLIP_EVERY);
            for [first, second] in shares.into_iter().cycle() {
                owned[0].send_replace(first);
                owned[1].send_replace(second);
                ticks.tick().await;
            }
        })
    }
}

/// A workflow of one step, which it is called after.
fn workflow(step: &Value) -> Value {
    let name = step["id"].as_str().unwrap();
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "signals": { "go": { "schema": { "type": "integer" } } },
            "steps": [step], "output": format!("${{steps.{name}.outputs}}"),
        },
    })
}

/// Whether it is to be asked again: nobody knows what became of it, or nobody could do it just now.
fn is_open(answer: &Status) -> bool {
    ["K0003", "K0210", ""].contains(&code(answer).as_str())
}

/// Says yes or no until there is an answer.
async fn decide(client: Client, run: String, n: usize, decision: &'static str) -> Heard {
    let step = format!("ask:{n}");
    let asked = v1::GetApprovalRequest { run_id: run.clone(), step: step.clone() };
    let answered = eventually("the question can be read", || async {
        match client.approvals().get(asked.clone()).await {
            Ok(view) => Some(Ok(view.into_inner().digest)),
            Err(over) if code(&over) == "K0525" => Some(Err(Heard::TooLate)),
            Err(_) => None,
        }
    });
    let digest = match answered.await {
        Ok(digest) => digest,
        Err(heard) => return heard,
    };
    let request = v1::DecideApprovalRequest {
        run_id: run,
        step,
        digest,
        decision: decision.into(),
        id: format!("{decision}-{n}"),
        ..Default::default()
    };
    eventually("a decision is answered", || async {
        let answer = tokio::time::timeout(ANSWER_WAIT_MAX, client.approvals().decide(request.clone())).await;
        match answer.ok()? {
            Ok(_) => Some(Heard::Counted),
            Err(late) if code(&late) == "K0525" => Some(Heard::TooLate),
            Err(again) if code(&again) == "K0206" => Some(Heard::Recorded),
            Err(open) => {
                assert!(is_open(&open), "{open:?}");
                None
            }
        }
    })
    .await
}

/// Sends a signal until somebody answers for it.
async fn tell(client: Client, run: String, n: usize) {
    let payload = n.to_string().into();
    let request = v1::SignalRequest { run_id: run, name: "go".into(), payload, id: n.to_string() };
    eventually("a signal is answered", || async {
        let answer = tokio::time::timeout(ANSWER_WAIT_MAX, client.runs().signal(request.clone())).await.ok()?;
        answer.map_err(|open| assert!(is_open(&open), "{open:?}")).ok().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_word_counts_once_while_owners_change_every_two_seconds() {
    let stage = Arc::new(Stage::start().await);
    let (asking, listening) = (stage.submit("ask", QUESTIONS).await, stage.submit("listen", SIGNALS).await);
    let flipping = stage.flip();
    let telling = tokio::spawn({
        let (stage, listening) = (Arc::clone(&stage), listening.clone());
        async move {
            let (mut sent, mut answers) = (interval(SIGNAL_EVERY), JoinSet::new());
            for n in 0..SIGNALS {
                for (nth, run) in listening.iter().enumerate() {
                    sent.tick().await;
                    answers.spawn(tell(stage.ada[(n + nth) % 2].clone(), run.clone(), n));
                }
            }
            answers.join_all().await;
        }
    });
    let (mut decided, mut deciding) = (interval(DECIDED_EVERY), JoinSet::new());
    for n in 0..QUESTIONS {
        for (nth, run) in asking.iter().enumerate() {
            decided.tick().await;
            let at = (n + nth) % 2;
            // One of three questions is answered by two at once, who do not agree.
            let yes = decide(stage.bob[at].clone(), run.clone(), n, "approve");
            let no = (n % 3 == 0).then(|| decide(stage.cyd[1 - at].clone(), run.clone(), n, "reject"));
            deciding.spawn(async move {
                let no = async { if let Some(no) = no { no.await } else { Heard::TooLate } };
                ((nth, n), tokio::join!(yes, no))
            });
        }
    }
    let heard: BTreeMap<_, _> = deciding.join_all().await.into_iter().collect();
    telling.await.unwrap();
    for (nth, run) in asking.iter().enumerate() {
        let outputs = until(&stage.ada[0], run, v1::RunStatus::Completed).await;
        for n in 0..QUESTIONS {
            let decision = outputs[n]["decision"].as_str();
            let (yes, no) = heard[&(nth, n)];
            assert!([None, Some("approve")].contains(&decision), "{decision:?}");
            let (counted, other) = if decision.is_some() { (yes, no) } else { (no, yes) };
            assert!(counted != Heard::TooLate && other != Heard::Counted, "{run} {n}: {decision:?}, {yes:?}, {no:?}");
        }
    }
    for run in &listening {
        let outputs = until(&stage.ada[0], run, v1::RunStatus::Completed).await;
        let mut told: Vec<usize> = serde_json::from_value(outputs).unwrap();
        told.sort_unstable();
        assert_eq!(told, (0..SIGNALS).collect::<Vec<_>>(), "each of {run} counted once");
    }
    flipping.abort();
    let _ = flipping.await;
    Arc::into_inner(stage).unwrap().place.stop().await;
}
