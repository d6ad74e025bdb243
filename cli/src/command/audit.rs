//! `kapelle audit …`: who did, or was denied, what.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use kapelle_proto::v1;
use kapelle_retry::{Delays, Policy};
use kapelle_telemetry::clock;
use kapelle_types::Timestamp;
use tokio::time::sleep;

use crate::app::{App, End};
use crate::client::{Client, is_transient};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Table, status};
use crate::view::AuditEntry;

/// Records that one request asks for.
const PAGE: u32 = 500;

/// What can be done with the trail.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A record of an act is written before it is done. Denials that are alike are counted together: the first at once, the
others as one record a minute. docs/guides/audit.md has the components and verbs.")]
pub(crate) enum Verb {
    /// Show records as they come, until interrupted
    Tail {
        #[command(flatten)]
        filter: Filter,
    },
    /// Find records of a time
    Search(Search),
}

/// What a record has to be; what is not said may be anything.
#[derive(Debug, Clone, Args)]
pub(crate) struct Filter {
    /// Which part of Kapelle says it: api, policies, partition or worker. Default: any
    #[arg(long, default_value = "", hide_default_value = true)]
    component: String,
    /// What was done or tried, such as denied, apply or cancel. Default: any
    #[arg(long, default_value = "", hide_default_value = true)]
    verb: String,
    /// Who did or tried it, such as token:ci. Default: anybody
    #[arg(long, default_value = "", hide_default_value = true)]
    principal: String,
    /// Whether it was allowed. Default: either
    #[arg(long)]
    decision: Option<Decision>,
}

/// Whether something was allowed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    Allow,
    Deny,
}

/// A time and a filter.
#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    filter: Filter,
    /// From when on: how long ago (2h, 3d), or a moment (2026-11-22T08:00:00Z)
    #[arg(long, default_value = "24h", value_name = "TIME")]
    since: Moment,
    /// Until when, in the same way. Default: now
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// How many records at most, from the oldest on
    #[arg(short = 'n', long, default_value_t = 1_000, value_name = "N")]
    limit: usize,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(Timestamp);

impl Moment {
    pub(crate) const fn nanos(self) -> i64 {
        self.0.nanos()
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(at) = Timestamp::parse(text) {
            return Ok(Self(at));
        }
        let ago = humantime::parse_duration(text).map_err(|_| "say how long ago (2h, 3d) or a moment in RFC 3339")?;
        let nanos = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
        Ok(Self(Timestamp::from_nanos(clock::now().nanos().saturating_sub(nanos).max(1))))
    }
}

impl From<Filter> for v1::AuditFilter {
    fn from(filter: Filter) -> Self {
        let decision = match filter.decision {
            None => v1::AuditDecision::Unspecified,
            Some(Decision::Allow) => v1::AuditDecision::Allow,
            Some(Decision::Deny) => v1::AuditDecision::Deny,
        };
        let Filter { component, verb, principal, .. } = filter;
        Self { component, verb, principal, decision: decision.into() }
    }
}

/// `kapelle audit …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    let client = app.client().await?;
    match verb {
        Verb::Tail { filter } => tail(app, &client, filter.into()).await?,
        Verb::Search(search) => {
            let entries = found(&client, search).await?;
            app.output.show(&entries, |entries| table(entries))?;
        }
    }
    Ok(Exit::Ok)
}

/// Everything that is found, page after page.
async fn found(client: &Client, search: Search) -> Result<Vec<AuditEntry>, Failure> {
    let Search { filter, since, until, limit } = search;
    let mut request = v1::ListAuditRequest {
        filter: Some(filter.into()),
        since_unix_nanos: since.0.nanos(),
        until_unix_nanos: until.map_or(0, |until| until.0.nanos()),
        limit: PAGE,
        page: 0,
    };
    let mut entries: Vec<AuditEntry> = Vec::new();
    loop {
        let answer = client.audit().list(request.clone()).await.map_err(|s| client.failure(s))?.into_inner();
        entries.extend(answer.entries.into_iter().map(AuditEntry::from));
        if entries.len() >= limit || answer.next == 0 {
            entries.truncate(limit);
            return Ok(entries);
        }
        request.page = answer.next;
    }
}

