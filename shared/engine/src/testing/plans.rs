//! Plans from compact JSON.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use kapelle_expression::{Expression, Template};
use kapelle_types::{RetryPolicy, SignalName, Usd, WorkflowVersion};
use serde_json::{Value, json};

use crate::contract::{Check, Contract};
use crate::flow::{ByKey, Flowing, Sharing};
use crate::limits::TaskLimits;
use crate::plan::{
    Act, Actor, AgentAct, Approval, AwaitSignal, Bond, Case, Handoff, Join, MaxFailures, OnGiveUp, Phase, Plan,
    PlanStep, Repeat, Rung, Wait, WorkflowAct,
};

/// The workflow that every plan made here is a version of.
#[must_use]
pub fn workflow() -> WorkflowVersion {
    "test@1.0.0".parse().unwrap()
}

/// A plan from JSON such as
/// `{"steps": [{"id": "a"}, {"id": "b", "needs": ["a"], "when": "input.go", "foreach": "input.list", "max_parallel": 2,
/// "with": {…}, "retry": {"max_attempts": 3, "initial_ms": 1000}, "on_give_up": "fail"}], "output": {…}, "deadline_ms": 9}`.
///
/// `"takes": ["x"]` and `"gives": ["x"]` on a step and `"result": ["x"]` beside them are contracts that want these fields.
/// A step is an agent's unless it has one of `"value": …`, `"switch": [{"case": "x", "when": …}]`, `"wait": …`, `"until": …`,
/// `"signal": "go"` (with `"timeout_ms"`), `"emit": "type"` or `"workflow": "name@1.0.0"` (with `"detach": true`); `"signals": {"go": ["x"]}` beside the steps declares signals.
/// `"of": "route.big"` is the case of a switch that the step is done in; the switch is among its needs.
/// `"limits": {"cost_per_run": 1, "payload": 9, "tokens": 9, "tool_calls": 9}` are the agent's, and `"agent": "x"` is for
/// steps that share one; `"by_key"` among them limits by key. `"priority"` stands on a step or, as `"fairness"`, beside the steps.
/// `"join": 2` begins a step when two of its needs have succeeded, `{"of": ["a"], "quorum": 1}` of these.
/// `"batch": 3` gives a member three items, `"max_failures": 1` lets one give up. `"repeat": {"until": …, "max": 3, "accept": true}`
/// does a step in rounds. `"handoff": {"to": ["b", {"agent": "c", "gives": ["x"]}], "next": …, "with": …, "max": 3}` lets
/// others go on with it. `"continue": {"when": …, "with": …}` beside the steps begins the run that goes on in the place of this one.
/// `"compensate": {…}` on a step is the step that undoes it, `compensate_<id>`; `"on_failure": […]`,
/// `"finally": […]` and `"close_ms": 9` beside the steps say what a run does last. Retries wait 1 s, then 2 s, without jitter, unless said otherwise; `with` is `{}` and the output `null`.
#[must_use]
pub fn plan(spec: &Value) -> Plan {
    let listed = spec["steps"].as_array().expect("`steps` is a list");
    let place = |id: &Value| listed.iter().position(|s| s["id"] == *id).expect("needs a step that is there");
    let mut steps: Vec<_> = listed.iter().map(|s| step(s, &place, Phase::Work)).collect();
    if spec["continue"].is_object() {
        let mut next = spec["continue"].clone();
        next["id"] = json!("continue");
        next["workflow"] = json!(workflow().to_string());
        next["continues"] = json!(true);
        next["needs"] = listed.iter().map(|it| it["id"].clone()).collect();
        steps.push(step(&next, &place, Phase::Work));
    }
    for (index, of) in listed.iter().enumerate().filter(|(_, of)| of["compensate"].is_object()) {
        let mut undo = of["compensate"].clone();
        undo["id"] = json!(format!("compensate_{}", of["id"].as_str().expect("a step has an id")));
        steps.push(step(&undo, &place, Phase::Compensation(index)));
    }
    for (field, phase) in [("on_failure", Phase::OnFailure), ("finally", Phase::Finally)] {
        steps.extend(spec[field].as_array().into_iter().flatten().map(|s| step(s, &place, phase)));
    }
    Plan {
        workflow: workflow(),
        steps,
        signals: signals(&spec["signals"]),
        queries: named(&spec["queries"]),
        answers: named(&spec["answers"]),
        output: template(&spec["output"], &Value::Null),
        result: requires(&spec["result"]),
        deadline: spec["deadline_ms"].as_u64().map(Duration::from_millis),
        close_within: Duration::from_millis(spec["close_ms"].as_u64().unwrap_or(60_000)),
        flow: flowing(spec),
    }
}

/// `"queries": {"total": "${…}"}` beside the steps, and so the `"answers"` of signals.
fn named<K: Ord + FromStr<Err: Debug>>(spec: &Value) -> BTreeMap<K, Template> {
    let named = |(name, it): (&String, &Value)| (name.parse().unwrap(), template(it, &Value::Null));
    spec.as_object().into_iter().flatten().map(named).collect()
}

