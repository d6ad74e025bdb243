//! Runs in which nothing goes wrong.

use kapelle_proto::v1::{RunStatus, SubmitRequest};
use kapelle_types::RunId;
use serde_json::json;

use crate::harness::job;
use crate::history::manifests::{KEYED, PLAYER, SECOND, chain, workflow};
use crate::history::stage::Stage;

pub(in crate::history) async fn chain_of_three(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&chain("chain", 3), json!({ "value": 7 })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn diamond(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "inventory", "agent": PLAYER, "with": { "risk": "${input.risk}", "parts": ["a", "b", "c"] } },
        { "id": "licence", "agent": PLAYER, "with": { "parts": "${steps.inventory.output.parts}" } },
        { "id": "notices", "agent": SECOND, "needs": ["inventory"], "with": { "from": "${input.risk * 2.0}" } },
        {
            "id": "audit", "agent": SECOND, "when": "${steps.inventory.output.risk > 0.5}",
            "with": { "risk": "${steps.inventory.output.risk}" },
        },
        {
            "id": "report", "agent": PLAYER, "needs": ["licence", "notices", "audit"],
            "with": {
                "parts": "${size(steps.licence.output.parts)}", "audit": "${steps.audit.status}",
                "found": "${steps.audit.output}", "run": "${run.id}", "text": "risk ${steps.inventory.output.risk}",
            },
        },
    ]);
    let diamond = workflow("diamond", &steps, "${steps.report.output}");
    let (run, _worker) = stage.play(&diamond, json!({ "risk": 0.25 })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn labelled(stage: &Stage) -> RunId {
    stage.register(&chain("labelled", 1)).await;
    let labels = [("team", "tests"), ("ticket", "K-17")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let request = SubmitRequest { labels: labels.into(), ..job("labelled", None, &json!({ "text": "Grüße" })) };
    let mut request = tonic::Request::new(request);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    let run = stage.api.runs().submit(request).await.unwrap().into_inner().run_id.parse().unwrap();
    let _worker = stage.worker(4, crate::history::stage::PATIENCE).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn in_turn(stage: &Stage) -> RunId {
    let steps = json!([
        {
            "id": "each", "agent": KEYED, "foreach": "${input.items}", "priority": "${item.priority}",
            "with": { "host": "${item.host}" },
        },
        { "id": "other", "agent": SECOND, "with": {} },
    ]);
    let mut in_turn = workflow("in-turn", &steps, "${steps.each.outputs}");
    in_turn["spec"]["priority"] = json!("${input.urgent ? 2 : 4}");
    in_turn["spec"]["fairness"] = json!({ "key": "${input.tenant}", "weights": { "acme": 5 } });
    let item = |priority: u32, host: &str| json!({ "priority": priority, "host": host });
    let items = [item(1, "a.example.com"), item(3, "b.example.com"), item(9, "a.example.com")];
    let input = json!({ "urgent": true, "tenant": "acme", "items": items });
    let (run, _worker) = stage.play(&in_turn, input).await;
    stage.until_is(run, |view| view.steps.iter().map(|step| step.members_done).sum::<u32>() == 2).await;
    stage.until_is(run, |view| view.steps.iter().any(|step| step.step == "other" && step.status == "SUCCEEDED")).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
