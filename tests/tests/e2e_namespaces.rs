//! docs/guides/namespaces.md, command by command, through the binary at a real broker: from no keys at all to a run, and back.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use kapelle_broker::Binary;
use kapelle_tests::harness::manifests::{one_step, process_agent};
use kapelle_tests::harness::{Cli, Lab, eventually};
use serde_json::Value;

/// Takes a task and gives its input back.
const ECHO: &str =
    "import sys, json\nt = json.loads(sys.stdin.readline())\nprint(json.dumps({'id': t['id'], 'output': t['input']}))";
const ANY: [&str; 4] = ["--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];

/// The environment that the guide exports, as arguments.
struct Place {
    lab: Lab,
    url: String,
    port: u16,
}

impl Place {
    /// `kapelle broker init`, and a nats-server that includes what it wrote.
    async fn start() -> Self {
        let mut lab = Lab::new();
        let here = lab.folder().display().to_string();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let accounts = format!("{here}/accounts");
        lab.cli("http://127.0.0.1:1")
            .json(&["broker", "init", "--operator-dir", "operator", "--accounts-dir", &accounts])
            .await;
        let conf = format!(
            "server_name: test\nlisten: \"127.0.0.1:{port}\"\ninclude \"operator/broker.conf\"\n\
             jetstream {{ store_dir: \"{here}/store\", max_file_store: 64GB, limits {{ default_max_consumers: -1 }} }}\n"
        );
        let file = lab.write("nats.conf", conf);
        let binary = Binary::find(None, None).await.unwrap().path;
        lab.launch("nats", std::process::Command::new(binary).arg("-c").arg(file));
        Self { lab, url: format!("nats://127.0.0.1:{port}"), port }
    }

    fn cli(&self, address: &str) -> Cli {
        self.lab.cli(address)
    }

    async fn told(&self, arguments: &[&str]) -> Value {
        self.cli("http://127.0.0.1:1").json(arguments).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_leads_from_no_keys_to_a_run_and_back() {
    let mut place = Place::start().await;
    let url = place.url.clone();
    let (operator, broker) = (["--operator-dir", "operator"], ["--nats-url", url.as_str()]);
    let both = [&operator[..], &broker[..]].concat();
    eventually("the broker listens", || async { std::net::TcpStream::connect(("127.0.0.1", place.port)).ok() }).await;
    let again =
        place.cli("http://127.0.0.1:1").run(&["broker", "init", "--operator-dir", "operator", "-o", "json"]).await;
    assert_eq!(again.expect(1).error()["code"], "K0510");

    let made = place
        .told(&[&["namespace", "create", "legal", "--storage", "4GiB", "--partitions", "4"], &both[..]].concat())
        .await;
    assert_eq!(made["quotas"]["storage_bytes"], 4_u64 << 30);
    let issue = |role: &'static str, name: &'static str, out: &'static str| {
        [&["credentials", "issue", role, "--namespace", "legal", "--name", name, "--out", out][..], &operator[..]]
            .concat()
    };
    place.told(&issue("coordinator", "c1", "c1.creds")).await;
    let mode = fs::metadata(place.lab.folder().join("c1.creds")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let start =
        [&["coordinator", "start", "--nats-creds", "c1.creds", "--partitions", "4"], &broker[..], &ANY].concat();
    let (coordinator, ready) = place.lab.start_role("coordinator", &start).await;
    assert_eq!(ready["id"], "c1", "its id is the name in its credentials");
    let address = format!("http://{}", ready["grpc_address"].as_str().unwrap());

    place.told(&issue("coordinator", "setup", "setup.creds")).await;
    let create = ["token", "create", "root", "--role", "admin", "--sees-payloads", "--nats-creds", "setup.creds"];
    let token = place.told(&[&create[..], &broker].concat()).await;
    assert_eq!(token["namespace"], "legal", "whose token it is follows from the credentials");
    let cli = place.cli(&address).with_token(token["token"].as_str().unwrap());
    place.lab.write("agents/echo.yaml", process_agent("echo", &["python3", "-c", ECHO], "once", "20s"));
    place.lab.write("agents/play.yaml", one_step("play", "echo"));
    cli.json(&["apply", "-f", "agents"]).await;

    let pool = |agent: &'static str| [&issue("worker", "pool-a", "pool-a.creds")[..], &["--agent", agent]].concat();
    assert_eq!(cli.run(&pool("nobody@1.0.0")).await.code, 4, "an agent that is not registered");
    cli.json(&pool("echo@1.0.0")).await;
    let start =
        ["worker", "start", "--agents", "agents", "--nats-creds", "pool-a.creds", "--metrics-address", "127.0.0.1:0"];
    let (worker, ready) = place.lab.start_role("worker", &[&start[..], &broker].concat()).await;
    assert!(ready["id"].as_str().unwrap().starts_with("pool-a."), "{ready}");
    place.lab.write("input.json", r#"{"now": "they play together"}"#);
    let run = cli.json(&["run", "execute", "play", "--input", "input.json"]).await;
    assert_eq!((&run["status"], &run["output"]["now"]), (&"COMPLETED".into(), &"they play together".into()));

    let described = place.told(&[&["namespace", "describe", "legal"], &both[..]].concat()).await;
    assert!(described["used"]["streams"].as_u64().unwrap() > 10, "{described}");
    let in_use = cli.run(&[&["namespace", "delete", "legal", "--yes", "-o", "json"], &both[..]].concat()).await;
    assert_eq!(in_use.expect(1).error()["code"], "K0512");

    revoked(&mut place, &cli, &[("pool-a", worker), ("c1", coordinator)], &both).await;
    place.told(&[&["namespace", "delete", "legal", "--force", "legal"], &both[..]].concat()).await;
    let gone = ["token", "create", "late", "--role", "viewer", "--nats-creds", "setup.creds", "-o", "json"];
    assert_eq!(cli.run(&[&gone[..], &broker].concat()).await.expect(3).error()["code"], "K0513");
    assert_eq!(place.told(&[&["namespace", "list"], &operator[..]].concat()).await, serde_json::json!([]));
    place.lab.assert_no_panic();
}

/// Whoever is revoked ends, and says why.
async fn revoked(place: &mut Place, cli: &Cli, parts: &[(&str, String)], both: &[&str]) {
    for (whose, role) in parts {
        place.told(&[&["credentials", "revoke", whose, "--namespace", "legal"], both].concat()).await;
        let status = place.lab.process(role).end(Duration::from_secs(60)).await;
        let said = place.lab.process(role).stderr();
        assert!(
            status.code() == Some(3) && said.contains("K0513") && said.contains("revoked"),
            "{role} {status}: {said}"
        );
    }
    let refused = ["doctor", "--nats-creds", "c1.creds", "-o", "json"];
    let doctor = cli.run(&[&refused[..], &both[2..]].concat()).await.expect(5).json();
    assert!(doctor["checks"][0]["message"].as_str().unwrap().contains("revoked"), "{doctor}");
    let listed = place.told(&[&["credentials", "list", "--namespace", "legal"], &both[..2]].concat()).await;
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|c| (&c["name"], &c["state"])).collect();
    assert_eq!(
        format!("{states:?}"),
        "[(String(\"c1\"), String(\"revoked\")), (String(\"setup\"), String(\"active\")), (String(\"pool-a\"), String(\"revoked\"))]"
    );
}