fn step(spec: &Value, place: &dyn Fn(&Value) -> usize, phase: Phase) -> PlanStep {
    let id = spec["id"].as_str().expect("a step has an id");
    let expression = |field: &str| spec[field].as_str().map(|s| Expression::compile(s).unwrap());
    let needs = spec["needs"].as_array().map_or(&[][..], |n| n);
    let (act, with) = act(spec, id);
    let of_case = spec["of"].as_str().and_then(|of| of.split_once('.'));
    PlanStep {
        id: id.parse().unwrap(),
        phase,
        act,
        needs: needs.iter().map(place).collect(),
        join: join(&spec["join"], needs, place),
        case: of_case.map(|(switch, case)| (place(&json!(switch)), case.parse().unwrap())),
        when: expression("when"),
        foreach: expression("foreach"),
        max_parallel: u32::try_from(spec["max_parallel"].as_u64().unwrap_or(64)).unwrap(),
        batch: spec["batch"].as_u64().map(|it| u32::try_from(it).unwrap()),
        max_failures: spec["max_failures"].as_u64().map(|it| MaxFailures::Count(u32::try_from(it).unwrap())),
        with: template(with, &json!({})),
        input: requires(&spec["takes"]),
        output: requires(&spec["gives"]),
        repeat: repeat(&spec["repeat"]),
        handoff: handoff(&spec["handoff"]),
        retry: retry(&spec["retry"]),
        timeout: Duration::from_millis(spec["timeout_ms"].as_u64().unwrap_or(10_000)),
        on_give_up: match spec["on_give_up"].as_str() {
            Some("fail") => OnGiveUp::Fail,
            Some("continue") => OnGiveUp::Continue,
            _ => OnGiveUp::Stall,
        },
        approve: spec.get("approve").map(|it| Box::new(approval(it))),
        priority: spec.get("priority").map(|it| template(it, &Value::Null)),
    }
}

/// What a step does, and the field that it works on.
fn act<'s>(spec: &'s Value, id: &str) -> (Act, &'s Value) {
    let timeout = spec["timeout_ms"].as_u64().map(Duration::from_millis);
    let has = |field: &str| spec.get(field).is_some();
    if let Some(name) = spec["signal"].as_str() {
        (Act::Signal(AwaitSignal { name: name.parse().unwrap(), timeout }), &spec["with"])
    } else if has("approval") {
        (Act::Approval(Box::new(approval(&spec["approval"]))), &spec["with"])
    } else if has("value") {
        (Act::Value, &spec["value"])
    } else if let Some(cases) = spec["switch"].as_array() {
        (Act::Switch(cases.iter().map(case).collect()), &spec["with"])
    } else if has("wait") {
        (Act::Wait(Wait::For), &spec["wait"])
    } else if has("until") {
        (Act::Wait(Wait::Until), &spec["until"])
    } else if let Some(kind) = spec["emit"].as_str() {
        (Act::Emit(kind.to_owned()), &spec["with"])
    } else if let Some(version) = spec["workflow"].as_str() {
        let bond = match (spec["detach"] == json!(true), spec["continues"] == json!(true)) {
            (_, true) => Bond::Continued,
            (true, false) => Bond::Detached,
            (false, false) => Bond::Awaited,
        };
        (Act::Workflow(Box::new(WorkflowAct { version: version.parse().unwrap(), bond })), &spec["with"])
    } else {
        (Act::Agent(Box::new(agent(spec, id))), &spec["with"])
    }
}

/// `"priority": …` and `"fairness": {"key": …, "weight": …, "weights": {"acme": 5}}` beside the steps.
fn flowing(spec: &Value) -> Option<Box<Flowing>> {
    let of = |spec: &Value, field: &str| spec.get(field).map(|it| template(it, &Value::Null));
    let priority = of(spec, "priority");
    let fairness = spec.get("fairness").map(|it| {
        let weights = it["weights"].as_object().into_iter().flatten();
        let weights = weights.map(|(key, weight)| (key.clone(), u32::try_from(weight.as_u64().unwrap()).unwrap()));
        Sharing { key: of(it, "key").unwrap(), weight: of(it, "weight"), weights: weights.collect() }
    });
    (priority.is_some() || fairness.is_some()).then(|| Box::new(Flowing { priority, fairness }))
}

/// `"by_key": {"key": …, "concurrency": 2, "rate": "10/s"}` among the limits of an agent.
fn by_key(spec: &Value) -> Option<Box<ByKey>> {
    Some(Box::new(ByKey {
        key: template(spec.get("key")?, &Value::Null),
        concurrency: spec["concurrency"].as_u64().map(|it| u32::try_from(it).unwrap()),
        rate: spec["rate"].as_str().map(|it| it.parse().unwrap()),
    }))
}

