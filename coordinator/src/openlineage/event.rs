//! One run event of OpenLineage 2-0-2, made from entries of a run's log and from what is registered.
//!
//! The run is Kapelle's run, the job is `<namespace>/<workflow>`, its datasets are what the workflow takes and gives: their names
//! stay the same from run to run, their versions are the runs, or the digests of payloads that are stored by them. Values are
//! never part of it.

use kapelle_engine::{RunFinished, RunStatus, RunSubmitted};
use kapelle_manifest::{Contract, Workflow};
use kapelle_types::{Namespace, Payload, RunId, Timestamp};
use serde_json::{Map, Value, json};

/// Who makes the events.
const PRODUCER: &str = concat!("https://kapelle.dev/", env!("CARGO_PKG_VERSION"));
/// The schema of an event.
const EVENT_SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
/// The schemas of OpenLineage's own facets.
const JOB_TYPE: &str = "https://openlineage.io/spec/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet";
const OWNERSHIP: &str = "https://openlineage.io/spec/facets/1-0-1/OwnershipJobFacet.json#/$defs/OwnershipJobFacet";
const ENGINE: &str =
    "https://openlineage.io/spec/facets/1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet";
const SCHEMA: &str = "https://openlineage.io/spec/facets/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet";
const VERSION: &str =
    "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet";
/// Where the schemas of our own facets stand: `facets.json` beside this file is that document.
const OURS: &str = "https://kapelle.dev/openlineage/1-0-0/facets.json#/$defs/";

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What<'e> {
    /// It was submitted.
    Started,
    /// Its end is marked.
    Ended(&'e RunFinished),
}

/// A run with what is registered about its workflow.
pub(super) struct About<'e> {
    pub(super) namespace: &'e Namespace,
    pub(super) run: RunId,
    pub(super) submitted: &'e RunSubmitted,
    /// `None` if it cannot be read any more: then there is no owner and no schema.
    pub(super) workflow: Option<&'e Workflow>,
}

impl What<'_> {
    /// The event's type, as OpenLineage names it.
    pub(super) const fn event_type(self) -> &'static str {
        let Self::Ended(finished) = self else { return "START" };
        match finished.status {
            RunStatus::Completed => "COMPLETE",
            RunStatus::Canceled | RunStatus::Terminated => "ABORT",
            RunStatus::Failed
            | RunStatus::TimedOut
            | RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Waiting
            | RunStatus::Stalled => "FAIL",
        }
    }
}

/// The event.
pub(super) fn event(about: &About<'_>, what: What<'_>, at: Timestamp) -> Value {
    let outputs = match what {
        What::Started => vec![],
        What::Ended(finished) => finished.output.iter().map(|it| about.dataset("output", it)).collect(),
    };
    json!({
        "eventType": what.event_type(),
        "eventTime": at.rfc3339(),
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA,
        "run": { "runId": about.run.to_string(), "facets": about.run_facets(what) },
        "job": {
            "namespace": about.namespace.as_str(),
            "name": about.submitted.workflow.name.as_str(),
            "facets": about.job_facets(),
        },
        "inputs": [about.dataset("input", &about.submitted.input)],
        "outputs": outputs,
    })
}

impl About<'_> {
    fn run_facets(&self, what: What<'_>) -> Value {
        let steps: Vec<Value> = self
            .submitted
            .pins
            .iter()
            .map(|pin| json!({ "step": pin.step, "agent": pin.agent.to_string(), "digest": pin.digest }))
            .collect();
        let engine = json!({ "name": "Kapelle", "version": env!("CARGO_PKG_VERSION") });
        let mut facets = Map::new();
        facets.insert("processing_engine".into(), facet(ENGINE.to_owned(), engine));
        facets.insert("kapelle_steps".into(), ours("StepsRunFacet", json!({ "steps": steps })));
        if let What::Ended(finished) = what {
            let code = finished.error.as_ref().map(|it| it.code.as_str());
            let outcome = json!({ "status": finished.status.name(), "code": code });
            facets.insert("kapelle_outcome".into(), ours("OutcomeRunFacet", outcome));
        }
        Value::Object(facets)
    }

    fn job_facets(&self) -> Value {
        let submitted = self.submitted;
        let kind = json!({ "processingType": "BATCH", "integration": "KAPELLE", "jobType": "WORKFLOW" });
        let version = json!({ "version": submitted.workflow.version.to_string(), "digest": submitted.workflow_digest });
        let mut facets = Map::new();
        facets.insert("jobType".into(), facet(JOB_TYPE.to_owned(), kind));
        facets.insert("kapelle_workflow".into(), ours("WorkflowJobFacet", version));
        if let Some(workflow) = self.workflow {
            let owners = json!({ "owners": [{ "name": workflow.metadata.owner }] });
            facets.insert("ownership".into(), facet(OWNERSHIP.to_owned(), owners));
        }
        Value::Object(facets)
    }

    fn dataset(&self, side: &str, payload: &Payload) -> Value {
        let contract = self.workflow.map(|it| if side == "input" { &it.spec.input } else { &it.spec.result });
        let mut facets = Map::new();
        // Of a small payload the digest would be as good as the value: whoever guesses it can tell.
        let version = match &payload.stored {
            Some(stored) => format!("sha256:{}", stored.sha256),
            None => format!("run:{}", self.run),
        };
        facets.insert("version".into(), facet(VERSION.to_owned(), json!({ "datasetVersion": version })));
        if let Some(fields) = contract.map(fields).filter(|it| !it.is_empty()) {
            facets.insert("schema".into(), facet(SCHEMA.to_owned(), json!({ "fields": fields })));
        }
        let name = format!("{}/{side}", self.submitted.workflow.name);
        json!({ "namespace": format!("kapelle://{}", self.namespace), "name": name, "facets": facets })
    }
}

