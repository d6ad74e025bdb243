//! `kapelle approval delegate …`: who decides in whose place.

use std::time::Duration;

use clap::Args;
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::Timestamp;
use serde_json::json;

use crate::app::App;
use crate::failure::Failure;
use crate::output::Table;
use crate::view::Delegation;

/// Who is to decide in one's place.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// The person, as their issuer names them
    #[arg(long, value_name = "PERSON")]
    to: String,
    /// Until when: a moment in RFC 3339, or how long from now on (7d); at most 92 days
    #[arg(long, value_name = "WHEN", value_parser = until)]
    until: Timestamp,
    /// For one of your groups; repeat it for more. Default: all that you are in
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
}

fn until(text: &str) -> Result<Timestamp, String> {
    if let Some(moment) = Timestamp::parse(text) {
        return Ok(moment);
    }
    let life: Result<Duration, _> = humantime::parse_duration(text);
    life.map(|life| clock::now().plus(life)).map_err(|_| "say how long (7d) or a moment in RFC 3339".to_owned())
}

pub(super) async fn give(app: &App, given: Given) -> Result<(), Failure> {
    let Given { to, until, groups } = given;
    let client = app.client().await?;
    let request = v1::DelegateRequest { to, groups, until_unix_nanos: until.nanos() };
    let answer = client.approvals().delegate(request).await.map_err(|s| client.failure(s))?;
    app.output.show(&Delegation::from(answer.into_inner()), |it| {
        let until = it.until.as_deref().unwrap_or_default();
        format!("{} decides in your place until {until}, for {}.", it.to, it.groups.join(", "))
    })
}

pub(super) async fn list(app: &App) -> Result<(), Failure> {
    let client = app.client().await?;
    let answer = client.approvals().list_delegations(v1::ListDelegationsRequest {}).await;
    let answer = answer.map_err(|s| client.failure(s))?.into_inner();
    let all: Vec<Delegation> = answer.delegations.into_iter().map(Into::into).collect();
    app.output.show(&all, |all| {
        let mut table = Table::new(&["in the place of", "decides", "groups", "until"]);
        for it in all {
            let until = it.until.clone().unwrap_or_default();
            table.row([it.from.clone(), it.to.clone(), it.groups.join(" "), until]);
        }
        table.render("Nobody decides in somebody's place.")
    })
}

pub(super) async fn end(app: &App, to: &str) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::EndDelegationRequest { to: to.to_owned() };
    client.approvals().end_delegation(request).await.map_err(|s| client.failure(s))?;
    app.output.show(&json!({ "to": to, "ended": true }), |_| format!("{to} decides in your place no more."))
}
