//! Every way in which a program can fail, with real programs.

use std::path::Path;
use std::time::Duration;

use kapelle_engine::{FailureKind, TaskLimits};
use kapelle_proto::Task;
use kapelle_types::{Payload, Principal, RunId, StepRef, TaskId, Timestamp, limits};
use serde_json::json;
use tokio::time::Instant;

use kapelle_types::Code;

use super::*;
use crate::access::{Access, Limits};
use crate::sandbox::Sandbox;
use crate::usage::Meter;

/// Answers each task with what `answer(task)` returns.
const PYTHON: &str = "import sys, json, os\nfor line in sys.stdin:\n    t = json.loads(line)\n";

fn task(limit: Duration) -> Task {
    let run_id = RunId::keyed("default", &"w".parse().unwrap(), "process");
    Task {
        run_id,
        task: TaskId { step: StepRef::member("review".parse().unwrap(), 17), attempt: 2 },
        agent: "probe@1.2.0".parse().unwrap(),
        workflow: "w@1.0.0".parse().unwrap(),
        input: Payload::inline(json!({})),
        timeout: limit,
        deadline: None,
        traceparent: None,
        principal: Principal::default(),
        queued_at: Timestamp::default(),
        token: None,
        round: 0,
        chain: vec![],
        limits: TaskLimits::default(),
    }
}

fn runtime(command: &[&str], protocol: Protocol) -> Runtime {
    let command = command.iter().map(|s| (*s).to_owned()).collect();
    let (access, limits) = (Access::default(), Limits::default());
    let spec = ProcessSpec { command, dir: std::env::temp_dir(), protocol, access, limits };
    start(spec, &[])
}

/// What these tests are about is the same with and without the sandbox, whose program another package builds.
fn start(spec: ProcessSpec, variables: &[(&str, &str)]) -> Runtime {
    let path = std::env::var_os("PATH").map(|path| (OsString::from("PATH"), path));
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let environment = path.into_iter().chain(variables).collect();
    let config = Config { id: "worker-1".into(), sandbox: Sandbox::Off, environment, ..Config::new() };
    Runtime::new(spec, "probe@1.2.0".parse().unwrap(), &config).unwrap()
}

fn python(body: &str, protocol: Protocol) -> Runtime {
    let body: String = body.lines().map(|l| format!("    {l}\n")).collect();
    runtime(&["python3", "-u", "-c", &format!("{PYTHON}{body}")], protocol)
}

async fn run_within(runtime: &Runtime, limit: Duration, input: Value) -> Result<Value, Failure> {
    metered(runtime, limit, input, &Arc::default()).await
}

async fn metered(runtime: &Runtime, limit: Duration, input: Value, meter: &Arc<Meter>) -> Result<Value, Failure> {
    let task = task(limit);
    runtime.run(Attempt { task: &task, limit, ends_at: Instant::now() + limit, meter }, &input).await
}

async fn run(runtime: &Runtime, input: Value) -> Result<Value, Failure> {
    run_within(runtime, Duration::from_secs(30), input).await
}

#[track_caller]
fn check(result: Result<Value, Failure>, code: Code, says: &str) -> Failure {
    let failure = result.unwrap_err();
    assert_eq!(failure.code, code.as_str(), "{failure:?}");
    assert!(failure.message.contains(says), "{failure:?}");
    failure
}