/// A facet: what every one of them has, and what this one says.
fn facet(schema: String, mut says: Value) -> Value {
    if let Value::Object(fields) = &mut says {
        fields.insert("_producer".into(), PRODUCER.into());
        fields.insert("_schemaURL".into(), schema.into());
    }
    says
}

fn ours(name: &str, says: Value) -> Value {
    facet(format!("{OURS}{name}"), says)
}

/// The fields that a contract declares at its top.
fn fields(contract: &Contract) -> Vec<Value> {
    let Some(properties) = contract.schema().get("properties").and_then(Value::as_object) else { return vec![] };
    let field = |(name, schema): (&String, &Value)| {
        let mut field = Map::new();
        field.insert("name".into(), name.as_str().into());
        for (ours, theirs) in [("type", "type"), ("description", "description")] {
            if let Some(text) = schema.get(theirs).and_then(Value::as_str) {
                field.insert(ours.into(), text.into());
            }
        }
        Value::Object(field)
    };
    properties.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use kapelle_engine::Pin;
    use kapelle_manifest::Manifest;
    use kapelle_types::{PayloadRef, Sha256, WorkflowName};

    use super::*;

    fn workflow() -> Workflow {
        let text = "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: count, version: 1.0.0, owner: a@example.com }\n\
            spec:\n  input: { schema: { type: object, properties: { text: { type: string, description: What to count. } } } }\n  \
            result: { schema: { type: object, properties: { words: { type: integer } } } }\n  \
            output: \"${steps.count.output}\"\n  steps: [{ id: count, agent: counter@^1 }]\n";
        match kapelle_manifest::parse("w.yaml", text).unwrap().remove(0).manifest {
            Manifest::Workflow(workflow) => workflow,
            Manifest::Agent(_) => panic!("a workflow"),
        }
    }

    fn submitted() -> RunSubmitted {
        RunSubmitted {
            workflow: "count@1.0.0".parse().unwrap(),
            workflow_digest: Sha256([2; 32]),
            pins: vec![Pin {
                step: "count".parse().unwrap(),
                agent: "counter@1.2.0".parse().unwrap(),
                digest: Sha256([3; 32]),
            }],
            input: Payload::inline(json!({ "text": "a secret" })),
            key: None,
            behaviour: 2,
            signing_key: None,
            workflow_pins: vec![],
            parent: None,
            continued_from: None,
            priority: None,
            fairness: None,
            labels: Default::default(),
            owner: None,
            forked_from: None,
            kept: Vec::new(),
            person: None,
        }
    }

    fn made(status: Option<RunStatus>) -> Value {
        let (submitted, workflow) = (submitted(), workflow());
        let namespace = Namespace::default();
        let run = RunId::keyed("default", &"count".parse::<WorkflowName>().unwrap(), "1");
        let about = About { namespace: &namespace, run, submitted: &submitted, workflow: Some(&workflow) };
        let finished = status.map(|status| RunFinished {
            status,
            output: (status == RunStatus::Completed).then(|| Payload {
                value: None,
                stored: Some(PayloadRef { sha256: Sha256([4; 32]), size_bytes: 100_000 }),
            }),
            error: None,
            decided_seq: 3,
            continued_as: None,
        });
        event(&about, finished.as_ref().map_or(What::Started, What::Ended), Timestamp::from_millis(1_000))
    }

    #[test]
    fn an_event_says_who_did_what_and_shows_no_value() {
        let complete = made(Some(RunStatus::Completed));
        insta::assert_snapshot!("complete", serde_json::to_string_pretty(&complete).unwrap());
        assert!(!complete.to_string().contains("a secret"));
    }

    #[test]
    fn every_end_is_one_of_theirs() {
        let types = [
            (None, "START"),
            (Some(RunStatus::Completed), "COMPLETE"),
            (Some(RunStatus::Failed), "FAIL"),
            (Some(RunStatus::TimedOut), "FAIL"),
            (Some(RunStatus::Canceled), "ABORT"),
            (Some(RunStatus::Terminated), "ABORT"),
        ];
        for (status, told) in types {
            assert_eq!(made(status)["eventType"], told);
        }
    }

    #[test]
    fn our_own_facets_are_what_their_schemas_say() {
        let document: Value = serde_json::from_str(include_str!("facets.json")).unwrap();
        assert_eq!(document["$id"], OURS.split('#').next().unwrap());
        let made = made(Some(RunStatus::Failed));
        let mut seen = 0;
        for facets in [&made["run"]["facets"], &made["job"]["facets"]] {
            for (name, facet) in facets.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("kapelle_")) {
                let url = facet["_schemaURL"].as_str().unwrap();
                let schema = &document["$defs"][url.rsplit('/').next().unwrap()];
                let checker = Contract::new(schema.clone()).compile().unwrap();
                let violations = checker.violations(facet);
                assert!(violations.is_empty(), "{name}: {violations:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, document["$defs"].as_object().unwrap().len());
    }
}
