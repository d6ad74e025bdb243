//! Random plans, from a seed: the same seed and shape give the same plan on every machine.

use serde_json::{Map, Value, json};

/// `SplitMix64`: small, seeded, and enough for tests. Source: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % (n.max(1) as u64)).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// What random plans may contain.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Steps at most.
    pub steps_max: usize,
    /// `when` conditions, some of which fail to evaluate, in percent of the steps.
    pub when: u64,
    /// `foreach` steps, in percent of the steps.
    pub foreach: u64,
    /// Steps that fail the run when they give up, in percent of the steps.
    pub fail: u64,
    /// Steps of other kinds than an agent's, in percent of the steps.
    pub kinds: u64,
    /// `foreach` steps whose members get several items, in percent of them.
    pub batch: u64,
    /// `foreach` steps of which a member may give up, in percent of them. Which of them does depends on the order of events.
    pub max_failures: u64,
    /// Joins, in percent of the steps that could be one. What comes of such a run depends on the order of events.
    pub joins: u64,
    /// Steps that are done in rounds, in percent of the steps.
    pub repeat: u64,
    /// Steps that are handed on, in percent of the agents' steps that are done once and in one round.
    pub handoff: u64,
    /// Steps that are undone by another, in percent of those that could be, and plans with last steps, in percent.
    pub closing: u64,
    /// Whether some of those ask people first.
    pub approvals: bool,
    /// Whether attempts stand otherwise than all others, some of them by expressions that fail.
    pub flow: bool,
    /// Whether retries are bounded by a total time, which makes the end depend on the order of events.
    pub total: bool,
    /// Whether runs may have a deadline, which does the same.
    pub deadline: bool,
    /// Whether agents may have a `cost_per_run`, which does the same too.
    pub cost: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            steps_max: 8,
            when: 30,
            foreach: 35,
            fail: 15,
            kinds: 0,
            batch: 0,
            max_failures: 0,
            joins: 0,
            repeat: 0,
            handoff: 0,
            approvals: false,
            closing: 0,
            flow: false,
            total: false,
            deadline: false,
            cost: false,
        }
    }
}

/// A random plan in the form that [`super::plan`] reads. Its expressions expect agents that return
/// `{"n": <number>, "list": [<numbers>]}` and an input of [`random_input`].
#[must_use]
pub fn random_spec(seed: u64, shape: &Shape) -> Value {
    let mut dice = Dice::new(seed);
    let count = dice.below(shape.steps_max) + 1;
    let mut steps: Vec<Map<String, Value>> = Vec::new();
    for index in 0..count {
        let step = random_step(&mut dice, index, &steps, shape);
        steps.push(step);
    }
    let shown: Map<_, _> = steps.iter().map(|s| (id(s), reference(s))).collect();
    let mut spec = json!({"steps": steps, "output": shown, "signals": {"go": null, "stop": null}});
    if shape.joins > 0 {
        random_joins(&mut dice, &mut spec, shape);
    }
    if shape.kinds > 0 && dice.chance(20) {
        let with = json!({"go": "${input.go}", "n": "${input.n - 3}", "list": "${input.list}"});
        spec["continue"] = json!({"when": "input.n > 4", "with": with, "retry": random_retry(&mut dice, shape)});
    }
    if shape.flow {
        random_flow(&mut dice, &mut spec);
    }
    if shape.closing > 0 {
        random_closing(&mut dice, &mut spec, shape);
    }
    if shape.deadline && dice.chance(30) {
        spec["deadline_ms"] = json!(500 + dice.below(3000));
    }
    spec
}

/// Makes joins of steps whose needs nobody else has: which of them succeed first depends on the order of events.
fn random_joins(dice: &mut Dice, spec: &mut Value, shape: &Shape) {
    let Some(steps) = spec["steps"].as_array_mut() else { return };
    let needs: Vec<Vec<Value>> =
        steps.iter().map(|step| step["needs"].as_array().cloned().unwrap_or_default()).collect();
    for (step, own) in steps.iter_mut().zip(&needs) {
        let alone = |need: &Value| needs.iter().filter(|of| of.contains(need)).count() == 1;
        let of: Vec<_> = own.iter().filter(|need| alone(need)).cloned().collect();
        if of.len() > 1 && dice.chance(shape.joins) {
            let quorum = dice.below(of.len()) + 1;
            step["join"] = json!({"of": of, "quorum": quorum});
        }
    }
}

