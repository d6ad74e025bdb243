//! The one match that turns commands into messages, pipelined, and sees them through until they are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kapelle_bus::{Acknowledgement, Bus, Refusal};
use kapelle_engine::{
    ApprovalChecked, Body, Channel, CheckApproval, Command, DeadLetter, EmitEvent, Entry, FinishRun, StepSucceeded,
    TaskToken, Usage, Work,
};
use kapelle_proto::subject::{DeadSubject, TaskSubject, TimerSubject};
use kapelle_proto::{DeadLetterRecord, Task, encode_record};
use kapelle_retry::{Delays, Policy};
use kapelle_types::{Flow, Payload, Principal, RunId, Timestamp, WorkflowVersion, limits};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::children::{Family, Kin, Wish};
use super::effect::{Order, Token};
use super::event::{self, Told};
use crate::access::{Access, run_named};
use crate::approvals;
use crate::turns::Takers;

/// Performs orders on the bus and reports their tokens when they are acknowledged.
#[derive(Clone)]
pub struct Performer {
    bus: Bus,
    takers: Arc<Takers>,
    principal: Principal,
    access: Arc<Access>,
    family: Family,
    done: mpsc::Sender<Vec<Token>>,
    latency: metrics::Histogram,
}

/// A message that is ready to be sent, and sent again until it is acknowledged.
#[derive(Debug, Clone)]
enum Message {
    Task(TaskSubject, Bytes),
    /// An attempt that may have to wait for its turn.
    Turn(Box<Dispatch>),
    Withdraw(TaskSubject, Option<TaskToken>),
    Timer(TimerSubject, Timestamp, Bytes),
    CancelTimer(TimerSubject),
    DeadLetter(DeadSubject, Bytes),
    RemoveDeadLetter(DeadSubject),
    /// An event, and the report that it was told.
    Event(Box<Telling>),
    Control(RunId, Bytes),
    /// The check of what people agreed to: what it finds is found when it is sent.
    Check(RunId, Option<String>, CheckApproval),
    /// A run that another one wants, wants no more, or waits for.
    Kin(Box<Kin>),
}

/// An attempt, ready to be queued or to wait for its turn.
#[derive(Debug, Clone)]
struct Dispatch {
    task: TaskSubject,
    flow: Option<Flow>,
    message: Bytes,
    /// Whether it may have been dispatched before.
    again: bool,
}

/// An event of a run, ready to be told.
#[derive(Debug, Clone)]
struct Telling {
    run: RunId,
    told: Told,
    report: Bytes,
}

/// What became of sending a message.
enum Sent {
    /// The acknowledgement is on its way.
    Pending(Acknowledgement),
    Done,
}

impl Performer {
    /// A performer that reports to `done`.
    #[must_use]
    pub(super) fn new(
        (bus, takers): (Bus, Arc<Takers>),
        access: Arc<Access>,
        family: Family,
        coordinator: &str,
        done: mpsc::Sender<Vec<Token>>,
    ) -> Self {
        let principal = Principal(format!("coordinator:{coordinator}"));
        Self {
            bus,
            takers,
            principal,
            access,
            family,
            done,
            latency: kapelle_telemetry::metrics::PUBLISH.histogram(&[]),
        }
    }

    /// Sends all orders without waiting for one before the next. Their acknowledgements are awaited in the background;
    /// what fails is sent again until it succeeds, since every command is harmless to repeat.
    pub async fn perform(&self, orders: Vec<Order>) {
        if orders.is_empty() {
            return;
        }
        let started = Instant::now();
        let mut pending = Vec::with_capacity(orders.len());
        for order in orders {
            let token = order.token;
            let message = self.message(order).await;
            let quick = match &message {
                Message::Task(..) | Message::Control(..) | Message::DeadLetter(..) => true,
                Message::Turn(turn) => !turn.again && self.takers.contains(&turn.task.agent),
                _ => false,
            };
            let sent = if quick { self.send(&message).await } else { Err(None) };
            pending.push((token, message, sent));
        }
        let this = self.clone();
        tokio::spawn(async move { this.settle(pending, started).await });
    }

    /// Awaits acknowledgements in the order of sending, reporting those that came; stragglers go on alone.
    async fn settle(self, pending: Vec<(Token, Message, Result<Sent, Option<kapelle_bus::Error>>)>, started: Instant) {
        let mut tokens = Vec::with_capacity(pending.len());
        for (token, message, sent) in pending {
            let result = match sent {
                Ok(sent) => acknowledged(&message, sent).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => tokens.push(token),
                Err(error) => {
                    let this = self.clone();
                    tokio::spawn(async move { this.insist(token, message, error).await });
                }
            }
        }
        self.latency.record(started.elapsed().as_secs_f64());
        if !tokens.is_empty() {
            let _ = self.done.send(tokens).await;
        }
    }

