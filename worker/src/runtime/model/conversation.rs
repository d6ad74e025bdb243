//! One attempt: the model is asked, its tools are called, its answer checked, until there is an output or a reason why not.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Method;
use kapelle_engine::{Failure, Usage};
use kapelle_prompt::Prompt;
use kapelle_telemetry::metrics::{MODEL_REQUESTS, MODEL_TOKENS};
use kapelle_types::limits::MODEL_SILENCE_MAX;
use kapelle_types::{Code, Usd};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant, sleep_until};

use super::Runtime;
use super::chat::{self, Answer, Tokens};
use super::refusal::{Words, given_up, refused, unanswered};
use super::stream::{Broken, Stream};
use super::web::{Answered, Asked, Failed};
use super::words::Teller;
use crate::failure;
use crate::runtime::Attempt;

/// What comes behind an endpoint.
const PATH: &str = "/chat/completions";
/// Bytes of a refusal that are read: its beginning says why.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How often the log is told how far an answer is that comes as it is written.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What was said so far, and what it took.
pub(super) struct Conversation<'a> {
    runtime: &'a Runtime,
    attempt: Attempt<'a>,
    messages: Vec<Value>,
    used: Usage,
    repairs: u32,
    words: Teller<'a>,
}

/// What comes of a turn.
enum Turn {
    Output(Value),
    Next,
}

impl<'a> Conversation<'a> {
    /// # Errors
    /// The input does not have what a prompt names.
    pub(super) fn of(runtime: &'a Runtime, attempt: Attempt<'a>, input: &Value) -> Result<Self, Failure> {
        let rendered = |name: &str, prompt: &Prompt| {
            prompt.render(input).map_err(|error| {
                let place = error.line.map(|line| format!(" in its line {line}")).unwrap_or_default();
                failure::permanent(
                    Code::PROMPT_INVALID,
                    format!("`{name}` yields no prompt for this input: {error}{place}"),
                )
            })
        };
        let mut messages = Vec::new();
        if let Some(system) = &runtime.model.system {
            messages.push(chat::said("system", &rendered("system", system)?));
        }
        messages.push(chat::said("user", &rendered("prompt", &runtime.model.prompt)?));
        let words = Teller::new(&runtime.bus, &runtime.secrets, &runtime.version, attempt);
        Ok(Self { runtime, attempt, messages, used: Usage::default(), repairs: 0, words })
    }

    pub(super) async fn run(mut self) -> Result<Value, Failure> {
        for _ in 0..self.runtime.model.max_turns {
            self.may_go_on()?;
            let answer = self.ask().await?;
            self.pay(answer.tokens)?;
            match self.take(answer).await? {
                Turn::Output(output) => return Ok(output),
                Turn::Next => {}
            }
        }
        let message = format!("the model came to no end within its {} turns", self.runtime.model.max_turns);
        Err(failure::permanent(Code::MODEL_TURNS, message))
    }

    /// Whether there is anything left for another turn.
    fn may_go_on(&self) -> Result<(), Failure> {
        if self.tokens_left() == Some(0) {
            let message = "all tokens that one task may use are used, and the model has not come to an end";
            return Err(failure::permanent(Code::TOKENS_LIMIT, message));
        }
        let cost = Usd::reported(self.used.cost_usd).unwrap_or_default();
        if let Some(max) = self.runtime.cost_max.filter(|max| cost >= *max) {
            let message = format!(
                "the task has cost {cost}, all tasks of one run may cost {max}, and the model has not come to an end"
            );
            return Err(failure::permanent(Code::COST_PER_RUN, message));
        }
        Ok(())
    }

    fn tokens_left(&self) -> Option<u64> {
        let used = self.used.input_tokens + self.used.output_tokens;
        self.attempt.task.limits.tokens.map(|max| max.saturating_sub(used))
    }

    /// Asks the model once; twice where its server knows the limit of tokens by its newer name alone.
    async fn ask(&mut self) -> Result<Answer, Failure> {
        loop {
            if let Some(turns) = &self.runtime.turns {
                turns.start(self.attempt.ends_at).await?;
            }
            let newer = self.runtime.newer_limit.load(Ordering::Relaxed);
            let asked = self.send(newer).await;
            let outcome = match &asked {
                Ok(Ok(_)) => "ok",
                Ok(Err(_)) => "repeated",
                Err(failure) if failure.code == Code::HOST_DENIED.as_str() => "denied",
                Err(failure) if failure.retryable => "unavailable",
                Err(_) => "refused",
            };
            MODEL_REQUESTS.counter(&self.labels(&self.runtime.version.version.to_string(), outcome)).increment(1);
            match asked? {
                Ok(answer) => return Ok(answer),
                Err(WantsNewerLimit) => self.runtime.newer_limit.store(true, Ordering::Relaxed),
            }
        }
    }

