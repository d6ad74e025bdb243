//! Why a run does not go on, in one sentence: what its log says it waits for, and what its agents' queues and workers look like.
//!
//! The sentence quotes nobody: codes, steps, agents and times, and what somebody said when they paused the run.

use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::presence::{self, Kind};
use kapelle_bus::registry::Status;
use kapelle_engine::{AgentWait, Body, Mending, Run, RunStatus, Waits, waits};
use kapelle_proto::subject::TaskSubject;
use kapelle_proto::v1;
use kapelle_types::{Flow, Principal, RunId, Timestamp};

use crate::catalog::Catalog;
use crate::runs::Rebuilt;
use crate::turns::Takers;

/// What is known of an agent beside the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Workers that take its tasks.
    workers: usize,
    /// Whether one of them has a free slot.
    free: bool,
    /// How it is stopped, if it is.
    stopped: Option<String>,
    /// Why a worker takes none for now.
    held: Option<String>,
    /// Tasks in its queue, and those that workers hold, of all runs.
    pending: u64,
    in_flight: u64,
    /// How many of its tasks the fleet may hold at once.
    max_in_flight: u64,
    /// How the attempt stands among those that wait for their turn, if it is one of them; a key that may not be told is empty.
    turn: Option<Flow>,
    retired: bool,
}

/// Says why, and names keys of queues, which are parts of payloads, only to whoever sees those. The broker is asked only where
/// it makes a difference.
pub(crate) async fn why(bus: &Bus, takers: &Takers, catalog: &Catalog, rebuilt: &Rebuilt, sees: bool) -> v1::Why {
    let waits = waits(&rebuilt.run);
    let mut seen = None;
    if let Waits::Agents(agents) = &waits {
        let present = bus.present().await.ok();
        for wait in agents {
            let task = TaskSubject { agent: wait.agent.clone(), run_id: rebuilt.run.id(), task: wait.task.clone() };
            let mut now = look(takers, catalog, present.as_deref(), &task).await;
            if let Some(turn) = now.as_mut().and_then(|it| it.turn.as_mut()).filter(|_| !sees) {
                hide_keys(turn);
            }
            // Who waits for somebody else is told before what goes on by itself.
            let worse =
                seen.as_ref().is_none_or(|(_, known): &(AgentWait, Option<Seen>)| urgency(&now) > urgency(known));
            if worse {
                seen = Some((wait.clone(), now));
            }
        }
    }
    tell(rebuilt, &waits, seen)
}

async fn look(
    takers: &Takers,
    catalog: &Catalog,
    present: Option<&[presence::Record]>,
    task: &TaskSubject,
) -> Option<Seen> {
    let agent = &task.agent;
    let queue = takers.queue_state(agent).await.ok()?;
    let turn = takers.turn(task).await.ok()?;
    let snapshot = catalog.snapshot();
    let takes = |p: &&presence::Record| p.kind == Kind::Worker && !p.draining && p.agents.contains(agent);
    let workers: Vec<_> = present?.iter().filter(takes).collect();
    let stopped = snapshot.standing_of(agent).filter(|it| it.status.stops());
    let stopped = stopped.map(|it| format!("it is {} since {} by {}", it.status.as_str(), clock(it.at), it.by));
    let held = workers.iter().flat_map(|p| &p.held).find(|held| held.agent == *agent).map(|held| held.why.clone());
    Some(Seen {
        workers: workers.len(),
        free: workers.iter().any(|p| p.slots_used < p.slots),
        held,
        stopped,
        pending: queue.pending,
        in_flight: queue.in_flight,
        max_in_flight: queue.max_in_flight,
        turn,
        retired: snapshot.standing_of(agent).is_some_and(|standing| standing.status == Status::Retired),
    })
}

/// How much an agent needs somebody.
fn urgency(seen: &Option<Seen>) -> u8 {
    match seen {
        None => 1,
        Some(seen) if seen.stopped.is_some() => 5,
        Some(seen) if seen.workers == 0 => 4,
        Some(seen) if seen.held.is_some() => 3,
        Some(seen) if seen.pending > 0 => 2,
        Some(_) => 0,
    }
}

