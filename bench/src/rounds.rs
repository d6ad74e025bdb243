//! Floor and product in turn, and the ratios of each round.

use bytes::Bytes;
use serde::Serialize;

use crate::args::{Common, Governance, Kind, Workload};
use crate::floor;
use crate::machine::{Broker, Part, Usage};
use crate::measure::{Half, median};
use crate::product;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub(crate) benchmark: &'static str,
    pub(crate) runs: usize,
    pub(crate) steps: usize,
    pub(crate) in_flight: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) durability: String,
    pub(crate) partitions: u16,
    pub(crate) layout: String,
    /// Product ÷ floor, the middle of the rounds: above 1 the product does more steps a second.
    pub(crate) ratio_throughput: f64,
    /// Product ÷ floor: below 1 the product is quicker.
    pub(crate) ratio_latency_p50: f64,
    pub(crate) ratio_latency_p99: f64,
    /// The time of a whole fan-out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_fanout: Option<f64>,
    /// CPU of all processes; absent where the broker's cannot be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_cpu: Option<f64>,
    /// Product with governance ÷ product without, in steps a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_governance: Option<f64>,
    pub(crate) governance: &'static str,
    pub(crate) rounds: Vec<Round>,
}

/// One round: the floor, then the product, once more without governance if that is compared.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) floor: Half,
    pub(crate) product: Half,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ungoverned: Option<Half>,
}

pub(crate) async fn run(workload: &Workload, common: &Common) -> anyhow::Result<Comparison> {
    let mut rounds = Vec::new();
    for number in 0..common.rounds.max(1) {
        let floor = floor_half(workload, common).await?;
        let half = |governed| product::half(workload, common, governed);
        let (product, ungoverned) = match workload.governance {
            Governance::On => (half(true).await?, None),
            Governance::Off => (half(false).await?, None),
            // In turn, so that neither always has the warmer machine.
            Governance::Both if number % 2 == 0 => {
                let ungoverned = half(false).await?;
                (half(true).await?, Some(ungoverned))
            }
            Governance::Both => (half(true).await?, Some(half(false).await?)),
        };
        rounds.push(Round { floor, product, ungoverned });
    }
    let of_governance =
        rounds.iter().filter_map(|r| Some(r.product.steps_per_second / r.ungoverned.as_ref()?.steps_per_second));
    let ratio = |of: fn(&Half) -> f64| median(rounds.iter().map(|r| of(&r.product) / of(&r.floor)));
    let partitions = common.partitions();
    let p50 = ratio(|h| h.latency_p50_ms);
    Ok(Comparison {
        benchmark: workload.kind.name(),
        runs: workload.runs,
        steps: workload.steps,
        in_flight: workload.in_flight,
        payload_bytes: common.payload,
        durability: common.durability.to_string(),
        partitions,
        layout: floor::layout(partitions),
        ratio_throughput: ratio(|h| h.steps_per_second),
        ratio_latency_p50: p50,
        ratio_latency_p99: ratio(|h| h.latency_p99_ms),
        ratio_fanout: (workload.kind == Kind::Fanout).then_some(p50),
        ratio_governance: (workload.governance == Governance::Both).then(|| median(of_governance)),
        governance: workload.governance.name(),
        ratio_cpu: common.nats_url.is_none().then(|| ratio(Half::cpu)),
        rounds,
    })
}

/// A payload of about the wanted size.
pub(crate) fn payload(bytes: usize) -> serde_json::Value {
    serde_json::json!({ "data": "x".repeat(bytes.saturating_sub(11)) })
}

/// Runs before what is measured, so that nobody pays for the first connection.
pub(crate) fn warm_up(workload: &Workload) -> Workload {
    Workload { runs: (workload.runs / 20).clamp(1, 500), ..*workload }
}

async fn floor_half(workload: &Workload, common: &Common) -> anyhow::Result<Half> {
    let broker = Broker::start(common).await?;
    let partitions = common.partitions();
    let context = floor::connect(&broker.url).await?;
    floor::provision(&context, partitions).await?;
    let arguments = part("floor-worker", &broker.url, common);
    let worker = Part::start(&arguments).await?;
    let payload: Bytes = serde_json::to_vec(&payload(common.payload))?.into();
    floor::drive(&context, &warm_up(workload), partitions, payload.clone()).await?;
    let client = std::process::id();
    let before = [broker.usage(), worker.usage(), Usage::of(client)];
    let timings = floor::drive(&context, workload, partitions, payload).await?;
    let usage = [
        ("broker", broker.usage().since(before[0])),
        ("worker", worker.usage().since(before[1])),
        ("client", Usage::of(client).since(before[2])),
    ];
    worker.kill().await;
    floor::remove(&context, partitions).await;
    broker.stop().await;
    Ok(Half::new(workload, timings, &usage))
}

/// The arguments of a part.
pub(crate) fn part(role: &str, url: &str, common: &Common) -> Vec<String> {
    let (slots, partitions) = (common.slots.to_string(), common.partitions().to_string());
    ["bench", role, "--nats-url", url, "--slots", &slots, "--partitions", &partitions].map(str::to_owned).to_vec()
}