fn is_alive(pid: u64) -> bool {
    // A zombie that nobody reaps (the test's own init may not) counts as dead.
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[tokio::test]
async fn a_child_does_many_tasks_and_knows_their_facts() {
    let echo = python(
        "print(json.dumps({'id': t['id'], 'progress': {'done': 1, 'total': 2}}))\n\
         print(json.dumps({'id': t['id'], 'output': [os.getpid(), t], 'usage': {'cost': 0.5, 'input_tokens': 7}}))",
        Protocol::Jsonl,
    );
    let meter = Arc::default();
    let first = metered(&echo, Duration::from_secs(30), json!({ "a": 1 }), &meter).await.unwrap();
    assert_eq!((meter.usage().cost_usd, meter.usage().input_tokens), (0.5, 7));
    let task = &first[1];
    assert_eq!((&task["step"], &task["item"], &task["attempt"]), (&json!("review"), &json!(17), &json!(2)));
    assert_eq!(
        (&task["agent"], &task["version"], &task["input"]),
        (&json!("probe"), &json!("1.2.0"), &json!({ "a": 1 }))
    );
    assert!(task["idempotency_key"].as_str().unwrap().ends_with("/review:17"));
    assert!(Timestamp::parse(task["deadline"].as_str().unwrap()).is_some());
    let second = run(&echo, json!("x".repeat(1 << 20))).await.unwrap();
    assert_eq!(first[0], second[0], "the same process");
}

#[tokio::test]
async fn once_is_one_process_a_task_with_its_facts_in_the_environment() {
    let script = r#"read line; id=$(printf %s "$line" | sed 's/.*"id":"\([^"]*\)".*/\1/');
        printf '{"id":"%s","output":["%s","%s","%s","%s","%s"]}\n' "$id" $$ "$KAPELLE_AGENT@$KAPELLE_VERSION" \
        "$KAPELLE_STEP:$KAPELLE_ITEM#$KAPELLE_ATTEMPT" "$KAPELLE_WORKER" "$KAPELLE_TOKEN"; cat >/dev/null"#;
    let once = runtime(&["sh", "-c", script], Protocol::Once);
    let (first, second) = (run(&once, json!(1)).await.unwrap(), run(&once, json!(2)).await.unwrap());
    assert_ne!(first[0], second[0], "two processes");
    assert_eq!(first[1], "probe@1.2.0");
    assert_eq!(first[2], "review:17#2");
    assert_eq!(first[3], "worker-1");
    assert_eq!(first[4], "", "nothing else is inherited");
}

/// Others find nothing of it in their tasks.
#[tokio::test]
async fn whoever_has_a_step_that_was_handed_on_knows_who_had_it() {
    let limit = Duration::from_secs(30);
    let chain = ["triage@1.0.0", "billing@2.1.0"].map(|it| it.parse().unwrap());
    let handed = Task { chain: chain.to_vec(), round: 2, ..task(limit) };
    let said = async |runtime: &Runtime, task: &Task| {
        let attempt = Attempt { task, limit, ends_at: Instant::now() + limit, meter: &Arc::default() };
        runtime.run(attempt, &json!({})).await.unwrap()
    };
    let body = "print(json.dumps({'id': t['id'], 'output': [t.get('chain'), os.environ.get('KAPELLE_CHAIN')]}))";
    let expected = json!([{ "agent": "triage", "version": "1.0.0" }, { "agent": "billing", "version": "2.1.0" }]);
    assert_eq!(said(&python(body, Protocol::Jsonl), &handed).await, json!([expected, null]));
    let once = python(body, Protocol::Once);
    assert_eq!(said(&once, &handed).await, json!([expected, "triage@1.0.0 billing@2.1.0"]));
    assert_eq!(said(&once, &task(limit)).await, json!([null, null]));
}

/// It would go on for an hour; what it had used up is kept.
#[tokio::test]
async fn whoever_uses_more_than_it_may_is_killed_at_once() {
    let agent = python(
        "for n in (40, 90, 101):\n    print(json.dumps({'id': t['id'], 'progress': {}, 'usage': {'output_tokens': n, 'cost': n / 100}}))\n\
         import time\ntime.sleep(3600)",
        Protocol::Jsonl,
    );
    let meter = Arc::new(Meter::new(TaskLimits { tokens: Some(100), ..TaskLimits::default() }));
    let ended = metered(&agent, Duration::from_secs(3600), json!(1), &meter).await;
    let failure = check(ended, Code::TOKENS_LIMIT, "used 101 tokens, one task may use 100");
    assert!(!failure.retryable);
    assert_eq!((meter.usage().output_tokens, meter.usage().cost_usd), (101, 1.01));
    assert!(agent.idle().is_empty(), "the process is gone");
}

#[tokio::test]
async fn usage_that_makes_no_sense_is_garbage_and_an_error_may_bring_some() {
    let agent = python(
        "for n in t['input']:\n    print(json.dumps({'id': t['id'], 'progress': {}, 'usage': {'tool_calls': n}}))\n\
         print(json.dumps({'id': t['id'], 'error': {'code': 'busy'}, 'usage': {'tool_calls': 7}}))",
        Protocol::Jsonl,
    );
    let meter = Arc::default();
    check(
        metered(&agent, Duration::from_secs(30), json!([2, 1]), &meter).await,
        Code::AGENT_GARBAGE,
        "less than it said",
    );
    assert_eq!(meter.usage().tool_calls, 2);
    let meter = Arc::default();
    let failure = metered(&agent, Duration::from_secs(30), json!([3]), &meter).await.unwrap_err();
    assert_eq!((failure.code.as_str(), meter.usage().tool_calls), ("busy", 7));
}

#[tokio::test]
async fn an_agents_own_error_is_passed_on_and_the_child_kept() {
    let agent = python(
        "e = {'code': 'busy', 'message': 'later', 'retryable': True, 'retry_after_ms': 1500}\n\
         print(json.dumps({'id': t['id'], 'error': e} if t['input'] else {'id': t['id'], 'output': os.getpid()}))",
        Protocol::Jsonl,
    );
    let before = run(&agent, json!(false)).await.unwrap();
    let failure = run(&agent, json!(true)).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str(), failure.retryable), (FailureKind::Agent, "busy", true));
    assert_eq!(failure.retry_after, Some(Duration::from_millis(1500)));
    assert_eq!(run(&agent, json!(false)).await.unwrap(), before);
}