/// The sentence, since when it is so, and what somebody can do about it.
fn tell(rebuilt: &Rebuilt, waits: &Waits, seen: Option<(AgentWait, Option<Seen>)>) -> v1::Why {
    let (run, id) = (&rebuilt.run, rebuilt.run.id());
    match waits {
        Waits::Submission => said("nothing of it is recorded yet".into(), None, ""),
        Waits::Nothing => said(ended(run), Some(run.last_progress()), ""),
        Waits::Mending(mending) => stalled(id, mending),
        Waits::Resume => paused(rebuilt),
        Waits::Retries { step, due, after, total } => {
            let more = if *total > 1 { format!(", and {} more wait for theirs", total - 1) } else { String::new() };
            let because = format!("it waits for the retry of step {step} at {} after {after}{more}", clock(*due));
            said(because, Some(run.last_progress()), "")
        }
        Waits::People { step, groups, missing, since, expires, total } => {
            let of = if groups.is_empty() { String::new() } else { format!(" of {}", groups.join(" or ")) };
            let whom = if *missing > 1 { format!("{missing} persons{of}") } else { format!("a person{of}") };
            let more = if *total > 1 { format!(", and {} more are held", total - 1) } else { String::new() };
            let because = format!("step {step} waits for {whom} to agree until {}{more}", clock(*expires));
            said(because, Some(*since), format!("see `kapelle approval show {id} {step}`"))
        }
        Waits::Signal { step, signal, due, total } => {
            let until = due.map(|due| format!(" until {}", clock(due))).unwrap_or_default();
            let more = if *total > 1 { format!(", and {} more wait for one", total - 1) } else { String::new() };
            let because = format!("step {step} waits for the signal {signal}{until}{more}");
            said(because, Some(run.last_progress()), format!("send it with `kapelle run signal {id} {signal}`"))
        }
        Waits::Time { step, due, total } => {
            let more = if *total > 1 { format!(", and {} more wait for theirs", total - 1) } else { String::new() };
            said(format!("step {step} waits until {}{more}", clock(*due)), Some(run.last_progress()), "")
        }
        Waits::Runs { step, run, workflow, since, total } => {
            let more = if *total > 1 { format!(", and {} more wait for theirs", total - 1) } else { String::new() };
            let because = format!("step {step} waits for run {run} of {workflow}{more}");
            said(because, Some(*since), format!("see what that waits for with `kapelle run why {run}`"))
        }
        Waits::Agents(_) => match seen {
            Some((wait, seen)) => on_agent(&wait, seen.as_ref()),
            None => said("it is about to go on".into(), Some(run.last_progress()), ""),
        },
    }
}

fn said(because: String, since: Option<Timestamp>, advice: impl Into<String>) -> v1::Why {
    v1::Why { because, since_unix_nanos: since.map_or(0, Timestamp::nanos), advice: advice.into() }
}

fn ended(run: &Run) -> String {
    let code = run.outcome().and_then(|outcome| outcome.error.as_ref()).map(|error| format!(" with {}", error.code));
    let code = code.unwrap_or_default();
    match run.status() {
        RunStatus::Completed => "it is done".to_owned(),
        RunStatus::Failed => format!("it has FAILED{code} and waits for nothing"),
        RunStatus::Canceled => "it was canceled and waits for nothing".to_owned(),
        RunStatus::Terminated => "it was terminated and waits for nothing".to_owned(),
        RunStatus::TimedOut => "its deadline has passed and it waits for nothing".to_owned(),
        RunStatus::Pending | RunStatus::Running | RunStatus::Paused | RunStatus::Waiting | RunStatus::Stalled => {
            "it is open".to_owned()
        }
    }
}

fn stalled(run: RunId, mending: &Mending) -> v1::Why {
    let Mending { step, code, attempts, since, total, retryable } = mending;
    let what = match (step, attempts) {
        (Some(step), 0) => format!("step {step} cannot go on: {code}"),
        (Some(step), 1) => format!("step {step} gave up after 1 attempt: {code}"),
        (Some(step), n) => format!("step {step} gave up after {n} attempts: {code}"),
        (None, _) => format!("it cannot go on: {code}"),
    };
    let more = if *total > 1 { format!(", and {} more are stuck", total - 1) } else { String::new() };
    let advice = if *retryable {
        format!("mend the cause, then `kapelle run retry {run}`; or give it up with `kapelle run cancel {run}`")
    } else {
        format!("end it with `kapelle run cancel {run}`")
    };
    said(format!("it is STALLED: {what}{more}"), *since, advice)
}

/// Who paused the run: the first request after it was let go on for the last time; more of them changed nothing.
fn paused(rebuilt: &Rebuilt) -> v1::Why {
    let mut by: Option<(Timestamp, &Principal, &str)> = None;
    for record in &rebuilt.records {
        for entry in &record.entries {
            match &entry.body {
                Body::ResumeRequested => by = None,
                Body::PauseRequested { reason } if by.is_none() => {
                    by = Some((record.stamp.at, &entry.principal, reason))
                }
                _ => {}
            }
        }
    }
    let advice = format!("let it go on with `kapelle run resume {}`", rebuilt.run.id());
    match by {
        Some((at, who, "")) => said(format!("it is paused by {who}"), Some(at), advice),
        Some((at, who, reason)) => said(format!("it is paused by {who}: {reason}"), Some(at), advice),
        None => said("it is paused".to_owned(), None, advice),
    }
}

