//! Attempts that fail, and when there is another.

use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::{Value, json};

use crate::history::manifests::{PLAYER, chain, workflow};
use crate::history::stage::Stage;

/// One step with a retry policy of its own.
fn with_retry(name: &str, retry: &Value) -> Value {
    let step = json!({ "id": "s0", "agent": PLAYER, "with": "${input}", "retry": retry });
    workflow(name, &json!([step]), "${steps.s0.output}")
}

pub(in crate::history) async fn retry(stage: &Stage) -> RunId {
    let input = json!({ "fail_attempts": 2, "after_ms": 120 });
    let (run, _worker) = stage.play(&chain("retry", 2), input).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn not_retryable(stage: &Stage) -> RunId {
    let policy = json!({ "max_attempts": 9, "initial": "50ms", "max": "100ms", "non_retryable": ["broken_input"] });
    let input = json!({ "fail_attempts": 1, "code": "broken_input" });
    let (run, _worker) = stage.play(&with_retry("not-retryable", &policy), input).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["s0"]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn total(stage: &Stage) -> RunId {
    let policy = json!({ "max_attempts": 50, "initial": "100ms", "multiplier": 3, "max": "10s", "total": "1s" });
    let (run, _worker) = stage.play(&with_retry("retry-total", &policy), json!({ "fail_attempts": 4 })).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &[]).await;
    stage.until_is(run, |view| view.status() != RunStatus::Stalled).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn attempt_timeout(stage: &Stage) -> RunId {
    let step = json!({ "id": "s0", "agent": PLAYER, "with": "${input}", "timeout": "300ms" });
    let timed = workflow("attempt-timeout", &json!([step]), "${steps.s0.output}");
    let (run, _worker) = stage.play(&timed, json!({ "hang_attempts": 1 })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}