/// Says of the run, of some steps and of some agents how their attempts stand.
fn random_flow(dice: &mut Dice, spec: &mut Value) {
    let priorities = [json!(1), json!(5), json!("${input.go ? 1 : 4}"), json!("${input.n}")];
    if dice.chance(50) {
        spec["priority"] = priorities[dice.below(4)].clone();
    }
    if dice.chance(50) {
        let weights = json!({"key": "${input.n}", "weights": {"3": 5}});
        let weight = json!({"key": "tenant-${input.n}", "weight": "${input.n + 1}"});
        spec["fairness"] = if dice.chance(50) { weights } else { weight };
    }
    for step in spec["steps"].as_array_mut().into_iter().flatten() {
        if dice.chance(30) {
            step["priority"] = priorities[dice.below(4)].clone();
        }
        if step.get("foreach").is_some() && dice.chance(30) {
            step["priority"] = json!("${index % 4 + 1}");
        }
        if dice.chance(30) {
            // What a step is given has the outputs of its needs in it: a key of them is an object, or is not there.
            let key = ["k-${has(input.item)}", "${input.item}", "${input.s0}"][dice.below(3)];
            step["limits"]["by_key"] = json!({"key": key, "concurrency": dice.below(3) + 1});
        }
    }
}

/// Adds compensations, `on_failure` and `finally`.
fn random_closing(dice: &mut Dice, spec: &mut Value, shape: &Shape) {
    let last = |dice: &mut Dice, with: Value| {
        let on_give_up = ["stall", "continue"][dice.below(2)];
        let mut step = json!({"with": with, "retry": random_retry(dice, shape), "on_give_up": on_give_up});
        match dice.below(8) {
            0 => step["emit"] = json!("something.undone"),
            1 => step["value"] = json!("${run.error.code}"),
            2 => step["when"] = json!("input.go"),
            3 => step["foreach"] = json!("input.list"),
            _ => {}
        }
        step
    };
    for step in spec["steps"].as_array_mut().into_iter().flatten() {
        if ["foreach", "repeat", "handoff"].iter().all(|it| step.get(*it).is_none()) && dice.chance(shape.closing) {
            let id = step["id"].as_str().unwrap();
            let with = json!({"undo": format!("${{steps.{id}.output}}"), "why": "${run.error.code}"});
            step["compensate"] = last(dice, with);
        }
    }
    let seen: Vec<Value> = spec["steps"].as_array().into_iter().flatten().map(|s| s["id"].clone()).collect();
    for field in ["on_failure", "finally"] {
        if dice.chance(shape.closing) {
            let of = |n: usize, dice: &mut Dice| {
                let about = seen[dice.below(seen.len())].as_str().unwrap();
                let mut step = last(dice, json!(format!("${{steps.{about}.status}}")));
                step["id"] = json!(format!("{field}{n}"));
                step
            };
            spec[field] = (0..=dice.below(2)).map(|n| of(n, dice)).collect();
        }
    }
    spec["close_ms"] = json!(if shape.deadline && dice.chance(20) { dice.below(500) } else { 1_000_000 });
}

/// The input that random plans expect.
#[must_use]
pub fn random_input(seed: u64) -> Value {
    let mut dice = Dice::new(seed ^ 0x1d);
    json!({"go": dice.chance(70), "n": dice.below(10), "list": list(&mut dice, 6)})
}

/// A list of numbers.
pub(super) fn list(dice: &mut Dice, longest: usize) -> Vec<usize> {
    (0..dice.below(longest + 1)).map(|_| dice.below(10)).collect()
}

fn id(step: &Map<String, Value>) -> String {
    step["id"].as_str().unwrap().to_owned()
}

fn reference(step: &Map<String, Value>) -> Value {
    let field = if step.contains_key("foreach") { "outputs" } else { "output" };
    json!(format!("${{steps.{}.{field}}}", id(step)))
}

fn random_step(dice: &mut Dice, index: usize, before: &[Map<String, Value>], shape: &Shape) -> Map<String, Value> {
    let needs: Vec<_> = before.iter().filter(|_| dice.chance(40)).collect();
    let mut step = Map::new();
    step.insert("id".into(), json!(format!("s{index}")));
    step.insert("needs".into(), needs.iter().map(|s| s["id"].clone()).collect());
    let source = needs.iter().map(|s| id(s)).next();
    let of_single = needs.iter().find(|s| !s.contains_key("foreach")).map(|s| id(s));
    if dice.chance(shape.when) {
        step.insert("when".into(), json!(random_when(dice, source.as_deref(), of_single.as_deref())));
    }
    if dice.chance(shape.foreach) {
        let list =
            of_single.filter(|_| dice.chance(50)).map_or("input.list".into(), |s| format!("steps.{s}.output.list"));
        step.insert("foreach".into(), json!(list));
        step.insert("max_parallel".into(), json!(dice.below(3) + 1));
        if dice.chance(shape.batch) {
            step.insert("batch".into(), json!(2));
        }
        if dice.chance(shape.max_failures) {
            step.insert("max_failures".into(), json!(1));
        }
    }
    let mut with: Map<_, _> = needs.iter().map(|s| (id(s), reference(s))).collect();
    if step.contains_key("foreach") {
        with.insert("item".into(), json!("${item} at ${index}"));
        if dice.chance(5) && !step.contains_key("batch") {
            with.insert("breaks".into(), json!("${item > 7 ? item.none : item}"));
        }
    }
    step.insert("with".into(), Value::Object(with));
    step.insert("retry".into(), random_retry(dice, shape));
    if dice.chance(shape.repeat) {
        // What agents return does not depend on the round, so that rounds are what counts.
        let until = ["round > 1", "output.n > 4", "last != null"][dice.below(3)];
        step.insert("repeat".into(), json!({"until": until, "max": dice.below(4) + 1, "accept": dice.chance(70)}));
    }
    if shape.cost && dice.chance(40) {
        let cost_per_run = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0][dice.below(6)];
        step.insert("limits".into(), json!({ "cost_per_run": cost_per_run }));
    }
    step.insert("on_give_up".into(), json!(if dice.chance(shape.fail) { "fail" } else { "stall" }));
    if dice.chance(shape.kinds) {
        step.insert("on_give_up".into(), json!(["stall", "fail", "continue"][dice.below(3)]));
        random_kind(dice, &mut step, shape);
        if step.contains_key("repeat")
            && ["value", "switch", "wait", "signal", "emit"].iter().any(|it| step.contains_key(*it))
        {
            step.remove("repeat");
        }
    }
    let alone = ["foreach", "repeat", "value", "switch", "wait", "signal", "emit", "workflow"];
    if shape.handoff > 0 && !alone.iter().any(|it| step.contains_key(*it)) && dice.chance(shape.handoff) {
        step.insert("handoff".into(), random_handoff(dice, shape));
    }
    step
}