fn on_agent(wait: &AgentWait, seen: Option<&Seen>) -> v1::Why {
    let AgentWait { agent, task, since, tasks } = wait;
    let step = &task.step;
    let steps = if *tasks > 1 { format!("step {step} and {} more", tasks - 1) } else { format!("step {step}") };
    let (because, advice) = match seen {
        None => (format!("it waits for {agent} ({steps}), and how that stands cannot be seen now"), String::new()),
        Some(Seen { stopped: Some(how), .. }) => {
            let advice =
                format!("`kapelle agent describe {agent}` says why, `kapelle agent resume {agent}` lets it go on");
            (format!("it waits for {agent} ({steps}), which is stopped: {how}"), advice)
        }
        Some(seen) if seen.workers == 0 => {
            let retired = if seen.retired { ", and it is RETIRED" } else { "" };
            let advice = format!(
                "start a worker that has {agent}: `kapelle worker start`; those that are there: `kapelle worker list`"
            );
            (format!("it waits for a worker of {agent} ({steps}): none is connected{retired}"), advice)
        }
        Some(Seen { held: Some(why), .. }) => {
            let advice = "it goes on by itself; `kapelle queue list` shows what is held".to_owned();
            (format!("it waits for {agent} ({steps}), which is held: {why}"), advice)
        }
        Some(Seen { turn: Some(turn), pending, .. }) => {
            let because =
                format!("it waits its turn for {agent} ({steps}): {}, {pending} tasks are queued", stands(turn));
            let advice =
                if turn.limit.is_some() { "" } else { "it goes on by itself; more workers make turns come sooner" };
            (because, advice.to_owned())
        }
        Some(seen) if seen.pending > 0 && seen.max_in_flight > 0 && seen.in_flight >= seen.max_in_flight => {
            let because = format!(
                "it waits its turn for {agent} ({steps}): all {} places of its concurrency are taken, {} tasks are queued",
                seen.max_in_flight, seen.pending
            );
            (because, "raise `limits.concurrency` of the agent if it can take more".to_owned())
        }
        Some(seen) if seen.pending > 0 && !seen.free => {
            let because = format!(
                "it waits its turn for {agent} ({steps}): every slot of {} is taken, {} tasks are queued",
                counted(seen.workers),
                seen.pending
            );
            (because, "start more workers, or workers with more slots: `kapelle worker start`".to_owned())
        }
        Some(seen) if seen.pending > 0 => {
            (format!("it waits its turn for {agent} ({steps}): {} tasks are queued", seen.pending), String::new())
        }
        Some(_) => (format!("{agent} is at work on {steps}"), String::new()),
    };
    said(because, Some(*since), advice)
}

fn hide_keys(turn: &mut Flow) {
    let share = turn.fairness.as_mut().map(|it| &mut it.key);
    share.into_iter().chain(turn.limit.as_mut().map(|it| &mut it.key)).for_each(String::clear);
}

/// A key as it is told: none is empty.
fn told_key(key: &str) -> String {
    if key.is_empty() { "its key".to_owned() } else { format!("the key {key:?}") }
}

/// How an attempt stands among those that wait for their turn.
fn stands(turn: &Flow) -> String {
    let fairness = turn.fairness.as_ref();
    let share = fairness.map(|it| format!(", its share that of {} with weight {}", told_key(&it.key), it.weight));
    let limit = turn.limit.as_ref().map(|limit| {
        let places = limit.concurrency.map(|places| format!("{places} at a time"));
        let rate = limit.rate.map(|rate| rate.to_string());
        let both: Vec<String> = places.into_iter().chain(rate).collect();
        format!(", limited to {} for {}", both.join(" and "), told_key(&limit.key))
    });
    format!("priority {}{}{}", turn.priority, share.unwrap_or_default(), limit.unwrap_or_default())
}

fn counted(workers: usize) -> String {
    if workers == 1 { "the only worker".to_owned() } else { format!("{workers} workers") }
}

