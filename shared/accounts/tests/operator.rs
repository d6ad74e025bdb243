//! The operator's folder and what it signs, as far as that can be seen without a broker; `tests/tests/e2e_permissions` has the rest.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kapelle_accounts::{Error, Operator, Quotas, Record, State, Wanted};
use kapelle_bus::Credentials;
use kapelle_policy::Policies;
use kapelle_types::{Partitions, Role, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn made() -> (TempDir, Operator, Record) {
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator::init(&folder.path().join("o"), "test", Path::new("/var/lib/nats/accounts"), NOW).unwrap();
    let record =
        operator.create("legal".parse().unwrap(), Partitions::new(2).unwrap(), Quotas::default(), NOW).unwrap();
    (folder, operator, record)
}

fn worker(name: &str, agent: &str) -> Wanted {
    Wanted { name: name.parse().unwrap(), role: Role::Worker, agents: vec![agent.parse().unwrap()], life: DAY }
}

fn claims(jwt: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn accounts(operator: &Operator, record: &Record) -> [Value; 3] {
    let signed = operator.accounts(record, &Policies::embedded().unwrap(), NOW).unwrap();
    [claims(&signed[0]), claims(&signed[1]), claims(&signed[2])]
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, u32)) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        visit(&entry.path(), mode);
        if entry.path().is_dir() {
            walk(&entry.path(), visit);
        }
    }
}

#[test]
fn keys_are_for_their_owner_alone_and_never_overwritten() {
    let (folder, operator, record) = made();
    let mut seen = 0;
    walk(folder.path(), &mut |path, mode| {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        seen += 1;
    });
    assert!(seen > 15, "{seen}");
    let again = Operator::init(&folder.path().join("o"), "test", Path::new("/x"), NOW);
    assert!(matches!(again, Err(Error::Folder(_))));
    let twice = operator.create(record.name.clone(), record.partitions, Quotas::default(), NOW);
    assert!(matches!(twice, Err(Error::Invalid(_))));
    let conf = fs::read_to_string(folder.path().join("o/broker.conf")).unwrap();
    let is_seed = |word: &str| word.len() == 58 && word.starts_with('S');
    assert!(!conf.split_whitespace().any(is_seed), "no seed is in it");
    drop(operator);
    assert!(matches!(Operator::open(folder.path()), Err(Error::Folder(_))));
    assert_eq!(Operator::open(&folder.path().join("o")).unwrap().namespaces().unwrap(), [record]);
}