    /// Sends a message again and again until it is acknowledged or the partition was let go.
    async fn insist(&self, token: Token, message: Message, mut error: Option<kapelle_bus::Error>) {
        let policy = Policy { initial: Duration::from_millis(50), max: Duration::from_secs(2), ..Policy::default() };
        let mut delays = Delays::new(&policy);
        let mut said = false;
        while !self.done.is_closed() {
            if let Some(error) = error.take() {
                // Once a command: thousands may wait for the same broker.
                if std::mem::replace(&mut said, true) {
                    tracing::debug!(%error, ?token, "still not acknowledged");
                } else {
                    tracing::warn!(%error, ?token, "a command was not acknowledged; sending it until it is");
                }
                sleep(delays.next()).await;
            }
            let result = match self.send(&message).await {
                Ok(sent) => acknowledged(&message, sent).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {
                    let _ = self.done.send(vec![token]).await;
                    return;
                }
                Err(failed) => error = failed.or_else(|| Some(kapelle_bus::Error::Unavailable("not sent".into()))),
            }
        }
    }

    /// The one place where a command becomes a message.
    async fn message(&self, order: Order) -> Message {
        let Order { run: run_id, command, traceparent, .. } = order;
        let partition = self.bus.partitions().of(&run_id);
        match command {
            Command::DispatchTask(dispatch) => {
                let flow = dispatch.flow;
                let task = Task {
                    run_id,
                    task: dispatch.task,
                    agent: dispatch.agent,
                    workflow: order.workflow,
                    input: dispatch.input,
                    timeout: dispatch.timeout,
                    round: dispatch.round,
                    chain: dispatch.chain,
                    deadline: dispatch.deadline,
                    traceparent,
                    principal: order.principal,
                    queued_at: order.at,
                    limits: dispatch.limits,
                    token: dispatch.token,
                };
                self.task(task, flow, order.again).await
            }
            Command::EmitEvent(mut event) => {
                if event.data.stored.is_none() && is_large(&event.data) {
                    self.store(&mut event.data).await;
                }
                let told = event::of_run(run_id, &order.workflow, order.at, &event);
                let report = self.done(traceparent, *event);
                Message::Event(Box::new(Telling { run: run_id, told, report }))
            }
            Command::StartRun(start) => self.kin(order.principal, traceparent, Wish::Start(*start)),
            Command::StopRun(stop) => self.kin(order.principal, traceparent, Wish::Stop(*stop)),
            Command::ReportOutcome(mut report) => {
                report.outcome = self.finish(report.outcome).await;
                self.kin(order.principal, traceparent, Wish::Report(run_id, order.workflow, *report))
            }
            Command::WithdrawTask { task, agent } => {
                Message::Withdraw(TaskSubject { agent, run_id, task }, order.proof)
            }
            Command::StartTimer { timer, due } => {
                let record = self.record(traceparent, Body::TimerFired { timer: timer.clone() });
                Message::Timer(TimerSubject { partition, run_id, timer }, due, record)
            }
            Command::CancelTimer { timer } => Message::CancelTimer(TimerSubject { partition, run_id, timer }),
            Command::CheckApproval(check) => Message::Check(run_id, traceparent, *check),
            Command::WriteDeadLetter(letter) => self.dead_letter(run_id, order.workflow, *letter).await,
            Command::RemoveDeadLetter { step, agent } => Message::RemoveDeadLetter(DeadSubject { agent, run_id, step }),
            Command::FinishRun(finish) => {
                let finish = self.finish(*finish).await;
                Message::Control(run_id, self.record(traceparent, Body::RunFinished(Box::new(finish))))
            }
        }
    }

    fn kin(&self, principal: Principal, traceparent: Option<String>, wish: Wish) -> Message {
        Message::Kin(Box::new(Kin { coordinator: self.principal.clone(), principal, traceparent, wish }))
    }

    fn record(&self, traceparent: Option<String>, body: Body) -> Bytes {
        encode_record(&[Entry { id: String::new(), principal: self.principal.clone(), traceparent, body }])
    }

    /// The report that an event was told.
    fn done(&self, traceparent: Option<String>, event: EmitEvent) -> Bytes {
        let work = Work { worker: self.principal.0.clone(), ..Work::default() };
        let (task, token, output) = (event.task, event.token, Payload::null());
        self.record(
            traceparent,
            Body::StepSucceeded(StepSucceeded { task, output, work, usage: Usage::default(), token }),
        )
    }

    /// Whether those who agreed still may: what let them is what is served now. While that is not known nothing is said.
    async fn checked(&self, run: RunId, check: &CheckApproval) -> Result<ApprovalChecked, kapelle_bus::Error> {
        let policies = self.access.policies().map_err(|e| kapelle_bus::Error::Unavailable(e.message))?;
        let other = check.deciders.iter().find(|decider| decider.policies != policies);
        let mut void = other.map(|it| format!("the policies have changed since {} agreed", it.person));
        if void.is_none() {
            void = approvals::withdrawn(&self.bus, &check.deciders).await?;
        }
        let CheckApproval { step, digest, agreed, .. } = check.clone();
        if let Some(why) = &void {
            self.access.voided(run_named(run, &step), why.clone());
        }
        Ok(ApprovalChecked { step, digest, agreed, void, policies })
    }