/// The time of the day in UTC, to the second.
fn clock(at: Timestamp) -> String {
    let text = Timestamp::from_millis(at.plus(Duration::from_millis(999)).millis() / 1_000 * 1_000).rfc3339();
    text.get(11..19).map_or(text.clone(), |time| format!("{time} UTC"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kapelle_engine::testing::{entry, fresh, plan};
    use kapelle_engine::{Record, Stamp, apply};
    use kapelle_types::{Fairness, KeyLimit, Priority};
    use serde_json::json;

    use super::*;

    fn without_keys(mut turn: Flow) -> Flow {
        hide_keys(&mut turn);
        turn
    }

    fn after(entries: &[&str]) -> Rebuilt {
        let spec = json!({"steps": [
            {"id": "a"}, {"id": "each", "foreach": "input"},
            {"id": "last", "needs": ["a", "each"], "with": "${steps.a.output.n}"},
        ], "deadline_ms": 60_000});
        let mut run = fresh(Arc::new(plan(&spec)));
        let mut records = Vec::new();
        for (seq, text) in (1_u64..).zip(entries) {
            let (entry, channel) = entry(text);
            let seconds = if *text == "fire deadline" { 61 } else { i64::try_from(seq).unwrap() };
            let stamp = Stamp { seq, at: Timestamp::from_millis(seconds * 1_000) };
            let _ = apply(&mut run, &entry, channel, stamp);
            records.push(Record { stamp, channel, entries: vec![entry] });
        }
        Rebuilt { run, records }
    }

    /// The sentence, with the first agent in this state.
    fn told(entries: &[&str], seen: Option<Seen>) -> String {
        let rebuilt = after(entries);
        let waits = waits(&rebuilt.run);
        let first = if let Waits::Agents(agents) = &waits { agents.first().cloned() } else { None };
        let why = tell(&rebuilt, &waits, first.map(|wait| (wait, seen)));
        let id = rebuilt.run.id().to_string();
        let since = why.since_unix_nanos / 1_000_000_000;
        format!("{} | {} | {since}", why.because, why.advice).replace(&id, "RUN")
    }

    #[test]
    fn what_a_run_waits_for_is_a_sentence() {
        let none: &[&str] = &[];
        let cases: &[(&str, &[&str])] = &[
            ("pending", none),
            ("completed", &["submit []", "ok a 1 {\"n\": 1}", "ok last 1"]),
            ("failed", &["submit [1]", "fail a 1 busy final", "giveup"]),
            ("canceled", &["submit [1]", "cancel"]),
            ("terminated", &["submit [1]", "terminate"]),
            ("timed out", &["submit [1]", "fire deadline"]),
            ("stalled", &["submit []", "fail a 1 busy final"]),
            ("stalled twice", &["submit 7", "fail a 1 busy final"]),
            ("stalled for good", &["fork [] {\"x\": 1}"]),
            ("paused", &["submit [1]", "pause", "resume", "pause the provider is down", "pause too"]),
            ("waiting", &["submit []", "fail a 1 rate_limited"]),
        ];
        let mut text = String::new();
        for (name, entries) in cases {
            text += &format!("{name}: {}\n", told(entries, None));
        }
        let agent = |seen: Seen| told(&["submit [1, 2]", "ok a 1 {\"n\": 1}"], Some(seen));
        let limited = Flow {
            priority: Priority::FIRST,
            fairness: Some(Fairness { key: "acme".into(), weight: 5 }),
            limit: Some(KeyLimit { key: "repo \"1\"".into(), concurrency: Some(2), rate: "10/s".parse().ok() }),
        };
        let busy = Seen { workers: 2, free: false, in_flight: 3, max_in_flight: 9, ..Seen::default() };
        for (name, seen) in [
            ("no worker", Seen::default()),
            ("no worker and retired", Seen { retired: true, ..Seen::default() }),
            ("held", Seen { held: Some("its turns are 20/s".into()), ..busy.clone() }),
            ("stopped", Seen { stopped: Some("it is SUSPENDED since 08:00 by ada".into()), ..busy.clone() }),
            ("concurrency", Seen { pending: 4, in_flight: 9, ..busy.clone() }),
            ("slots", Seen { pending: 4, ..busy.clone() }),
            ("queued", Seen { pending: 4, free: true, ..busy.clone() }),
            ("turn", Seen { pending: 9, turn: Some(Flow::default()), ..busy.clone() }),
            ("limited", Seen { pending: 9, turn: Some(limited.clone()), ..busy.clone() }),
            ("limited, keys hidden", Seen { pending: 9, turn: Some(without_keys(limited)), ..busy.clone() }),
            ("at work", busy),
        ] {
            text += &format!("{name}: {}\n", agent(seen));
        }
        text += &format!("unseen: {}\n", told(&["submit []"], None));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn whoever_needs_somebody_is_told_first() {
        let seen = |workers, held: Option<&str>, pending| {
            Some(Seen { workers, held: held.map(Into::into), pending, ..Seen::default() })
        };
        let order = [seen(1, None, 0), None, seen(1, None, 1), seen(1, Some("spent"), 1), seen(0, None, 1)];
        assert!(order.windows(2).all(|pair| urgency(&pair[0]) < urgency(&pair[1])));
    }
}