#[test]
fn a_user_is_a_name_and_its_agents_and_the_account_says_what_that_means() {
    let (_folder, operator, mut record) = made();
    let (issued, file) = operator.issue(&mut record, worker("w1", "echo@1.0.0"), NOW).unwrap();
    let jwt = file.lines().nth(1).unwrap();
    let user = claims(jwt);
    assert_eq!(user["iss"], json!(record.signers[&Role::Worker]));
    assert_eq!(user["exp"], 1_800_000_000 + 24 * 3600);
    assert_eq!(user["nats"]["tags"], json!(["namespace:legal", "queue:echo-1_0_0", "agent:echo.1_0_0"]));
    assert_eq!(user["nats"]["issuer_account"], json!(record.workers));
    assert!(user["nats"]["pub"].is_null() && user["nats"]["sub"].is_null());
    assert_eq!(Credentials::parse(&file).unwrap().name(), "w1");
    assert_eq!(operator.namespace(&record.name).unwrap().credentials, [issued]);

    let [core, edge, workers] = accounts(&operator, &record);
    let roles = |account: &Value| -> Vec<String> {
        let keys = account["nats"]["signing_keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["role"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(roles(&core), ["coordinator"]);
    assert_eq!((roles(&edge).len(), roles(&workers)), (6, vec!["worker".to_owned()]));
    for outside in [edge, workers] {
        assert!(outside["nats"]["limits"]["disk_storage"].is_null(), "no streams but in the core");
    }
    assert_eq!(core["nats"]["limits"]["disk_storage"], json!(10_u64 << 30));
}

/// What only coordinators do is not even exported: no mistake in a template could give it to a worker.
#[test]
fn the_edge_can_ask_for_nothing_that_only_coordinators_may() {
    let (_folder, operator, record) = made();
    let [core, edge, workers] = accounts(&operator, &record);
    let subjects = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect()
    };
    let exports = subjects(&core["nats"]["exports"]);
    let imports = [&edge, &workers].map(|account| subjects(&account["nats"]["imports"]));
    let mut all = imports.concat();
    all.sort();
    all.dedup();
    assert_eq!(exports, all);
    let [of_people, of_workers] = imports;
    assert!(
        !of_workers.iter().any(|subject| subject.contains("event") || subject.contains("submit")),
        "{of_workers:?}"
    );
    assert!(
        !of_people.iter().any(|subject| subject.contains("payloads.>") || subject.contains("report")),
        "{of_people:?}"
    );
    for inside in [
        "control",
        "KV_keys",
        "KV_tokens",
        "timer",
        "kapelle.task",
        "CONSUMER.CREATE",
        "PURGE",
        "STREAM.CREATE",
        "_INBOX",
    ] {
        let found: Vec<_> = exports.iter().filter(|subject| subject.contains(inside)).collect();
        let inspected = found.iter().all(|subject| subject.starts_with("$JS.API.STREAM.INFO."));
        assert!(inspected, "{inside}: {found:?}");
    }
    assert!(exports.contains(&"kapelle.run.*.*.report".to_owned()));
}

#[test]
fn what_is_revoked_is_said_until_it_would_have_expired() {
    let (_folder, operator, mut record) = made();
    let (issued, _) = operator.issue(&mut record, worker("w1", "echo@1.0.0"), NOW).unwrap();
    operator.issue(&mut record, worker("w2", "echo@1.0.0"), NOW).unwrap();
    assert_eq!(record.revoke("w1", NOW), 1);
    assert_eq!(record.revoke("w1", NOW), 0);
    assert_eq!(record.credentials[0].state(NOW), State::Revoked);
    assert_eq!(record.credentials[1].state(NOW.plus(DAY)), State::Expired);
    let [core, edge, workers] = accounts(&operator, &record);
    assert_eq!(workers["nats"]["revocations"], json!({ issued.public_key: 1_800_000_000 }));
    assert_eq!((&core["nats"]["revocations"], &edge["nats"]["revocations"]), (&json!({}), &json!({})));
    let later = operator.accounts(&record, &Policies::embedded().unwrap(), NOW.plus(DAY)).unwrap();
    assert_eq!(claims(&later[2])["nats"]["revocations"], json!({}));
}

#[test]
fn senseless_credentials_are_refused() {
    let (_folder, operator, mut record) = made();
    operator.issue(&mut record, worker("w1", "echo@1.0.0"), NOW).unwrap();
    let publisher = |name: &str| Wanted { role: Role::Publisher, agents: Vec::new(), ..worker(name, "echo@1.0.0") };
    for (bad, why) in [
        (Wanted { agents: Vec::new(), ..worker("w2", "echo@1.0.0") }, "a worker without agents"),
        (Wanted { agents: worker("p", "echo@1.0.0").agents, ..publisher("p") }, "a publisher with agents"),
        (worker("w2", "echo@1.0.0-RC1"), "a version that a tag cannot say"),
        (Wanted { life: Duration::ZERO, ..worker("w2", "echo@1.0.0") }, "no life"),
        (Wanted { life: DAY * 400, ..worker("w2", "echo@1.0.0") }, "a life too long"),
        (publisher("w1"), "another role's name"),
    ] {
        assert!(matches!(operator.issue(&mut record, bad, NOW), Err(Error::Invalid(_))), "{why}");
    }
    assert_eq!(record.credentials.len(), 1);
}
