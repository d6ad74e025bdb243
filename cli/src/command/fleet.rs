//! Who is there and how much waits: queues, workers, coordinators.

use clap::Subcommand;
use kapelle_proto::v1;
use kapelle_types::Timestamp;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Table, age};
use crate::view;

/// What can be asked about queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// The queue of each agent version: what waits, what runs, what came a second time
    List,
}

/// `kapelle queue …`.
pub(crate) async fn queue(app: &App, verb: QueueVerb) -> End {
    let QueueVerb::List = verb;
    let client = app.client().await?;
    let answer = client.fleet().list_queues(v1::ListQueuesRequest {}).await.map_err(|s| client.failure(s))?;
    let queues: Vec<view::Queue> = answer.into_inner().queues.into_iter().map(Into::into).collect();
    app.output.show(&queues, |queues| queue_table(queues))?;
    Ok(Exit::Ok)
}

/// `kapelle worker list`.
pub(crate) async fn workers(app: &App) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.fleet().list_workers(v1::ListWorkersRequest {}).await.map_err(|s| client.failure(s))?;
    let workers: Vec<view::Worker> = answer.into_inner().workers.into_iter().map(Into::into).collect();
    app.output.show(&workers, |workers| worker_table(workers, kapelle_telemetry::clock::now()))
}

/// `kapelle coordinator list`.
pub(crate) async fn coordinators(app: &App) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.fleet().list_coordinators(v1::ListCoordinatorsRequest {}).await;
    let answer = answer.map_err(|s| client.failure(s))?.into_inner();
    let there: Vec<view::Coordinator> = answer.coordinators.into_iter().map(Into::into).collect();
    app.output.show(&there, |there| coordinator_table(there, kapelle_telemetry::clock::now()))
}

fn queue_table(queues: &[view::Queue]) -> String {
    let mut table = Table::new(&["agent", "version", "waiting", "in flight", "limit", "redelivered"]);
    for q in queues {
        let numbers = [q.pending, q.in_flight, q.max_in_flight, q.redelivered].map(|n| n.to_string());
        table.row([q.agent.clone(), q.version.clone()].into_iter().chain(numbers));
    }
    let none = "No queues: no agent is registered. Register some with `kapelle apply -f FILE`.";
    let held = queues.iter().filter_map(|q| Some((format!("{}@{}", q.agent, q.version), q.held.as_deref()?)));
    table.render(none) + &held_lines(held)
}

/// Why nothing moves, below the table: the reasons are sentences.
fn held_lines<'h>(held: impl Iterator<Item = (String, &'h str)>) -> String {
    held.map(|(agent, why)| format!("\n{agent} is held: {why}")).collect()
}

fn worker_table(workers: &[view::Worker], now: Timestamp) -> String {
    let mut table = Table::new(&["id", "host", "slots", "age", "state", "agents"]);
    for w in workers {
        let slots = format!("{}/{}", w.slots_used, w.slots);
        let state = if w.draining { "draining" } else { "ready" };
        let told = |it: &String| if w.retired_agents.contains(it) { format!("{it} (retired)") } else { it.clone() };
        let agents = w.agents.iter().map(told).collect::<Vec<_>>().join(" ");
        let row = [&w.id, &w.host, &slots, &since(w.started_at.as_deref(), now), state, &agents];
        table.row(row.map(str::to_owned));
    }
    let held =
        workers.iter().flat_map(|w| w.held.iter().map(move |h| (format!("{} {}", w.id, h.agent), h.why.as_str())));
    table.render("No workers. Start one with `kapelle worker start`.") + &held_lines(held)
}

fn coordinator_table(coordinators: &[view::Coordinator], now: Timestamp) -> String {
    let mut table = Table::new(&["id", "age", "partitions"]);
    for c in coordinators {
        let partitions: Vec<_> = c.partitions.iter().map(u32::to_string).collect();
        table.row([c.id.clone(), since(c.started_at.as_deref(), now), partitions.join(" ")]);
    }
    table.render("No coordinators.")
}

/// The age of a moment as the views carry it; `-` where there is none.
pub(crate) fn since(moment: Option<&str>, now: Timestamp) -> String {
    moment.and_then(Timestamp::parse).map_or_else(|| "-".to_owned(), |then| age(then, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_each() {
        let now = Timestamp::from_millis(600_000);
        let worker = view::Worker {
            id: "w-1".into(),
            host: "box".into(),
            agents: vec!["a@1.0.0".into(), "b@2.0.0".into()],
            retired_agents: vec!["a@1.0.0".into()],
            slots: 8,
            slots_used: 3,
            draining: true,
            started_at: crate::output::moment(1_000_000),
            held: vec![view::Held { agent: "a@1.0.0".into(), why: "its money is spent".into() }],
        };
        insta::assert_snapshot!("workers", worker_table(&[worker], now));
        let queue = view::Queue {
            agent: "licence-review".into(),
            version: "1.0.0".into(),
            pending: 400,
            in_flight: 8,
            redelivered: 1,
            max_in_flight: 8,
            held: Some("its money is spent".into()),
        };
        insta::assert_snapshot!("queues", queue_table(&[queue]));
        let one = view::Coordinator { id: "c-1".into(), partitions: vec![0, 2], started_at: None };
        insta::assert_snapshot!("coordinators", coordinator_table(&[one], now));
        assert!(queue_table(&[]).starts_with("No queues"));
    }
}