    async fn task(&self, mut task: Task, flow: Option<Box<Flow>>, again: bool) -> Message {
        let mut bytes = task.encode();
        if task.input.stored.is_none() && bytes.len() > limits::PAYLOAD_INLINE_BYTES_MAX {
            self.store(&mut task.input).await;
            bytes = task.encode();
        }
        let subject = TaskSubject { agent: task.agent, run_id: task.run_id, task: task.task };
        if flow.is_none() && !self.takers.contains(&subject.agent) {
            return Message::Task(subject, bytes);
        }
        Message::Turn(Box::new(Dispatch { task: subject, flow: flow.map(|flow| *flow), message: bytes, again }))
    }

    async fn dead_letter(&self, run_id: RunId, workflow: WorkflowVersion, mut letter: DeadLetter) -> Message {
        let subject = DeadSubject { agent: letter.agent.clone(), run_id, step: letter.task.step.clone() };
        if is_large(&letter.input) {
            self.store(&mut letter.input).await;
        }
        Message::DeadLetter(subject, DeadLetterRecord { run_id, workflow, letter }.encode())
    }

    async fn finish(&self, mut finish: FinishRun) -> FinishRun {
        if let Some(output) = &mut finish.output
            && is_large(output)
        {
            self.store(output).await;
        }
        finish
    }

    /// Stores a payload, however long the broker takes. A value that no store takes is left as it is: the broker's own
    /// limit on messages names it then.
    async fn store(&self, payload: &mut Payload) {
        let Some(value) = &payload.value else { return };
        let Ok(bytes) = serde_json::to_vec(value) else { return };
        let payloads = self.bus.payloads();
        let policy = Policy { initial: Duration::from_millis(50), max: Duration::from_secs(2), ..Policy::default() };
        let mut delays = Delays::new(&policy);
        while !self.done.is_closed() {
            match payloads.put(&bytes).await {
                Ok(stored) => {
                    *payload = Payload { value: Some(Arc::clone(value)), stored: Some(stored) };
                    return;
                }
                Err(error @ kapelle_bus::payloads::Error::Unavailable(_)) => {
                    tracing::warn!(%error, "a payload is not stored yet");
                    sleep(delays.next()).await;
                }
                Err(error) => return tracing::error!(%error, "a payload cannot be stored"),
            }
        }
    }

    async fn send(&self, message: &Message) -> Result<Sent, Option<kapelle_bus::Error>> {
        let bus = &self.bus;
        let sent = match message {
            Message::Task(subject, bytes) => Sent::Pending(bus.queue_task(subject, bytes.clone()).await?),
            Message::Control(run, bytes) => Sent::Pending(bus.append(*run, Channel::Control, bytes.clone()).await?),
            Message::DeadLetter(subject, bytes) => Sent::Pending(bus.keep_dead_letter(subject, bytes.clone()).await?),
            Message::Timer(subject, due, bytes) => Sent::Pending(bus.start_timer(subject, *due, bytes.clone()).await?),
            Message::Event(telling) => {
                let Told { kind, headers, body } = &telling.told;
                bus.publish_event(kind, headers.clone(), body.clone()).await?.await?;
                Sent::Pending(bus.append(telling.run, Channel::Report, telling.report.clone()).await?)
            }
            Message::Check(run, traceparent, check) => {
                let checked = self.checked(*run, check).await?;
                let record = self.record(traceparent.clone(), Body::ApprovalChecked(checked));
                Sent::Pending(bus.append(*run, Channel::Control, record).await?)
            }
            Message::Kin(kin) => {
                self.family.see_to(kin).await?;
                Sent::Done
            }
            Message::Turn(turn) => {
                let Dispatch { task, flow, message, again } = &**turn;
                let sent = self.takers.dispatch(task, flow.as_ref(), message.clone(), *again).await?;
                sent.map_or(Sent::Done, Sent::Pending)
            }
            Message::Withdraw(subject, proof) => {
                self.takers.withdraw(subject, proof.as_ref()).await?;
                Sent::Done
            }
            Message::CancelTimer(subject) => {
                bus.cancel_timer(subject).await?;
                Sent::Done
            }
            Message::RemoveDeadLetter(subject) => {
                bus.remove_dead_letter(subject).await?;
                Sent::Done
            }
        };
        Ok(sent)
    }
}

/// Whether a payload that travels inline has to be stored instead.
fn is_large(payload: &Payload) -> bool {
    let size = |value| serde_json::to_vec(value).map_or(0, |bytes| bytes.len());
    let value = payload.value.as_deref().filter(|_| payload.stored.is_none());
    value.is_some_and(|value| size(value) > limits::PAYLOAD_INLINE_BYTES_MAX)
}

/// Waits for the acknowledgement. A task that is queued or running already is what was wanted.
async fn acknowledged(message: &Message, sent: Sent) -> Result<(), Option<kapelle_bus::Error>> {
    let Sent::Pending(ack) = sent else { return Ok(()) };
    match ack.await {
        Ok(_) => Ok(()),
        Err(e)
            if matches!(message, Message::Task(..) | Message::Turn(..))
                && e.refusal() == Some(Refusal::AlreadyThere) =>
        {
            Ok(())
        }
        Err(error) => Err(Some(error)),
    }
}