fn approval(spec: &Value) -> Approval {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let groups = |value: &Value| list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let ms = |value: &Value| Duration::from_millis(value.as_u64().unwrap_or_default());
    let rung = |it: &Value| Rung { after: ms(&it["after_ms"]), to: groups(&it["to"]) };
    Approval {
        title: "may it?".to_owned(),
        reason: String::new(),
        groups: groups(&spec["groups"]),
        quorum: spec["quorum"].as_u64().map_or(1, |n| u32::try_from(n).unwrap()),
        expires: Duration::from_millis(spec["expires_ms"].as_u64().unwrap_or(10_000)),
        remind: Vec::new(),
        escalate: list(&spec["escalate"]).iter().map(rung).collect(),
        self_approval: spec["self"].as_bool().unwrap_or(false),
    }
}

/// How many of the needs are enough, or how many `of` some of them.
fn join(spec: &Value, needs: &[Value], place: &dyn Fn(&Value) -> usize) -> Option<Join> {
    let quorum = spec.as_u64().or_else(|| spec["quorum"].as_u64())?;
    let of = spec["of"].as_array().map_or(needs, Vec::as_slice);
    Some(Join { of: of.iter().map(place).collect(), quorum: usize::try_from(quorum).unwrap() })
}

fn repeat(spec: &Value) -> Option<Repeat> {
    let until = Expression::compile(spec["until"].as_str()?).unwrap();
    let max = u32::try_from(spec["max"].as_u64().unwrap_or(10)).unwrap();
    Some(Repeat { until, max, accept: spec["accept"] == true })
}

/// Each of `to` is an agent's name, or an object with what a step says of its own agent.
fn handoff(spec: &Value) -> Option<Box<Handoff>> {
    let next = Expression::compile(spec["next"].as_str()?).unwrap();
    let actor = |it: &Value| Actor {
        act: agent(it, it.as_str().unwrap_or_default()),
        input: requires(&it["takes"]),
        output: requires(&it["gives"]),
        retry: retry(&it["retry"]),
        timeout: Duration::from_millis(it["timeout_ms"].as_u64().unwrap_or(10_000)),
    };
    let to = spec["to"].as_array().expect("`to` is a list").iter().map(actor).collect();
    let with = spec.get("with").map(|it| Template::compile(it).unwrap());
    let max = u32::try_from(spec["max"].as_u64().unwrap_or(10)).unwrap();
    Some(Box::new(Handoff { to, next, with, max }))
}

fn case(spec: &Value) -> Case {
    let when = spec["when"].as_str().map(|source| Expression::compile(source).unwrap());
    Case { name: spec["case"].as_str().expect("a case has a name").parse().unwrap(), when }
}

fn agent(spec: &Value, id: &str) -> AgentAct {
    let limits = &spec["limits"];
    AgentAct {
        version: format!("agent-{}@1.0.0", spec["agent"].as_str().unwrap_or(id).replace('_', "-")).parse().unwrap(),
        limits: TaskLimits {
            payload_bytes: limits["payload"].as_u64(),
            tokens: limits["tokens"].as_u64(),
            tool_calls: limits["tool_calls"].as_u64(),
        },
        cost_per_run: limits["cost_per_run"].as_f64().and_then(Usd::reported),
        by_key: by_key(&limits["by_key"]),
    }
}

fn signals(spec: &Value) -> BTreeMap<SignalName, Option<Contract>> {
    let declared = spec.as_object().into_iter().flatten();
    declared.map(|(name, contract)| (name.parse().unwrap(), requires(contract))).collect()
}

/// A contract that wants these fields; enough of a schema language for the engine's own tests.
#[derive(Debug)]
struct Requires(Vec<String>);

impl Check for Requires {
    fn violation(&self, value: &Value) -> Option<String> {
        self.0.iter().find(|field| value.get(field.as_str()).is_none()).map(|field| format!("it has no `{field}`"))
    }
}

fn requires(spec: &Value) -> Option<Contract> {
    let fields = spec.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Some(Contract::new(Arc::new(Requires(fields))))
}

fn template(value: &Value, default: &Value) -> Template {
    Template::compile(if value.is_null() { default } else { value }).unwrap()
}

fn retry(spec: &Value) -> RetryPolicy {
    let ms = |field: &str| spec[field].as_u64().map(Duration::from_millis);
    let codes = spec["non_retryable"].as_array().map_or(&[][..], |c| c);
    RetryPolicy {
        max_attempts: spec["max_attempts"].as_u64().map_or(3, |n| u32::try_from(n).unwrap()),
        initial: ms("initial_ms").unwrap_or(Duration::from_secs(1)),
        multiplier: spec["multiplier"].as_f64().unwrap_or(2.0),
        max: ms("max_ms").unwrap_or(Duration::from_secs(60)),
        total: ms("total_ms"),
        jitter: spec["jitter"].as_f64().unwrap_or(0.0),
        non_retryable: codes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}