    async fn send(&mut self, newer: bool) -> Result<Result<Answer, WantsNewerLimit>, Failure> {
        let model = &self.runtime.model;
        let accept = if model.stream { "text/event-stream" } else { "application/json" };
        let mut headers = vec![("accept", accept.to_owned())];
        let key = model.api_key.as_ref().and_then(|key| self.runtime.secrets.value(&key.secret));
        headers.extend(key.map(|key| ("authorization", format!("Bearer {key}"))));
        let body = Some(self.request(newer).to_string().into_bytes());
        let asked = Asked { method: Method::POST, url: &model.endpoint, behind: PATH.to_owned(), headers, body };
        let mut answered = self.runtime.web.send(asked).await.map_err(|failed| self.unanswered(failed))?;
        if !answered.status.is_success() {
            // A refusal that breaks off is one all the same.
            let (body, _) = answered.head(REFUSAL_BYTES_MAX).await.unwrap_or_default();
            let words = Words::read(&body, &self.runtime.secrets);
            if !newer && words.wants_newer_limit() {
                return Ok(Err(WantsNewerLimit));
            }
            return Err(refused(answered.status, &answered.headers, &words));
        }
        self.words.begin();
        let is_stream =
            answered.headers.get("content-type").is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
        if is_stream {
            return self.stream(answered).await.map(Ok);
        }
        let body = answered.all().await.map_err(|failed| self.unanswered(failed))?;
        let answer = Answer::read(&body).map_err(|what| garbage(&what))?;
        self.words.end(&answer.text);
        Ok(Ok(answer))
    }

    fn unanswered(&self, failed: Failed) -> Failure {
        let failure = unanswered(failed, Code::MODEL_UNAVAILABLE);
        if failure.code == Code::HOST_DENIED.as_str() {
            tracing::warn!(agent = %self.runtime.version, why = failure.message, "a request of the agent was denied");
        }
        failure
    }