#[tokio::test]
async fn a_crash_is_named_with_its_status_and_last_words_and_the_child_is_replaced() {
    let agent = python(
        "if t['input'] == 'crash':\n    sys.stderr.write('x' * 9000 + 'the reason')\n    sys.exit(3)\n\
         print(json.dumps({'id': t['id'], 'output': os.getpid()}))",
        Protocol::Jsonl,
    );
    let before = run(&agent, json!("")).await.unwrap();
    let failure = check(run(&agent, json!("crash")).await, Code::AGENT_EXITED, "exit status: 3");
    assert!(failure.retryable && failure.evidence.ends_with("the reason"), "{failure:?}");
    assert!(failure.evidence.len() <= limits::EVIDENCE_BYTES_MAX);
    assert_ne!(run(&agent, json!("")).await.unwrap(), before);
}

#[tokio::test]
async fn a_child_that_ended_between_tasks_costs_no_attempt() {
    let agent = python("print(json.dumps({'id': t['id'], 'output': os.getpid()}))\nsys.exit(0)", Protocol::Jsonl);
    let first = run(&agent, json!(1)).await.unwrap();
    while is_alive(first.as_u64().unwrap()) {
        tokio::task::yield_now().await;
    }
    assert_ne!(run(&agent, json!(2)).await.unwrap(), first);
}

#[tokio::test]
async fn a_hang_is_ended_at_the_timeout_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 300 & echo $$ $! > {0}.new; mv {0}.new {0}; echo waiting >&2; wait", pids.display());
    let agent = runtime(&["sh", "-c", &script], Protocol::Jsonl);
    let result = run_within(&agent, Duration::from_millis(500), json!(1)).await;
    let failure = check(result, Code::AGENT_TIMEOUT, "within 0.500 s");
    assert_eq!((failure.kind, failure.evidence.as_str()), (FailureKind::Timeout, "waiting"));
    for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
        while is_alive(pid.parse().unwrap()) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn garbage_and_wrong_ids_are_quoted() {
    for (line, says) in [
        ("print('Loading model…')", "`Loading model…`, which is not a line of the protocol"),
        ("print('{\"id\":\"other\",\"output\":1}')", "an answer to `other`"),
        ("print(json.dumps({'id': t['id']}))", "without exactly one"),
        ("sys.stdout.buffer.write(b'\\xff\\xfe\\n')", "not a line of the protocol"),
    ] {
        assert!(check(run(&python(line, Protocol::Jsonl), json!(1)).await, Code::AGENT_GARBAGE, says).retryable);
    }
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let agent = runtime(&["sh", "-c", "cat /dev/zero"], Protocol::Jsonl);
    let failure = check(run(&agent, json!(1)).await, Code::AGENT_OUTPUT_TOO_LARGE, "above the payload limit");
    assert!(!failure.retryable);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    for command in ["no-such-program-anywhere", "/etc/hostname"] {
        let failure = check(run(&runtime(&[command], Protocol::Jsonl), json!(1)).await, Code::AGENT_START, command);
        assert!(failure.retryable);
    }
    let mut agent = runtime(&["true"], Protocol::Once);
    agent.launch.spec.dir = "/no/such/folder".into();
    check(run(&agent, json!(1)).await, Code::AGENT_START, "/no/such/folder");
}

