//! `RunService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use kapelle_bus::registry::Kind;
use kapelle_engine::Body;
use kapelle_proto::v1::{self, run_service_server::RunService};
use kapelle_telemetry::clock;
use kapelle_types::{AgentName, Caller, Code, Diagnosis, RunId, StepRef, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Context;
use super::again::{Anew, again};
use super::bulk::bulk;
use super::execute::execute;
use super::query::query;
use super::signal::{Manner, signal};
use super::status::{caller, run_id, status, too_large, traceparent};
use super::steer::steer;
use super::update::update;
use super::{text, visible};
use crate::identity::spelled;
use crate::listing::{Query, list_all};
use crate::observed::observe;
use crate::pinned::{self, Wanted};
use crate::runs::{RunRow, history, rebuild, view};
use crate::submit::{Fork, Job};
use crate::why::why;

/// Requests of one batch stream that are worked on at once.
const BATCH_IN_FLIGHT_MAX: usize = 4_096;
/// Answers of one stream that may wait for the client.
const ANSWERS_WAITING_MAX: usize = 256;
/// How often a watched run is looked at without news.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// News within this time are shown as one change.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// How far back the observed graph goes where nobody says: a day.
const LINEAGE_SECONDS: u64 = 24 * 3_600;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct Runs {
    context: Arc<Context>,
}

impl Runs {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn steer<T>(
        &self,
        request: &Request<T>,
        run: &str,
        body: Body,
    ) -> Result<Response<v1::SteerResponse>, Status> {
        let caller = caller(request)?;
        let run = run_id(run).map_err(|e| status(&e))?;
        let seq = steer(&self.context, run, &caller, body).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::SteerResponse { seq }))
    }

    async fn again(&self, caller: &Caller, run: &str, anew: Anew) -> Result<Response<v1::SubmitResponse>, Diagnosis> {
        let old = rebuild(&self.context.bus, &self.context.plans, run_id(run)?).await?;
        let submitted = Box::pin(again(&self.context, caller, &old, anew)).await?;
        Ok(Response::new(submitted.into()))
    }
}

/// A request as a job.
fn job(request: v1::SubmitRequest, caller: &Caller, traceparent: Option<String>) -> Job {
    Job {
        workflow: request.workflow,
        version: request.version,
        input: request.input,
        key: request.idempotency_key,
        priority: request.priority,
        fairness: None,
        scheduled: false,
        labels: request.labels.into_iter().collect(),
        principal: caller.principal.clone(),
        // Of a token it is the word of whoever made it, which is enough to keep somebody from saying yes to themselves.
        person: caller.person.as_deref().or(Some(caller.principal.0.as_str())).map(spelled),
        // The gate lets nobody in who belongs to none.
        namespace: caller.namespace.clone().unwrap_or_default(),
        traceparent,
        heard_by_others: false,
        below: None,
    }
}

fn wait(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}

async fn execute_one(
    context: &Context,
    request: v1::ExecuteRequest,
    caller: &Caller,
    traceparent: Option<String>,
) -> Result<Arc<v1::RunView>, Diagnosis> {
    let missing = || Diagnosis::new(Code::REQUEST_INVALID, "`submit` is missing");
    let submit = request.submit.ok_or_else(missing)?;
    let ended = execute(context, job(submit, caller, traceparent), wait(request.wait_millis)).await?;
    Ok(visible::run(ended, &context.access, caller))
}

