//! Bad input of every kind against a fleet under way: each gets a coded error, and nothing is lost, blocked or crashed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::sync::Arc;

use bytes::Bytes;
use kapelle_bus::Bus;
use kapelle_engine::{Body, Entry, RunFinished, RunStatus, StepSucceeded, Usage, Work};
use kapelle_proto::encode_record;
use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Api, Audit, Cli, Fleet, Logbook, Metrics, Pump, Turn, eventually, job};
use kapelle_types::{Payload, Principal, TaskId};
use serde_json::{Value, json};

/// A workflow in which every case makes one mistake.
const INTAKE: &str = r#"apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: intake, version: 1.0.0, owner: tests@example.com }
spec:
  input: { schema: { type: object, required: [n], properties: { n: { type: integer } } } }
  steps:
    - id: first
      agent: scripted@^1
      with: { value: "${input.n}" }
    - id: second
      needs: [first]
      agent: scripted@^1
      when: "${steps.first.output.value > 0}"
      with: "${steps.first.output}"
  output: "${steps.second.output}"
"#;

/// A mistake: what is replaced by what, and the code, line, column and words that it is answered with.
struct Mistake {
    name: &'static str,
    from: &'static str,
    to: String,
    code: &'static str,
    place: (u64, u64),
    words: &'static str,
}

