//! Samples of `api.proto`: submitting, watching and steering runs.

use kapelle_proto::v1::bulk_answer::Answer;
use kapelle_proto::v1::bulk_done::Outcome;
use kapelle_proto::v1::log_entry::Body;
use kapelle_proto::v1::{
    ApiError, BulkAnswer, BulkDone, BulkRequest, BulkSelected, BulkSummary, BulkVerb, ExecuteRequest, ExecuteResult,
    FlowView, ForkRunRequest, GetRunRequest, HistoryEntry, HistoryRequest, HistoryResponse, LineageEdge,
    LineageRequest, LineageResponse, LineageStep, ListRunsRequest, ListRunsResponse, PauseRequested, PinnedCount,
    PinnedRequest, PinnedResponse, QueryRequest, QueryResponse, RestartRunRequest, RetryRunRequest, RunStatus,
    RunSummary, RunView, SignalRequest, SignalResponse, SteerRequest, SteerResponse, StepView, SubmitRequest,
    SubmitResponse, SubmitResult, UpdateRequest, UpdateResponse, WatchRunRequest, Why, execute_result, submit_result,
};

use super::log::{entry, failure};
use super::{RUN, at};
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    let ended = |result| ExecuteResult { tag: 7, result: Some(result) };
    let taken = |result| SubmitResult { tag: 7, result: Some(result) };
    let mut samples = vec![
        Sample::new(submit()),
        Sample::named("priority", SubmitRequest { priority: 1, ..submit() }),
        Sample::new(submitted()),
        Sample::named("warnings", SubmitResponse { warnings: vec!["its time is over soon".into()], ..submitted() }),
        Sample::named("submitted", taken(submit_result::Result::Submitted(submitted()))),
        Sample::named("error", taken(submit_result::Result::Error(error()))),
        Sample::new(error()),
        Sample::new(ExecuteRequest { submit: Some(submit()), wait_millis: 30_000 }),
        Sample::named("run", ended(execute_result::Result::Run(run()))),
        Sample::named("error", ended(execute_result::Result::Error(error()))),
        Sample::new(GetRunRequest { run_id: RUN.into() }),
        Sample::new(WatchRunRequest { run_id: RUN.into() }),
        Sample::new(HistoryRequest { run_id: RUN.into() }),
        Sample::new(ListRunsRequest {
            workflow: "software-intake".into(),
            statuses: vec![RunStatus::Stalled.into(), RunStatus::Failed.into()],
            limit: 50,
            ..ListRunsRequest::default()
        }),
        Sample::named("labels", filter()),
        Sample::new(ListRunsResponse { runs: vec![summary()], total: 51 }),
        Sample::new(summary()),
        Sample::new(PinnedRequest { agent: "licence-review".into(), version: "1.2.0".into() }),
        Sample::new(PinnedResponse {
            workflows: vec![pinned()],
            run_ids: vec![RUN.into()],
            unknown: 3,
            complete: true,
        }),
        Sample::new(pinned()),
        Sample::new(LineageRequest { workflow: "software-intake".into(), since_seconds: 3_600 }),
        Sample::new(lineage_step()),
        Sample::new(lineage_edge()),
        Sample::new(LineageResponse {
            steps: vec![lineage_step()],
            edges: vec![lineage_edge()],
            from_unix_nanos: at(0),
            complete: true,
            runs: 12,
            entries: 60,
        }),
        Sample::new(run()),
        Sample::named("submitted_by", run_with_its_submitter()),
        Sample::named("closing", closing_run()),
        Sample::new(step()),
        Sample::named("awaits", step_that_awaits()),
        Sample::named("repeated", StepView { round: Some(3), ..step() }),
        Sample::named("handed_on", StepView { round: Some(2), chain: super::task::chain(), ..step() }),
        Sample::named("began", step_that_began()),
        Sample::new(HistoryResponse { entries: vec![history()] }),
        Sample::new(history()),
        Sample::new(SteerRequest { run_id: RUN.into(), reason: "ordered twice".into() }),
        Sample::new(RetryRunRequest { run_id: RUN.into(), steps: vec!["score".into(), "review:17".into()] }),
        Sample::new(SteerResponse { seq: 4_711 }),
    ];
    samples.extend(of_what_is_told());
    samples.extend(of_many());
    samples
}

