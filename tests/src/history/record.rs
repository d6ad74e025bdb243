//! Records a version: plays what has no file yet and writes down what the run log says and what the engine makes of it.

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kapelle_bus::registry::{Kind, Registered, Registry};
use kapelle_engine::{KeyId, RunSubmitted};
use kapelle_proto::bucket;
use kapelle_types::{Sha256, Timestamp, Version};

use super::fold::{decode, fold, submission};
use super::scenario::{SCENARIOS, Scenario};
use super::stage::Stage;
use super::{Bench, History, Made, Stored, folder};

/// Plays every scenario that has no file in this version's folder. What is there is never written anew.
pub async fn record(version: &str) {
    let folder = folder().join(version);
    fs::create_dir_all(&folder).unwrap();
    let bench = Bench::start().await;
    for scenario in SCENARIOS {
        let file = folder.join(format!("{}.json", scenario.name));
        if file.exists() {
            continue;
        }
        let history = play(scenario, &bench).await;
        let text = serde_json::to_string_pretty(&history).unwrap() + "\n";
        fs::File::create_new(&file).and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes())).unwrap();
    }
}

async fn play(scenario: &Scenario, bench: &Bench) -> History {
    let stage = Stage::set(scenario.name).await;
    let run = (scenario.play)(&stage).await;
    let records = stage.log(run).await.iter().map(Stored::of).collect();
    let shows = scenario.shows.to_owned();
    let (manifests, objects, signing_keys) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let mut history = History { shows, run, manifests, records, objects, signing_keys, made: nothing() };
    history.objects = objects_of(&stage, &history).await;
    let log = decode(&history);
    let submitted = submission(&log).unwrap();
    history.manifests = manifests_of(&stage, submitted).await;
    history.signing_keys = key_of(&stage, submitted).await;
    let fresh = bench.run(&history).await.unwrap();
    history.made = fold(&history, &fresh);
    let view = stage.api.get(&run.to_string()).await;
    assert_eq!(view.status().as_str_name(), format!("RUN_STATUS_{}", history.made.status), "{}", scenario.name);
    stage.strike().await;
    history
}

/// The values that the log refers to, as far as they are stored.
async fn objects_of(stage: &Stage, history: &History) -> BTreeMap<Sha256, String> {
    let mut objects = BTreeMap::new();
    for record in decode(history).into_iter().filter_map(|(_, record)| record.ok()) {
        for mut entry in record.entries {
            let own = entry.body.payload_mut().and_then(|payload| payload.stored);
            let kept = entry.body.kept_mut().iter_mut().filter_map(|kept| kept.payload_mut()?.stored);
            for stored in own.into_iter().chain(kept) {
                let Ok(value) = stage.bus.payloads().get(&stored).await else { continue };
                let text = value.to_string();
                assert_eq!(Sha256::of(text.as_bytes()), stored.sha256, "the text is not what was stored");
                objects.insert(stored.sha256, text);
            }
        }
    }
    objects
}

/// The workflow and its agents. Where they came from and when is left out: it names a machine.
async fn manifests_of(stage: &Stage, submitted: &RunSubmitted) -> Vec<Registered> {
    let registry = Registry::open(&stage.bus).await.unwrap();
    let workflow = &submitted.workflow;
    let mut wanted: Vec<(Kind, &str, &Version)> = vec![(Kind::Workflow, workflow.name.as_str(), &workflow.version)];
    for agent in submitted.pins.iter().map(|p| &p.agent) {
        let agent = (Kind::Agent, agent.name.as_str(), &agent.version);
        if !wanted.contains(&agent) {
            wanted.push(agent);
        }
    }
    let mut found = Vec::new();
    for (kind, name, version) in wanted {
        let record = registry.get(kind, name, version).await.unwrap().unwrap();
        found.push(Registered {
            force_reason: String::new(),
            origin: String::new(),
            applied_by: "recorder".into(),
            applied_at: Timestamp::default(),
            ..record
        });
    }
    found
}

/// The key that the submission names. It was made for this recording and signs nothing else.
async fn key_of(stage: &Stage, submitted: &RunSubmitted) -> BTreeMap<KeyId, String> {
    let Some(number) = submitted.signing_key else { return BTreeMap::new() };
    let keys = stage.bus.jetstream().get_key_value(bucket::KEYS).await.unwrap();
    let key = keys.get(number.to_string()).await.unwrap().unwrap();
    [(number, STANDARD.encode(key))].into()
}

/// Until the engine was asked.
const fn nothing() -> Made {
    Made {
        behaviour: None,
        status: String::new(),
        output: None,
        error_code: None,
        decided_seq: None,
        steps: Vec::new(),
        records: Vec::new(),
    }
}