fn mistakes() -> Vec<Mistake> {
    let case = |name, from, to: &str, code, place, words| Mistake { name, from, to: to.into(), code, place, words };
    let long = format!("${{{} > 0}}", ["input.n"; 800].join(" + "));
    let nested = "${[1].all(a, [1].all(b, a == b))}";
    let condition = "${steps.first.output.value > 0}";
    vec![
        case("yaml", "needs: [first]", "needs: [first", "K0101", (12, 12), "bracket"),
        case("tab", "      needs: [first]", "\tneeds: [first]", "K0101", (10, 11), "tab"),
        case("kind", "kind: Workflow", "kind: Worklfow", "K0101", (2, 7), "did you mean `Workflow`?"),
        case("field", "needs: [first]", "neds: [first]", "K0101", (11, 7), "did you mean `needs`?"),
        case("missing", ", owner: tests@example.com", "", "K0101", (3, 1), "`owner`"),
        case("type", "needs: [first]", "needs: first", "K0101", (11, 14), "list"),
        case("step-id", "id: second", "id: second-step", "K0102", (10, 11), "lower-case"),
        case("duration", "needs: [first]", "timeout: 5 minutes", "K0102", (11, 16), "1h30m"),
        case("no-step", "needs: [first]", "needs: [frist]", "K0103", (11, 15), "did you mean `first`?"),
        case(
            "no-step-in-expression",
            "\"${steps.first.output}\"",
            "\"${steps.frist.output}\"",
            "K0103",
            (14, 16),
            "`first`",
        ),
        case("cycle", "with: { value: \"${input.n}\" }", "needs: [second]", "K0104", (7, 11), "first → second → first"),
        case("syntax", condition, "${steps.first.output.value >}", "K0105", (13, 42), "value is expected"),
        case("unclosed", condition, "${steps.first.output.value", "K0105", (13, 16), "}"),
        case("no-name", "${input.n}", "${inptu.n}", "K0106", (9, 25), "did you mean `input`?"),
        case("no-field", "${input.n}", "${input.m}", "K0106", (9, 25), "`n`"),
        case("no-function", condition, "${sise(steps.first.output) > 0}", "K0106", (13, 16), "did you mean `size`?"),
        case("too-long", condition, &long, "K0107", (13, 16), "4096"),
        case("too-deep", condition, nested, "K0107", (13, 16), "inside another"),
        case("no-agent", "scripted@^1", "scriptd@^1", "K0108", (8, 14), "did you mean `scripted`?"),
        case("no-version", "scripted@^1", "scripted@^7", "K0108", (8, 14), "1.0.0"),
        case("schema", "{ type: object, required", "{ type: objekt, required", "K0110", (5, 28), "objekt"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_a_coded_error_and_nothing_else_notices() {
    let _turn = Turn::take().await;
    let mut fleet = Fleet::start(2).await;
    fleet.register(&[scripted_agent(64), chain("two-steps", 2)]).await;
    fleet.start_worker(32).await;
    let book = Arc::new(Logbook::open(fleet.bus().await));
    let input = |n| json!({ "value": n, "sleep_ms": 50 });
    let pump = Pump::start(fleet.api.clone(), Arc::clone(&book), "two-steps", (100, usize::MAX), input);
    book.work_goes_on(50).await;
    let cli = fleet.cli();

    let before = registered(&cli).await;
    manifests_are_refused(&fleet, &cli).await;
    assert_eq!(registered(&cli).await, before, "nothing was registered");
    requests_are_refused(&fleet, &cli).await;
    huge_payloads_are_refused(&fleet, &cli).await;
    let sent = throw_garbage(book.bus(), &book).await;
    book.work_goes_on(300).await;

    let acked = pump.stop().await;
    book.all_ended().await;
    let audit = Audit::of(&book).await;
    println!("{sent} messages of garbage; {}", audit.summary());
    audit.assert_completed_once(2);
    assert_eq!(acked.len(), audit.runs.len(), "nothing is lost and nothing comes of nothing");
    assert!(cli.json(&["dlq", "list"]).await.as_array().unwrap().is_empty(), "garbage is no dead letter");
    refusals_are_counted(&fleet).await;
    fleet.stop().await;
}

/// Agents and workflows as they are listed.
async fn registered(cli: &Cli) -> (Value, Value) {
    (cli.json(&["agent", "list"]).await, cli.json(&["workflow", "list"]).await)
}

async fn manifests_are_refused(fleet: &Fleet, cli: &Cli) {
    let mut faults = Vec::new();
    for mistake in mistakes() {
        faults.extend(fault(fleet, cli, &mistake).await);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    whole_files_are_refused(fleet, cli).await;
    // All of them or nothing: a good manifest beside a broken one is not registered either.
    fleet.lab.write("folder/good.yaml", INTAKE);
    fleet.lab.write("folder/worse.yaml", INTAKE.replace("needs: [first]", "needs: [frist]").replace("intake", "other"));
    let error = cli.run(&["apply", "-f", "folder", "-o", "json"]).await.expect(1).error();
    assert_eq!(error["code"], "K0103", "{error:#}");
    // A version is immutable.
    fleet.lab.write("again.yaml", chain("two-steps", 3).to_string());
    let error = cli.run(&["apply", "-f", "again.yaml", "-o", "json"]).await.expect(1).error();
    assert_eq!(error["code"], "K0109", "{error:#}");
}

/// What is not as it should be in the answer to a mistake, for programs and for people.
async fn fault(fleet: &Fleet, cli: &Cli, mistake: &Mistake) -> Option<String> {
    let Mistake { name, from, to, code, place, words } = mistake;
    assert!(INTAKE.contains(from), "{name}");
    let file = format!("{name}.yaml");
    fleet.lab.write(&file, INTAKE.replacen(from, to, 1));
    let error = cli.run(&["apply", "-f", &file, "-o", "json"]).await.expect(1).error();
    let problem = &error["problems"][0];
    let at = (problem["line"].as_u64()?, problem["column"].as_u64()?);
    let said = format!("{} {}", problem["message"], problem["hint"]);
    let people = cli.run(&["apply", "-f", &file]).await.expect(1).stderr;
    let shown = people.contains(&format!("{file}:{}:{}", at.0, at.1)) && people.contains(code);
    let right = problem["code"] == *code && at == *place && said.contains(words) && shown;
    (!right).then(|| format!("{name}: {} at {at:?}, shown {shown}: {said}", problem["code"]))
}

/// Files that are wrong as a whole.
async fn whole_files_are_refused(fleet: &Fleet, cli: &Cli) {
    let bomb: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))).collect();
    let files: [(&str, Vec<u8>, &str); 5] = [
        ("bomb", format!("a0: &a0 [x]\n{bomb}").into_bytes(), "K0111"),
        ("deep", format!("a: {}\n", "[".repeat(100_000)).into_bytes(), "K0111"),
        ("large", vec![b'#'; 2 << 20], "K0111"),
        ("binary", vec![0xff, 0xfe, 0x00, 0x80], "K0101"),
        ("empty", Vec::new(), "K0112"),
    ];
    for (name, content, code) in files {
        fleet.lab.write(&format!("{name}.yaml"), content);
        let error = cli.run(&["apply", "-f", &format!("{name}.yaml"), "-o", "json"]).await.expect(1).error();
        assert_eq!(error["code"], code, "{name}: {error:#}");
    }
    let error = cli.run(&["apply", "-f", "nowhere.yaml", "-o", "json"]).await.expect(1).error();
    assert_eq!(error["code"], "K0112", "{error:#}");
}

async fn requests_are_refused(fleet: &Fleet, cli: &Cli) {
    fleet.lab.write("intake.yaml", INTAKE);
    cli.json(&["apply", "-f", "intake.yaml"]).await;
    let nobody = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
    let requests: [(&[&str], i32, &str, &str); 9] = [
        (&["run", "execute", "intkae", "--input", "{}"], 4, "K0201", "`intake`"),
        (&["run", "execute", "intake", "--version", "^9"], 4, "K0201", "^9"),
        (&["run", "execute", "intake", "--input", r#"{"n": "one"}"#], 1, "K0202", "/n"),
        (&["run", "execute", "intake", "--input", "{}"], 1, "K0202", "\"n\""),
        (&["run", "execute", "intake", "--input", "{\"n\": }"], 1, "K0204", "line 1"),
        (&["run", "describe", nobody], 4, "K0205", nobody),
        (&["run", "describe", "not-a-run"], 2, "K0209", "not-a-run"),
        (&["run", "cancel", nobody], 4, "K0205", nobody),
        (&["dlq", "show", nobody, "first"], 4, "K0211", ""),
    ];
    for (arguments, exit, code, words) in requests {
        let error = cli.run(&[arguments, &["-o", "json"]].concat()).await.expect(exit).error();
        assert_eq!(error["code"], code, "{arguments:?}: {error:#}");
        let said = format!("{} {}", error["message"], error["hint"]).replace("\\\"", "\"");
        assert!(said.contains(words), "{arguments:?}: {said} does not say {words}");
    }
    let key = "k".repeat(300);
    let error = cli.run(&["run", "start", "intake", "--key", &key, "--input", "{\"n\": 1}", "-o", "json"]).await;
    assert_eq!(error.expect(1).error()["code"], "K0208");
}

/// 100 MB through every door.
async fn huge_payloads_are_refused(fleet: &Fleet, cli: &Cli) {
    const HUGE: usize = 100 << 20;
    let huge = format!("\"{}\"", "x".repeat(HUGE));
    fleet.lab.write("huge.json", &huge);
    let error = cli.run(&["run", "execute", "two-steps", "--input", "huge.json", "-o", "json"]).await.expect(1).error();
    assert_eq!(error["code"], "K0203", "{error:#}");
    let refused = fleet.api.submit(job("two-steps", None, &Value::String("x".repeat(HUGE)))).await.unwrap_err();
    assert_eq!(Api::code(&refused), "K0203", "{refused:?}");
    let client = fleet.bus().await.client().clone();
    let published = client.publish("kapelle.submit.two-steps", huge.into_bytes().into()).await;
    assert!(published.is_err(), "the broker takes no message of 100 MB");
}

/// Garbage on every subject that anybody reads, also on those of runs that are open. Says how much it was.
async fn throw_garbage(bus: &Bus, book: &Logbook) -> usize {
    let real: Vec<String> = book.open_ids().iter().take(20).map(ToString::to_string).collect();
    assert!(!real.is_empty(), "runs are open");
    let unknown = ["0192f3c4-5a6b-7c8d-9e0f-112233445566".to_owned(), "not-a-run".to_owned()];
    let mut subjects = Vec::new();
    for partition in bus.partitions().all() {
        for run in real.iter().chain(&unknown) {
            subjects.extend(["control", "report", "nonsense"].map(|c| format!("kapelle.run.{partition}.{run}.{c}")));
            subjects.push(format!("kapelle.timer.{partition}.{run}.nonsense"));
            subjects.push(format!("kapelle.settled.{run}"));
        }
        subjects.push(format!("$KV.cursors.{partition}"));
    }
    for run in unknown {
        subjects.push(format!("kapelle.task.scripted.1_0_0.{run}.s0.1"));
        subjects.push(format!("kapelle.dead.scripted.1_0_0.{run}.s0"));
    }
    subjects.extend(
        [
            "kapelle.task.scripted.1_0_0.nonsense",
            "kapelle.submit.intake",
            "kapelle.submit.nowhere",
            "kapelle.submit.NOT_A_NAME",
            "kapelle.coordinator.alive",
            "kapelle.coordinator.list.nobody",
            "kapelle.event.nonsense",
            "$KV.presence.worker_nobody",
            "$KV.registry.agent_nobody",
            "$KV.registry.agent.nobody.1_0_0",
        ]
        .map(str::to_owned),
    );
    let garbage: [&[u8]; 4] = [b"\xff\x00garbage", b"", b"{not json", &[0; 4_096]];
    for subject in &subjects {
        for payload in garbage {
            bus.client().publish(subject.clone(), payload.to_vec().into()).await.unwrap();
        }
    }
    let mut sent = subjects.len() * garbage.len();
    for run in &real {
        for payload in forgeries() {
            let partition = bus.partitions().of(&run.parse().unwrap());
            bus.client().publish(format!("kapelle.run.{partition}.{run}.report"), payload).await.unwrap();
            sent += 1;
        }
    }
    bus.client().flush().await.unwrap();
    sent
}

/// Reports that are well formed and wrong: ends that only the control plane may write, steps and attempts that do not exist,
/// a newer release, half a message.
fn forgeries() -> Vec<Bytes> {
    let entry = |body| Entry { id: "forged".into(), principal: Principal("nobody".into()), traceparent: None, body };
    let finished =
        RunFinished { status: RunStatus::Failed, output: None, error: None, decided_seq: 1, continued_as: None };
    let succeeded = |step: &str, attempt| {
        let task = TaskId { step: step.parse().unwrap(), attempt };
        let output = Payload::inline(json!("forged"));
        Body::StepSucceeded(StepSucceeded { task, output, work: Work::default(), usage: Usage::default(), token: None })
    };
    let bodies = [
        Body::RunFinished(Box::new(finished)),
        Body::CancelRequested { reason: "forged".into() },
        succeeded("nowhere", 1),
        succeeded("s0:7", 1),
        succeeded("s0", 4_000_000),
    ];
    let mut all: Vec<Bytes> = bodies.into_iter().map(|body| encode_record(&[entry(body)])).collect();
    all.extend([Bytes::from_static(&[0x08, 0x63]), all[0].slice(..all[0].len() / 2)]);
    all
}

async fn refusals_are_counted(fleet: &Fleet) {
    eventually("refused entries are counted", || async {
        let mut refused = 0.0;
        for coordinator in &fleet.coordinators {
            let metrics = Metrics::of(&coordinator.metrics).await;
            refused += metrics.sum("kapelle_entries_refused_total", "").unwrap_or(0.0);
        }
        (refused > 100.0).then(|| println!("{refused} messages were counted as refused"))
    })
    .await;
    let mut codes = String::new();
    for coordinator in &fleet.coordinators {
        codes += &Metrics::of(&coordinator.metrics).await.text;
    }
    for code in ["K0201", "K0202", "K0204", "K0208"] {
        let series = format!("kapelle_submissions_refused_total{{code=\"{code}\"}}");
        assert!(codes.contains(&series), "{series} is counted");
    }
}