#[tonic::async_trait]
impl RunService for Runs {
    type SubmitBatchStream = Answers<v1::SubmitResult>;
    type ExecuteBatchStream = Answers<v1::ExecuteResult>;
    type WatchStream = Answers<v1::RunView>;
    type WatchTextStream = Answers<v1::TextPiece>;
    type BulkStream = Answers<v1::BulkAnswer>;

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let job = job(request.into_inner(), &caller, traceparent);
        let submitted = self.context.submitter.submit(job).await.map_err(|e| status(&e))?;
        Ok(Response::new(submitted.into()))
    }

    async fn submit_batch(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitBatchStream>, Status> {
        use v1::submit_result::Result as Outcome;
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let context = self.context.clone();
        let answer = move |request: v1::SubmitRequest| {
            let (context, caller, traceparent) = (context.clone(), caller.clone(), traceparent.clone());
            async move {
                let tag = request.tag;
                let result = match context.submitter.submit(job(request, &caller, traceparent)).await {
                    Ok(submitted) => Outcome::Submitted(submitted.into()),
                    Err(error) => Outcome::Error((&error).into()),
                };
                v1::SubmitResult { tag, result: Some(result) }
            }
        };
        Ok(Response::new(answers(request.into_inner(), answer)))
    }

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::RunView>, Status> {
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let run = execute_one(&self.context, request.into_inner(), &caller, traceparent).await;
        run.map(|view| Response::new(view.as_ref().clone())).map_err(|e| status(&e))
    }

    async fn execute_batch(
        &self,
        request: Request<Streaming<v1::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteBatchStream>, Status> {
        use v1::execute_result::Result as Outcome;
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let context = self.context.clone();
        let answer = move |request: v1::ExecuteRequest| {
            let (context, caller, traceparent) = (context.clone(), caller.clone(), traceparent.clone());
            async move {
                let tag = request.submit.as_ref().map_or(0, |s| s.tag);
                let result = match execute_one(&context, request, &caller, traceparent).await {
                    Ok(view) => Outcome::Run(Arc::unwrap_or_clone(view)),
                    Err(error) => Outcome::Error((&error).into()),
                };
                v1::ExecuteResult { tag, result: Some(result) }
            }
        };
        Ok(Response::new(answers(request.into_inner(), answer)))
    }

    async fn get(&self, request: Request<v1::GetRunRequest>) -> Result<Response<v1::RunView>, Status> {
        let caller = caller(&request)?;
        let run = run_id(&request.get_ref().run_id).map_err(|e| status(&e))?;
        let rebuilt = rebuild(&self.context.bus, &self.context.plans, run).await.map_err(|e| status(&e))?;
        let Context { bus, takers, catalog, access, .. } = &*self.context;
        let why = why(bus, takers, catalog, &rebuilt, access.sees(&caller, rebuilt.run.submitted_by())).await;
        let view = v1::RunView { why: Some(why), ..view(&rebuilt.run) };
        let shown = visible::run(Arc::new(view), access, &caller);
        Ok(Response::new(Arc::unwrap_or_clone(shown)))
    }

    async fn list(&self, request: Request<v1::ListRunsRequest>) -> Result<Response<v1::ListRunsResponse>, Status> {
        let Context { bus, id, served, plans, .. } = &*self.context;
        let peers = self.context.peers.borrow().clone();
        let query = Query::of(request.get_ref(), clock::now());
        let answer = list_all(bus, id, served, &peers, &query).await;
        let (mut runs, mut total) = (Vec::with_capacity(answer.rows.len()), answer.total);
        for row in answer.rows {
            // A listing after a take-over knows some runs by their id alone: their logs say the rest.
            match if row.workflow.is_none() { rebuild(bus, plans, row.run).await.ok() } else { None } {
                Some(rebuilt) if !query.finds(&rebuilt.run) => total = total.saturating_sub(1),
                Some(rebuilt) => runs.push(RunRow::of(&rebuilt.run).into()),
                None => runs.push(row.into()),
            }
        }
        Ok(Response::new(v1::ListRunsResponse { runs, total }))
    }

    async fn pinned(&self, request: Request<v1::PinnedRequest>) -> Result<Response<v1::PinnedResponse>, Status> {
        let v1::PinnedRequest { agent, version } = request.get_ref();
        let invalid = |e: kapelle_types::InvalidName| status(&Diagnosis::new(Code::REQUEST_INVALID, e.to_string()));
        let version = Some(version.as_str()).filter(|it| !it.is_empty()).map(str::parse).transpose();
        let agent: AgentName = agent.parse().map_err(invalid)?;
        let wanted = Wanted { kind: Kind::Agent, name: agent.to_string(), version: version.map_err(invalid)? };
        let Context { bus, id, served, .. } = &*self.context;
        let peers = self.context.peers.borrow().clone();
        let known = pinned::by_partition(bus, id, served, &peers, wanted).await;
        Ok(Response::new(pinned::together(bus, known)))
    }

    async fn lineage(&self, request: Request<v1::LineageRequest>) -> Result<Response<v1::LineageResponse>, Status> {
        let v1::LineageRequest { workflow, since_seconds } = request.get_ref();
        let invalid = |e: kapelle_types::InvalidName| status(&Diagnosis::new(Code::REQUEST_INVALID, e.to_string()));
        let name = Some(workflow.as_str()).filter(|it| !it.is_empty()).map(str::parse).transpose().map_err(invalid)?;
        let seconds = if *since_seconds == 0 { LINEAGE_SECONDS } else { *since_seconds };
        let back = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        let since = Timestamp::from_nanos(clock::now().nanos().saturating_sub(back).max(0));
        let snapshot = self.context.catalog.snapshot();
        let observed = observe(&self.context.bus, &snapshot, name.as_ref(), since).await;
        let unavailable = |e: kapelle_bus::Error| status(&Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string()));
        Ok(Response::new(observed.map_err(unavailable)?))
    }

    async fn watch(&self, request: Request<v1::WatchRunRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let run = run_id(&request.get_ref().run_id).map_err(|e| status(&e))?;
        let (sender, views) = mpsc::channel(ANSWERS_WAITING_MAX);
        let context = self.context.clone();
        rebuild(&context.bus, &context.plans, run).await.map_err(|e| status(&e))?;
        tokio::spawn(async move {
            if let Err(error) = show_changes(&context, run, &caller, &sender).await {
                let _ = sender.send(Err(status(&error))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(views))))
    }

    async fn watch_text(
        &self,
        request: Request<v1::WatchTextRequest>,
    ) -> Result<Response<Self::WatchTextStream>, Status> {
        let caller = caller(&request)?;
        let pieces = text::watch(Arc::clone(&self.context), caller, request.get_ref()).await.map_err(|e| status(&e))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }

    async fn history(&self, request: Request<v1::HistoryRequest>) -> Result<Response<v1::HistoryResponse>, Status> {
        let caller = caller(&request)?;
        let run = run_id(&request.get_ref().run_id).map_err(|e| status(&e))?;
        let rebuilt = rebuild(&self.context.bus, &self.context.plans, run).await.map_err(|e| status(&e))?;
        let mut again = rebuilt.run.before_its_log();
        let mut entries = history(&mut again, &rebuilt.records);
        visible::history(&mut entries, &self.context.access, &caller);
        Ok(Response::new(v1::HistoryResponse { entries }))
    }

    async fn cancel(&self, request: Request<v1::SteerRequest>) -> Result<Response<v1::SteerResponse>, Status> {
        let v1::SteerRequest { run_id, reason } = request.get_ref().clone();
        self.steer(&request, &run_id, Body::CancelRequested { reason }).await
    }

    async fn terminate(&self, request: Request<v1::SteerRequest>) -> Result<Response<v1::SteerResponse>, Status> {
        let v1::SteerRequest { run_id, reason } = request.get_ref().clone();
        self.steer(&request, &run_id, Body::TerminateRequested { reason }).await
    }

    async fn pause(&self, request: Request<v1::SteerRequest>) -> Result<Response<v1::SteerResponse>, Status> {
        let v1::SteerRequest { run_id, reason } = request.get_ref().clone();
        self.steer(&request, &run_id, Body::PauseRequested { reason }).await
    }

    async fn resume(&self, request: Request<v1::SteerRequest>) -> Result<Response<v1::SteerResponse>, Status> {
        let run_id = request.get_ref().run_id.clone();
        self.steer(&request, &run_id, Body::ResumeRequested).await
    }

    async fn signal(&self, request: Request<v1::SignalRequest>) -> Result<Response<v1::SignalResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let run = run_id(&request.run_id).map_err(|e| status(&e))?;
        let told = signal(&self.context, run, &caller, (Manner::Signal, request)).await;
        told.map(Response::new).map_err(|e| status(&e))
    }

    async fn update(&self, request: Request<v1::UpdateRequest>) -> Result<Response<v1::UpdateResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let run = run_id(&request.run_id).map_err(|e| status(&e))?;
        update(&self.context, run, &caller, request).await.map(Response::new).map_err(|e| status(&e))
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<v1::QueryResponse>, Status> {
        let caller = caller(&request)?;
        let v1::QueryRequest { run_id: id, name } = request.get_ref();
        let run = run_id(id).map_err(|e| status(&e))?;
        query(&self.context, run, &caller, name).await.map(Response::new).map_err(|e| status(&e))
    }

    async fn retry(&self, request: Request<v1::RetryRunRequest>) -> Result<Response<v1::SteerResponse>, Status> {
        let v1::RetryRunRequest { run_id, steps } = request.get_ref().clone();
        let steps: Result<Vec<StepRef>, _> = steps.iter().map(|s| s.parse()).collect();
        let invalid = |e: kapelle_types::InvalidName| status(&Diagnosis::new(Code::REQUEST_INVALID, e.to_string()));
        self.steer(&request, &run_id, Body::RetryRequested { steps: steps.map_err(invalid)? }).await
    }

    async fn restart(&self, request: Request<v1::RestartRunRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let v1::RestartRunRequest { run_id, latest, idempotency_key: key } = request.into_inner();
        let anew = Anew { fork: None, latest, key, traceparent, part_of: String::new() };
        self.again(&caller, &run_id, anew).await.map_err(|e| status(&e))
    }

    async fn fork(&self, request: Request<v1::ForkRunRequest>) -> Result<Response<v1::SubmitResponse>, Status> {
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let v1::ForkRunRequest { run_id, step, input, latest, idempotency_key: key } = request.into_inner();
        let invalid = |e: kapelle_types::InvalidName| status(&Diagnosis::new(Code::REQUEST_INVALID, e.to_string()));
        let fork = Fork { from: step.parse().map_err(invalid)?, input: (!input.is_empty()).then_some(input) };
        let anew = Anew { fork: Some(fork), latest, key, traceparent, part_of: String::new() };
        self.again(&caller, &run_id, anew).await.map_err(|e| status(&e))
    }

    async fn bulk(&self, request: Request<v1::BulkRequest>) -> Result<Response<Self::BulkStream>, Status> {
        let (caller, traceparent) = (caller(&request)?, traceparent(&request));
        let (sender, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        let context = Arc::clone(&self.context);
        bulk(context, caller, request.into_inner(), traceparent, sender).await.map_err(|e| status(&e))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Answers a stream of requests as the answers come, many at once.
fn answers<Q, A, F>(requests: Streaming<Q>, answer: impl Fn(Q) -> F + Send + 'static) -> Answers<A>
where
    Q: Send + 'static,
    A: Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let working = requests.map(move |request| {
        let working = request.map(&answer);
        async move {
            match working {
                Ok(working) => Ok(working.await),
                Err(broken) => Err(too_large(&broken).unwrap_or(broken)),
            }
        }
    });
    Box::pin(working.buffer_unordered(BATCH_IN_FLIGHT_MAX))
}

/// Sends a run's view now and after each change, until it ends or the client leaves.
async fn show_changes(
    context: &Context,
    run: RunId,
    caller: &Caller,
    sender: &mpsc::Sender<Result<v1::RunView, Status>>,
) -> Result<(), Diagnosis> {
    let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
    let mut news = std::pin::pin!(context.bus.news_of(run).await.map_err(unavailable)?);
    let mut shown = None;
    loop {
        let rebuilt = rebuild(&context.bus, &context.plans, run).await?;
        let now = view(&rebuilt.run);
        if shown.as_ref() != Some(&now) {
            let visible = visible::run(Arc::new(now.clone()), &context.access, caller);
            if sender.send(Ok(Arc::unwrap_or_clone(visible))).await.is_err() {
                return Ok(());
            }
            shown = Some(now);
        }
        if rebuilt.run.is_finished() {
            return Ok(());
        }
        tokio::select! {
            () = sender.closed() => return Ok(()),
            _ = tokio::time::timeout(WATCH_EVERY, news.next()) => {}
        }
        tokio::time::sleep(WATCH_PAUSE).await;
        while let Some(Some(())) = news.next().now_or_never() {}
    }
}