/// What runs are told and asked.
fn of_what_is_told() -> Vec<Sample> {
    vec![
        Sample::new(SignalRequest {
            run_id: RUN.into(),
            name: "customer-answer".into(),
            payload: r#"{"agreed":true}"#.into(),
            id: "answer-7".into(),
        }),
        Sample::new(SignalResponse { seq: 4_711, duplicate: true }),
        Sample::new(UpdateRequest {
            run_id: RUN.into(),
            name: "change-address".into(),
            payload: r#"{"to":"Ada"}"#.into(),
            id: "u1".into(),
            wait_millis: 10_000,
        }),
        Sample::new(UpdateResponse { value: "140".into(), seq: 4_711, answered_seq: 4_713, duplicate: true }),
        Sample::new(QueryRequest { run_id: RUN.into(), name: "total".into() }),
        Sample::new(QueryResponse { value: "140".into(), seq: 4_711 }),
    ]
}

/// Operations on many runs.
fn of_many() -> Vec<Sample> {
    vec![
        Sample::new(BulkRequest {
            verb: BulkVerb::Retry.into(),
            filter: Some(filter()),
            all: true,
            dry_run: true,
            id: "op-1".into(),
            reason: "the provider is back".into(),
            latest: true,
            ..BulkRequest::default()
        }),
        Sample::named(
            "of-signals",
            BulkRequest {
                verb: BulkVerb::Signal.into(),
                name: "approved".into(),
                payload: r#"{"by":"ada"}"#.into(),
                step: "score".into(),
                ..BulkRequest::default()
            },
        ),
        Sample::named("selected", bulk(Answer::Selected(selected()))),
        Sample::named("done", bulk(Answer::Done(refused()))),
        Sample::named("summary", bulk(Answer::Summary(totals()))),
        Sample::new(selected()),
        Sample::new(refused()),
        Sample::named(
            "answered",
            BulkDone { value: "140".into(), outcome: Outcome::Done.into(), ..BulkDone::default() },
        ),
        Sample::new(totals()),
    ]
}

/// Samples of running again, and of many at once.
pub(super) fn verbs() -> Vec<Sample> {
    vec![
        Sample::named("priority", RunView { priority: 1, ..run() }),
        Sample::named("flow", StepView { flow: Some(flow()), ..step() }),
        Sample::new(flow()),
        Sample::named("continued", RunView { continued_from: RUN.into(), continued_as: RUN.into(), ..run() }),
        Sample::named("forked", RunView { forked_from: RUN.into(), why: Some(why()), ..run() }),
        Sample::new(why()),
        Sample::new(RestartRunRequest { run_id: RUN.into(), latest: true, idempotency_key: Some("again".into()) }),
        Sample::new(ForkRunRequest {
            run_id: RUN.into(),
            step: "score".into(),
            input: r#"{"lockfile":"Cargo.lock"}"#.into(),
            latest: true,
            idempotency_key: Some("again".into()),
        }),
    ]
}

fn filter() -> ListRunsRequest {
    ListRunsRequest {
        statuses: vec![RunStatus::Stalled.into()],
        labels: [("domain".into(), "intake".into())].into(),
        older_than_seconds: 3_600,
        ..ListRunsRequest::default()
    }
}

fn why() -> Why {
    Why {
        because: "it waits for a worker of licence-review@1.2.0: none is connected".into(),
        since_unix_nanos: at(3),
        advice: "start one".into(),
    }
}

fn bulk(answer: Answer) -> BulkAnswer {
    BulkAnswer { answer: Some(answer) }
}

fn selected() -> BulkSelected {
    BulkSelected { id: "op-1".into(), runs: vec![summary()], total: 300 }
}

fn refused() -> BulkDone {
    BulkDone {
        run_id: RUN.into(),
        outcome: Outcome::Failed.into(),
        error: Some(error()),
        new_run_id: RUN.into(),
        ..BulkDone::default()
    }
}