#[tokio::test]
async fn an_answer_before_the_task_was_read_counts_and_the_child_is_replaced() {
    let script = format!(
        "printf '{{\"id\":\"{}/review:17#2\",\"output\":\"%s\"}}\\n' $$; sleep 300",
        task(Duration::ZERO).run_id
    );
    let agent = runtime(&["sh", "-c", &script], Protocol::Jsonl);
    let large = json!("x".repeat(1 << 20));
    let first = run(&agent, large.clone()).await.unwrap();
    assert_ne!(run(&agent, large).await.unwrap(), first);
}

const CANARY: &str = "canary-4f1c99d0-secret";

/// An agent that was given the canary as its secret.
fn entrusted(body: &str) -> Runtime {
    let body: String = body.lines().map(|l| format!("    {l}\n")).collect();
    let program = format!("{PYTHON}    s = os.environ['CRM_TOKEN']\n{body}");
    let command = ["python3", "-u", "-c", &program].map(str::to_owned).to_vec();
    let access = Access { secrets: vec!["crm-token".parse().unwrap()], ..Access::default() };
    let (dir, limits) = (std::env::temp_dir(), Limits::default());
    let spec = ProcessSpec { command, dir, protocol: Protocol::Jsonl, access, limits };
    start(spec, &[("KAPELLE_SECRET_CRM_TOKEN", CANARY), ("OTHER", "other")])
}

/// Whatever an agent does with its secret by mistake, nothing that leaves the worker has it.
#[tokio::test]
async fn a_secret_reaches_the_agent_and_nobody_behind_it() {
    for (body, code, says) in [
        ("sys.stderr.write('token ' + s); sys.exit(1)", "K0402", "token [secret:crm-token]"),
        ("sys.stderr.write('x' * 20 + s + 'y' * 4085); sys.exit(1)", "K0402", "yyy"),
        ("print('Authorization: ' + s)", "K0403", "Authorization: [secret:crm-token]"),
        ("print('x' * 190 + s)", "K0403", "xxx"),
        ("print(json.dumps({'id': s}))", "K0403", "[secret:crm-token]"),
        ("print(json.dumps({'id': t['id'], 'progress': s}))", "K0403", "[secret:crm-token]"),
        (
            "print(json.dumps({'id': t['id'], 'error': {'code': s, 'message': 'with ' + s}}))",
            "[secret:",
            "with [secret:",
        ),
        ("print(json.dumps({'id': t['id'], 'output': {'deep': ['the ' + s]}}))", "K0413", "`crm-token`"),
        ("print(json.dumps({'id': t['id'], 'output': {s: 1}}))", "K0413", "`crm-token`"),
    ] {
        let failure = run(&entrusted(body), json!(1)).await.unwrap_err();
        let told = format!("{failure:?}");
        assert!(failure.code.starts_with(code) && told.contains(says), "{body}: {told}");
        assert!(!told.contains(&CANARY[..12]) && !told.contains(&CANARY[10..]), "{body}: {told}");
    }
    let used = entrusted("print(json.dumps({'id': t['id'], 'output': [len(s), 'OTHER' in os.environ, s[:6]]}))");
    assert_eq!(run(&used, json!(1)).await.unwrap(), json!([CANARY.len(), false, "canary"]));
}

/// HOME and TMPDIR are one folder of the process's own, which is gone with it.
#[tokio::test]
async fn what_a_child_leaves_in_its_own_folder_is_gone_with_it() {
    let agent = python(
        "h = os.environ['HOME']\nopen(h + '/left', 'w').write('x')\n\
         print(json.dumps({'id': t['id'], 'output': [h, os.environ['TMPDIR'], oct(os.stat(h).st_mode & 0o777)]}))",
        Protocol::Jsonl,
    );
    let seen = run(&agent, json!(1)).await.unwrap();
    assert_eq!((&seen[0], &seen[2]), (&seen[1], &json!("0o700")));
    let home = Path::new(seen[0].as_str().unwrap()).to_owned();
    assert!(home.join("left").exists(), "it stays as long as the process does");
    drop(agent);
    while home.exists() {
        tokio::task::yield_now().await;
    }
}