    /// Reads an answer as it is written.
    async fn stream(&mut self, mut answered: Answered) -> Result<Answer, Failure> {
        let secrets = &self.runtime.secrets;
        let broken = |broken| match broken {
            Broken::Garbage(what) => garbage(&what),
            Broken::Error(error) => given_up(&error, secrets),
            Broken::TooLong => unanswered(Failed::TooLong, Code::MODEL_UNAVAILABLE),
        };
        let (mut stream, mut told) = (Stream::default(), Instant::now());
        // Before its first piece a server may be busy with what others asked; the attempt's own time bounds that.
        let mut next = answered.piece().await;
        while let Some(piece) = next.map_err(|failed| self.unanswered(failed))? {
            stream.take(&piece).map_err(broken)?;
            if stream.is_done() {
                break;
            }
            self.words.say(stream.text());
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                let (task, written_bytes) = (&self.attempt.task, stream.text().len());
                tracing::debug!(run = %task.run_id, task = %task.task, written_bytes, "progress");
            }
            next = self.next(&mut answered, stream.text()).await;
        }
        let answer = stream.end().map_err(broken)?;
        self.words.end(&answer.text);
        Ok(answer)
    }

    /// The next piece of an answer. What waits to be told is told when it is due, also while the model thinks.
    async fn next(&mut self, answered: &mut Answered, text: &str) -> Result<Option<Bytes>, Failed> {
        let mut piece = std::pin::pin!(answered.piece_within(MODEL_SILENCE_MAX));
        if let Some(due) = self.words.due(text) {
            tokio::select! {
                biased;
                piece = &mut piece => return piece,
                () = sleep_until(due) => self.words.say(text),
            }
        }
        piece.await
    }

    fn request(&self, newer: bool) -> Value {
        let model = &self.runtime.model;
        let limit = [model.max_output_tokens.map(u64::from), self.tokens_left()].into_iter().flatten().min();
        let limit_name = if newer { "max_completion_tokens" } else { "max_tokens" };
        let tools: Vec<Value> = self.runtime.tools.all().map(chat::offered).collect();
        let fields = [
            ("model", Some(json!(model.model))),
            ("messages", Some(json!(self.messages))),
            ("temperature", model.temperature.map(|it| json!(it))),
            (limit_name, limit.map(|it| json!(it))),
            ("seed", model.seed.map(|it| json!(it))),
            ("response_format", self.runtime.wanted.format().cloned()),
            ("tools", (!tools.is_empty()).then(|| json!(tools))),
            ("stream", model.stream.then(|| json!(true))),
            ("stream_options", model.stream.then(|| json!({ "include_usage": true }))),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.collect::<Map<_, _>>().into()
    }

    /// Counts what a turn took, before anything is made of it.
    fn pay(&mut self, tokens: Option<Tokens>) -> Result<(), Failure> {
        let price = self.runtime.model.price;
        let Some(tokens) = tokens else {
            if price.is_none() && self.attempt.task.limits.tokens.is_none() {
                return Ok(());
            }
            let message = "the model's server does not say what a turn took, and a limit or a price stands on it";
            return Err(failure::permanent(Code::AGENT_GARBAGE, message));
        };
        for (kind, count) in [("input", tokens.read), ("output", tokens.written)] {
            let labels = self.runtime.version.version.to_string();
            MODEL_TOKENS.counter(&self.labels(&labels, kind)).increment(count);
        }
        self.used.input_tokens = self.used.input_tokens.saturating_add(tokens.read);
        self.used.output_tokens = self.used.output_tokens.saturating_add(tokens.written);
        if let Some(price) = price {
            self.used.cost_usd =
                cost(self.used.input_tokens, price.input) + cost(self.used.output_tokens, price.output);
        }
        self.attempt.meter.take(self.used)
    }

    /// Makes of an answer what it is: an output, calls of tools, or something to mend.
    async fn take(&mut self, answer: Answer) -> Result<Turn, Failure> {
        if let Some(refusal) = &answer.refusal {
            let said = self.runtime.secrets.mask(failure::head(refusal, 500).as_bytes());
            return Err(failure::permanent(Code::MODEL_DECLINED, format!("the model declines to answer: {said}")));
        }
        match answer.finish.as_str() {
            "content_filter" => {
                let message = "a filter behind the model took its answer";
                return Err(failure::permanent(Code::MODEL_DECLINED, message));
            }
            "length" => {
                let message =
                    format!("the model's answer was cut off after {} tokens", answer.tokens.map_or(0, |it| it.written));
                return Err(failure::permanent(Code::MODEL_CUT_OFF, message));
            }
            _ => {}
        }
        self.messages.push(chat::answered(&answer));
        if !answer.calls.is_empty() {
            return self.call(&answer).await.map(|()| Turn::Next);
        }
        let why = match self.runtime.wanted.read(&answer.text) {
            Ok(output) => return Ok(Turn::Output(output)),
            Err(why) => why,
        };
        let repair = self.runtime.model.repair;
        if self.repairs >= repair {
            let message = format!("the model's answer breaks the output contract, {repair} times told so: {why}");
            return Err(failure::permanent(Code::MODEL_OUTPUT, message));
        }
        self.repairs += 1;
        let told =
            format!("Your answer cannot be used: {why}. Answer again, with the whole corrected JSON and nothing else.");
        self.messages.push(chat::said("user", &told));
        Ok(Turn::Next)
    }

    async fn call(&mut self, answer: &Answer) -> Result<(), Failure> {
        let step_key = format!("{}/{}", self.attempt.task.run_id, self.attempt.task.task.step);
        for call in &answer.calls {
            self.used.tool_calls += 1;
            self.attempt.meter.take(self.used)?;
            let result = self.runtime.tools.call(call, &step_key).await?;
            self.messages.push(chat::result(call, &result));
        }
        Ok(())
    }

    fn labels<'l>(&'l self, version: &'l str, last: &'l str) -> [&'l str; 3] {
        [self.runtime.version.name.as_str(), version, last]
    }
}

/// The server knows the limit of tokens by its newer name alone.
struct WantsNewerLimit;

/// What so many tokens cost, at a price for a million.
#[allow(clippy::cast_precision_loss)] // tokens are far fewer than what a float counts exactly
fn cost(tokens: u64, price: Usd) -> f64 {
    tokens as f64 * price.as_f64() / 1e6
}

fn garbage(what: &str) -> Failure {
    failure::transient(Code::AGENT_GARBAGE, format!("the model's server gave {what}"))
}