/// Shows what comes. A coordinator that goes away is waited for; where it left off is read again, so that nothing is missed.
async fn tail(app: &App, client: &Client, filter: v1::AuditFilter) -> Result<(), Failure> {
    let mut delays = Delays::new(&Policy { total: None, ..Policy::default() });
    let mut last = 0;
    loop {
        let broke = match client.audit().watch(v1::WatchAuditRequest { filter: Some(filter.clone()) }).await {
            Err(broke) => broke,
            Ok(answer) => {
                if last > 0 {
                    missed(app, client, &filter, &mut last).await?;
                }
                let mut entries = answer.into_inner();
                loop {
                    match entries.message().await {
                        Ok(Some(entry)) if entry.seq > last => {
                            delays.reset();
                            last = entry.seq;
                            app.output.stream(&AuditEntry::from(entry), line)?;
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => break tonic::Status::unavailable("the coordinator ended the stream"),
                        Err(broke) => break broke,
                    }
                }
            }
        };
        if !is_transient(&broke) {
            return Err(client.failure(broke));
        }
        tracing::debug!(%broke, "watching again");
        sleep(delays.next()).await;
    }
}

/// What came between two streams.
async fn missed(app: &App, client: &Client, filter: &v1::AuditFilter, last: &mut u64) -> Result<(), Failure> {
    let mut request =
        v1::ListAuditRequest { filter: Some(filter.clone()), limit: PAGE, page: *last + 1, ..Default::default() };
    loop {
        let answer = client.audit().list(request.clone()).await.map_err(|s| client.failure(s))?.into_inner();
        for entry in answer.entries {
            *last = entry.seq;
            app.output.stream(&AuditEntry::from(entry), line)?;
        }
        if answer.next == 0 {
            return Ok(());
        }
        request.page = answer.next;
    }
}

fn line(entry: &AuditEntry) -> String {
    let [at, says, verdict, who, what, why] = columns(entry);
    [at, says, status(&verdict), who, what, why].join("  ")
}

fn table(entries: &[AuditEntry]) -> String {
    let mut table = Table::new(&["at", "what", "decision", "who", "on", "why"]);
    for entry in entries {
        table.row(columns(entry));
    }
    table.render("Nothing is on record.")
}

fn columns(entry: &AuditEntry) -> [String; 6] {
    let who = if entry.principal.is_empty() { "nobody" } else { &entry.principal };
    let who = entry.person.as_ref().map_or_else(|| who.to_owned(), |person| format!("{who} ({person})"));
    let on = [&entry.kind, &entry.name, &entry.run_id, &entry.step];
    let on: Vec<_> = on.into_iter().flatten().map(String::as_str).collect();
    let on = if on.is_empty() { entry.action.clone().unwrap_or_default() } else { on.join(" ") };
    let mut why: Vec<_> = [&entry.code, &entry.policy].into_iter().flatten().cloned().collect();
    if entry.count > 1 {
        why.push(format!("{} times", entry.count));
    }
    why.extend(Some(entry.reason.clone()).filter(|reason| !reason.is_empty()));
    let says = format!("{} {}", entry.component, entry.verb);
    [entry.at.clone().unwrap_or_default(), says, entry.decision.to_owned(), who, on, why.join("  ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(count: u64) -> AuditEntry {
        let who = v1::AuditWho { principal: "token:ci".into(), person: "ada".into(), ..Default::default() };
        let what = v1::AuditWhat { action: "kapelle.v1.RunService/Submit".into(), ..Default::default() };
        let record = v1::AuditRecord {
            at_unix_nanos: 1_000_000,
            component: "api".into(),
            verb: "denied".into(),
            who: Some(who),
            what: Some(what),
            decision: v1::AuditDecision::Deny.into(),
            policy: "default_deny".into(),
            code: "K0503".into(),
            reason: "No policy permits it.".into(),
            count,
            ..Default::default()
        };
        v1::AuditEntry { seq: 7, record: Some(record) }.into()
    }

    #[test]
    fn a_record_is_a_row_and_a_line() {
        insta::assert_snapshot!("rows", table(&[entry(1), entry(17)]));
        let plain = anstream::adapter::strip_str(&line(&entry(1))).to_string();
        assert!(plain.starts_with("1970-01-01T00:00:00.001Z  api denied  deny  token:ci (ada)  kapelle.v1"), "{plain}");
        assert_eq!(table(&[]), "Nothing is on record.");
    }

    #[test]
    fn a_time_is_a_moment_or_how_long_ago() {
        let at: Moment = "2026-11-22T08:00:00Z".parse().unwrap();
        assert_eq!(at.0.rfc3339(), "2026-11-22T08:00:00.000Z");
        let ago: Moment = "2h".parse().unwrap();
        assert!(clock::now().since(ago.0).as_secs().abs_diff(7_200) < 60);
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