fn totals() -> BulkSummary {
    BulkSummary { done: 290, already: 7, passed_over: 2, failed: 1 }
}

fn pinned() -> PinnedCount {
    PinnedCount { workflow: "software-intake@1.0.0".into(), runs: 12 }
}

fn lineage_step() -> LineageStep {
    LineageStep {
        workflow: "software-intake@1.0.0".into(),
        step: "score".into(),
        agent: "risk-score@1.0.0".into(),
        runs: 12,
        attempts_succeeded: 10,
        attempts_failed: 3,
        runs_skipped: 1,
        first_unix_nanos: at(1),
        last_unix_nanos: at(2),
    }
}

fn lineage_edge() -> LineageEdge {
    LineageEdge {
        workflow: "software-intake@1.0.0".into(),
        from: "review".into(),
        to: "score".into(),
        agent: "licence-review@1.2.0".into(),
        schema_digest: "02".repeat(32),
        runs: 10,
    }
}

fn submit() -> SubmitRequest {
    SubmitRequest {
        workflow: "software-intake".into(),
        version: "^1".into(),
        input: r#"{"lockfile":"Cargo.lock"}"#.into(),
        idempotency_key: Some("intake-2026-11-22".into()),
        labels: [("domain".into(), "intake".into())].into(),
        tag: 7,
        priority: 0,
    }
}

fn submitted() -> SubmitResponse {
    SubmitResponse { run_id: RUN.into(), existed: true, warnings: vec![] }
}

pub(super) fn error() -> ApiError {
    ApiError {
        code: "K0201".into(),
        message: "No workflow `software-intke` is registered.".into(),
        hint: "Did you mean `software-intake`?".into(),
    }
}

fn run() -> RunView {
    RunView {
        run_id: RUN.into(),
        workflow: "software-intake@1.0.0".into(),
        status: RunStatus::Stalled.into(),
        output: r#"{"sbom":"sbom.json"}"#.into(),
        error: Some(failure()),
        steps: vec![step()],
        submitted_at_unix_nanos: at(0),
        finished_at_unix_nanos: at(90),
        idempotency_key: Some("intake-2026-11-22".into()),
        labels: [("domain".into(), "intake".into())].into(),
        ..RunView::default()
    }
}

fn closing_run() -> RunView {
    RunView { closing: RunStatus::Canceled as i32, ..run() }
}

fn run_with_its_submitter() -> RunView {
    RunView { submitted_by: "token:ci".into(), ..run() }
}

fn summary() -> RunSummary {
    RunSummary {
        run_id: RUN.into(),
        workflow: "software-intake@1.0.0".into(),
        status: RunStatus::Running.into(),
        submitted_at_unix_nanos: at(0),
        last_progress_unix_nanos: at(5),
    }
}

fn step() -> StepView {
    StepView {
        step: "review".into(),
        status: "RUNNING".into(),
        agent: "licence-review@1.2.0".into(),
        attempts: 312,
        members_total: 400,
        members_done: 300,
        members_running: 64,
        failure: Some(failure()),
        ..StepView::default()
    }
}

fn step_that_awaits() -> StepView {
    StepView {
        step: "answer".into(),
        status: "AWAITING".into(),
        attempts: 1,
        kind: "signal".into(),
        signal: "customer-answer".into(),
        due_unix_millis: Some(1_763_800_000_000),
        ..StepView::default()
    }
}

fn step_that_began() -> StepView {
    StepView {
        step: "deliver".into(),
        status: "RUNNING".into(),
        attempts: 1,
        kind: "workflow".into(),
        run_id: RUN.into(),
        ..StepView::default()
    }
}

fn history() -> HistoryEntry {
    HistoryEntry {
        seq: 4_711,
        at_unix_nanos: at(5),
        channel: "control".into(),
        entry: Some(entry("e-1", Body::PauseRequested(PauseRequested { reason: "the provider is down".into() }))),
        ignored: "the run has ended".into(),
    }
}

fn flow() -> FlowView {
    FlowView { priority: 2, fairness_key: Some("acme".into()), fairness_weight: 5, limit_key: Some("acme".into()) }
}