/// What agents return does not depend on who they are, so that rounds say who is next: in a circle, to a stranger, or on until
/// there is nobody left.
fn random_handoff(dice: &mut Dice, shape: &Shape) -> Value {
    let next = [
        "round < 2 ? ['agent-hand-a', 'agent-hand-b'][round] : null",
        "output.n > 4 && round < 3 ? 'agent-hand-a' : null",
        "round == 0 ? 'agent-hand-b' : output.n > 8 ? 'nobody' : null",
        "'agent-hand-a'",
    ][dice.below(4)];
    let mut hands = |name: &str| {
        let mut hand = json!({"agent": name, "retry": random_retry(dice, shape)});
        // A limit is the same wherever the agent works.
        if shape.cost && name == "hand-b" {
            hand["limits"] = json!({"cost_per_run": 0.75});
        }
        hand
    };
    let to = [hands("hand-a"), hands("hand-b")];
    let mut handoff = json!({"to": to, "next": next, "max": dice.below(4) + 1});
    if dice.chance(50) {
        handoff["with"] = json!({"from": "${output.n}", "round": "${round}"});
    }
    handoff
}

/// Makes a step one of another kind, or leaves it to its agent.
fn random_kind(dice: &mut Dice, step: &mut Map<String, Value>, shape: &Shape) {
    let (field, value) = match dice.below(if shape.approvals { 9 } else { 8 }) {
        0 => ("value", json!({"n": dice.below(10), "list": list(dice, 4)})),
        1 => ("switch", json!([{"case": "big", "when": "input.n > 4"}, {"case": "go", "when": "input.go"}])),
        2 => ("switch", json!([{"case": "big", "when": "input.n > 4"}, {"case": "small"}])),
        3 => ("wait", json!(dice.below(3))),
        4 => ("signal", json!(["go", "stop"][dice.below(2)])),
        5 => ("emit", json!("something.happened")),
        6 => ("workflow", json!("other@1.0.0")),
        8 => ("approve", json!({"quorum": dice.below(2) + 1, "expires_ms": 3_600_000})),
        _ => return,
    };
    step.insert(field.into(), value);
    if field == "workflow" {
        // What is run below expects what every random plan does.
        let with = step.entry("with").or_insert_with(|| json!({}));
        for part in ["go", "n", "list"] {
            with[part] = json!(format!("${{input.{part}}}"));
        }
        if dice.chance(25) {
            step.insert("detach".into(), json!(true));
            step.remove("repeat");
        }
    }
    if field == "signal" && shape.total && dice.chance(50) {
        step.insert("timeout_ms".into(), json!(dice.below(2000)));
    }
}

fn random_when(dice: &mut Dice, source: Option<&str>, of_single: Option<&str>) -> String {
    match (dice.below(4), source, of_single) {
        (0, Some(step), _) => format!("steps.{step}.status == 'SUCCEEDED'"),
        (1, _, Some(step)) => format!("steps.{step}.output.n > 4"), // fails if that step was skipped
        (2, ..) => "input.n > 3".into(),
        _ => "input.go".into(),
    }
}

fn random_retry(dice: &mut Dice, shape: &Shape) -> Value {
    let mut retry = json!({"max_attempts": dice.below(4) + 1, "initial_ms": dice.below(2) * 100, "jitter": 0.2});
    if shape.total && dice.chance(30) {
        retry["total_ms"] = json!(dice.below(300));
    }
    retry
}
