//! Entries that change nothing, each for another reason.

use bytes::Bytes;
use kapelle_engine::{Body, Channel, Entry, FailureKind, RunFinished, RunStatus as Status, TimerId};
use kapelle_proto::encode_record;
use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::{Value, json};

use crate::history::manifests::{PLAYER, SECOND, chain, workflow};
use crate::history::stage::{PATIENCE, Stage, entry, failed, succeeded, task};

/// A step that waits at a gate, one that gives up at once, and a deadline that is far away.
fn noisy() -> Value {
    let steps = json!([
        {
            "id": "slow", "agent": PLAYER, "with": { "gate": "slow" },
            "retry": { "initial": "1500ms", "max": "1500ms", "jitter": 0 },
        },
        { "id": "bad", "agent": SECOND, "with": { "gate": "bad", "fail_attempts": 1, "final": true } },
    ]);
    let mut noisy = workflow("noise", &steps, "${[steps.slow.output, steps.bad.output]}");
    noisy["spec"]["deadline"] = json!("1h");
    noisy
}

pub(in crate::history) async fn all_kinds(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&noisy(), json!({})).await;
    stage.cues.begun("slow#1").await;
    stage.cues.begun("bad#1").await;
    unreadable(stage, run).await;
    misplaced(stage, run).await;
    stage.cues.open("bad");
    stage.until(run, RunStatus::Stalled).await;
    stage.write(run, Channel::Control, &[retry(&["slow"])]).await; // not given up
    stale(stage, run).await;
    // Four by hand, and the one that was set again.
    stage.until_logged(run, 5, |body| matches!(body, Body::TimerFired { .. })).await;
    stage.retry(run, &["bad"]).await;
    stage.until_is(run, |view| view.steps.iter().any(|s| s.step == "bad" && s.status == "SUCCEEDED")).await;
    let decided = [succeeded("bad", 1, json!("another")), failed("bad", 2, FailureKind::LeaseLost)];
    stage.write(run, Channel::Report, &decided).await;
    stage.cues.open("slow");
    stage.until_marked(run, RunStatus::Completed).await;
    after_the_end(stage, run).await;
    run
}

/// What no version of the wire makes sense of, and what only a newer one may.
async fn unreadable(stage: &Stage, run: RunId) {
    stage.write_bytes(run, Channel::Report, Bytes::from_static(b"\xff\x00garbage")).await;
    stage.write_bytes(run, Channel::Control, Bytes::from_static(b"{\"not\": \"protobuf\"}")).await;
    stage.write_bytes(run, Channel::Report, Bytes::new()).await;
    stage.write_bytes(run, Channel::Report, encode_record(&[])).await;
    let version_99 = Bytes::from_static(&[0x08, 99]);
    stage.write_bytes(run, Channel::Report, version_99).await;
}

/// Entries that can be read and have no business here.
async fn misplaced(stage: &Stage, run: RunId) {
    let first = stage.log(run).await.into_iter().next().unwrap();
    stage.write_bytes(run, Channel::Control, first.payload).await; // a duplicate
    let cancel = entry("", Body::CancelRequested { reason: String::new() });
    stage.write(run, Channel::Report, &[cancel]).await; // wrong channel, as is the next
    stage.write(run, Channel::Control, &[succeeded("slow", 1, json!("forged"))]).await;
    let unknown = [
        succeeded("nowhere", 1, json!(1)),
        succeeded("slow:3", 1, json!(1)),
        failed("slow", 9, FailureKind::Agent),
        succeeded("bad", 2, json!(1)),
    ];
    stage.write(run, Channel::Report, &unknown).await;
    stage.write(run, Channel::Control, &[mark()]).await; // not decided
    let pause = |id| entry(id, Body::PauseRequested { reason: "twice".into() });
    let requests = [
        entry("resume-0", Body::ResumeRequested), // not paused
        retry(&[]),                               // not stalled
        pause("pause-1"),
        pause("pause-1"), // a duplicate
        pause("pause-2"), // paused already
        entry("resume-1", Body::ResumeRequested),
    ];
    stage.write(run, Channel::Control, &requests).await;
    let timers = [timer(TimerId::Deadline), retry_timer("nowhere", 2), retry_timer("slow", 2)];
    stage.write(run, Channel::Control, &timers).await; // early, unknown, stale
}

/// What was right a moment ago.
async fn stale(stage: &Stage, run: RunId) {
    let twice = [failed("slow", 1, FailureKind::Agent), failed("slow", 1, FailureKind::Agent)];
    stage.write(run, Channel::Report, &twice).await;
    stage.write(run, Channel::Control, &[retry_timer("slow", 2)]).await; // early, so that it is set again
}

/// What comes when everything is over.
async fn after_the_end(stage: &Stage, run: RunId) {
    let cancel = entry("too-late", Body::CancelRequested { reason: String::new() });
    stage.write(run, Channel::Control, &[cancel, timer(TimerId::Deadline)]).await;
    stage.write(run, Channel::Report, &[succeeded("slow", 1, json!("late"))]).await;
    let last_mark = stage.log(run).await.into_iter().rev().find(|raw| {
        let record = kapelle_proto::decode_record(raw.channel, raw.stamp, &raw.payload);
        record.is_ok_and(|r| r.entries.iter().any(|e| matches!(e.body, Body::RunFinished(_))))
    });
    stage.write_bytes(run, Channel::Control, last_mark.unwrap().payload).await; // marked already
}

pub(in crate::history) async fn report_first(stage: &Stage) -> RunId {
    stage.serve_nothing().await;
    let run = stage.run_of("report-first");
    stage.write(run, Channel::Report, &[succeeded("s0", 1, json!(1)), failed("s0", 1, FailureKind::Timeout)]).await;
    assert_eq!(stage.begin(&chain("report-first", 1), json!({ "value": 1 })).await, run);
    stage.serve_all();
    let _worker = stage.worker(4, PATIENCE).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

fn retry(steps: &[&str]) -> Entry {
    entry("", Body::RetryRequested { steps: steps.iter().map(|s| s.parse().unwrap()).collect() })
}

fn timer(timer: TimerId) -> Entry {
    entry("", Body::TimerFired { timer })
}

fn retry_timer(step: &str, attempt: u32) -> Entry {
    timer(TimerId::Retry(task(step, attempt)))
}

fn mark() -> Entry {
    let (status, output, error) = (Status::Completed, Some(json!("forged").into()), None);
    entry("", Body::RunFinished(Box::new(RunFinished { status, output, error, decided_seq: 1, continued_as: None })))
}
