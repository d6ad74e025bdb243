//! What agents do and what is reported of it.

use std::time::Duration;

use kapelle_engine::{Body, FailureKind};
use kapelle_sdk::{AgentError, Output, Usage};
use kapelle_telemetry::clock;
use kapelle_types::Code;
use kapelle_worker::{Access, AgentSpec, Config, Error, Limits, ProcessSpec, Protocol, RuntimeSpec, Sandbox};
use serde_json::json;

use crate::rig::{Does, Rig, echo, echoes, run_id, subject, task};

#[tokio::test]
async fn an_answer_is_reported_and_the_task_acknowledged() {
    let rig = Rig::start().await;
    let agent = Does(|task: kapelle_sdk::Task| async move {
        task.progress.report(1, 1, "done");
        let seen = json!({ "input": *task.input, "key": task.idempotency_key(), "attempt": task.attempt });
        let usage = Usage { cost_usd: 0.25, input_tokens: 3, output_tokens: 4, tool_calls: 5 };
        Ok(Output::new(seen).with_usage(usage))
    });
    let worker = rig.worker(4, agent).await;
    rig.submit(&task("answer", 7, json!({ "a": 1 }))).await;
    let Body::StepSucceeded(done) = rig.settled(run_id("answer"), 1).await.remove(0) else { panic!() };
    let key = format!("{}/s:7", run_id("answer"));
    assert_eq!(*done.output.value.unwrap(), json!({ "input": { "a": 1 }, "key": key, "attempt": 1 }));
    assert_eq!((done.usage.cost_usd, done.usage.input_tokens), (0.25, 3));
    assert_eq!((done.usage.output_tokens, done.usage.tool_calls), (4, 5));
    assert_eq!(done.work.worker, worker.id());
    assert_eq!(done.task, task("answer", 7, json!(0)).task);
}

#[tokio::test]
async fn every_failure_of_an_agent_has_its_name() {
    let rig = Rig::start().await;
    let agent = Does(|task: kapelle_sdk::Task| async move {
        match task.input.as_str() {
            Some("panic") => panic!("the bug"),
            Some("hang") => std::future::pending().await,
            _ => Err(AgentError::retryable("busy", "later").after(Duration::from_secs(2))),
        }
    });
    let _worker = rig.worker(4, agent).await;

    let busy = task("busy", 0, json!("busy"));
    rig.submit(&busy).await;
    let failure = rig.failed(&busy).await.failure;
    assert_eq!((failure.kind, failure.code.as_str(), failure.retryable), (FailureKind::Agent, "busy", true));
    assert_eq!(failure.retry_after, Some(Duration::from_secs(2)));

    let panics = task("panics", 0, json!("panic"));
    rig.submit(&panics).await;
    let failure = rig.failed(&panics).await.failure;
    assert_eq!((failure.code.as_str(), failure.retryable), (Code::AGENT_PANICKED.as_str(), true));
    assert!(failure.message.contains("the bug"));

    let mut hangs = task("hangs", 0, json!("hang"));
    hangs.timeout = Duration::from_millis(100);
    rig.submit(&hangs).await;
    let failed = rig.failed(&hangs).await;
    assert_eq!(
        (failed.failure.kind, failed.failure.code.as_str()),
        (FailureKind::Timeout, Code::AGENT_TIMEOUT.as_str())
    );
    assert!(failed.work.duration >= hangs.timeout);

    // The run's own deadline cuts the attempt's timeout.
    let mut late = task("late", 0, json!("hang"));
    late.deadline = Some(clock::now().plus(Duration::from_millis(300)));
    rig.submit(&late).await;
    assert_eq!(rig.failed(&late).await.failure.kind, FailureKind::Timeout);
}

#[tokio::test]
async fn what_cannot_be_a_task_is_refused_by_code() {
    let rig = Rig::start().await;
    let _worker = rig.worker(4, echoes()).await;

    let garbage = task("garbage", 0, json!(0));
    rig.submit_raw(&subject(&garbage), "not protobuf".into()).await;
    let failure = rig.failed(&garbage).await.failure;
    assert_eq!((failure.code.as_str(), failure.retryable), (Code::TASK_INVALID.as_str(), false));

    let other = task("other", 0, json!(0));
    rig.submit_raw(&subject(&other), garbage.encode()).await;
    assert_eq!(rig.failed(&other).await.failure.code, Code::TASK_INVALID.as_str());

    let mut over = task("over", 0, json!(0));
    over.deadline = Some(clock::now());
    rig.submit(&over).await;
    let failure = rig.failed(&over).await.failure;
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Timeout, Code::DEADLINE.as_str()));
}

#[tokio::test]
async fn a_process_agent_that_is_added_later_works() {
    let rig = Rig::start().await;
    let worker = rig.worker_with(Config { slots: 2, sandbox: Sandbox::Off, ..Config::new() }).await;
    let program = "import sys, json\nfor line in sys.stdin:\n    t = json.loads(line)\n    \
                   print(json.dumps({'id': t['id'], 'output': t['input'] + 1}), flush=True)";
    let command = ["python3", "-c", program];
    let spec = AgentSpec::new(echo(), RuntimeSpec::Process(process(command)));
    rig.submit(&task("added", 0, json!(41))).await;
    rig.queue(&echo()).await;
    assert!(worker.add_agent(spec.clone()).await.unwrap());
    assert!(!worker.add_agent(spec).await.unwrap(), "it is served already");
    let Body::StepSucceeded(done) = rig.settled(run_id("added"), 1).await.remove(0) else { panic!() };
    assert_eq!(*done.output.value.unwrap(), json!(42));
}

fn process(command: [&str; 3]) -> ProcessSpec {
    ProcessSpec {
        command: command.map(str::to_owned).to_vec(),
        dir: std::env::temp_dir(),
        protocol: Protocol::Jsonl,
        access: Access::default(),
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn an_agent_that_cannot_be_held_is_refused_and_its_runs_can_be_told_why() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    let worker = rig.worker_with(Config { slots: 2, ..Config::new() }).await;
    let spec = AgentSpec::new(echo(), RuntimeSpec::Process(process(["sh", "-c", "cat"])));
    let Err(Error::Refused(why)) = worker.add_agent(spec).await else { panic!("nobody decided about the sandbox") };
    assert_eq!(why.code, Code::AGENT_SANDBOX);
    assert!(worker.agents().is_empty(), "what is refused is not served");
    let spec = AgentSpec::new(echo(), RuntimeSpec::Refused(why));
    assert!(worker.add_agent(spec).await.unwrap());
    rig.submit(&task("refused", 0, json!(1))).await;
    let failure = rig.failed(&task("refused", 0, json!(1))).await.failure;
    assert_eq!((failure.code.as_str(), failure.retryable), (Code::AGENT_SANDBOX.as_str(), false));
}
