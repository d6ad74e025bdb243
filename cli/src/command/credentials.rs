//! `kapelle credentials …`: who may connect to the broker, as what, for how long.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use kapelle_accounts::{Issued, State, Wanted};
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Namespace, Role, Timestamp, UserName, limits};
use serde::Serialize;

use super::broker::Folder;
use super::namespace::Reach;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Table, age, dim};

/// What can be done with credentials.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
What their holder may do at the broker follows from the policies; `kapelle policy permissions` shows it.
Making some asks no broker: whatever a key of the namespace signed is taken. To renew some, issue the same
name again and put the file in place; who uses it takes it at the next connection.")]
pub(crate) enum Verb {
    /// Make credentials and write them into a file
    Issue(Issue),
    /// Those of a namespace that were made, the ended ones of the last 90 days included
    List(List),
    /// End credentials at once: connections that were made with them are closed
    Revoke(Revoke),
}

/// Credentials to make.
#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// What their holder is: worker, coordinator, publisher, viewer, operator, auditor, approver or admin
    role: Role,
    /// Their name, which the id of a worker or coordinator begins with. One for each coordinator; workers may share one
    #[arg(long)]
    name: UserName,
    /// The namespace that they are for
    #[arg(long, default_value_t)]
    namespace: Namespace,
    /// An agent whose tasks a worker takes, as name@version; repeat it for more
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<AgentVersion>,
    /// Do not ask the coordinator whether the agents are registered
    #[arg(long)]
    unregistered: bool,
    /// How long they hold, 366 days at most
    #[arg(long, default_value = "30d", value_name = "DURATION", value_parser = life)]
    expires_in: Duration,
    /// The file to write, which its owner alone may read; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// Whose to list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The namespace
    #[arg(long, default_value_t)]
    namespace: Namespace,
    #[command(flatten)]
    folder: Folder,
}

/// Which to end.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Their name, or the public key of one of that name
    whose: String,
    /// The namespace
    #[arg(long, default_value_t)]
    namespace: Namespace,
    #[command(flatten)]
    reach: Reach,
}

/// Credentials for programs and people; no seed is in it.
#[derive(Debug, Serialize)]
struct View {
    name: UserName,
    role: Role,
    state: State,
    agents: Vec<String>,
    public_key: String,
    issued_at: String,
    expires_at: String,
    revoked_at: Option<String>,
}

impl View {
    fn of(issued: &Issued, now: Timestamp) -> Self {
        Self {
            name: issued.name.clone(),
            role: issued.role,
            state: issued.state(now),
            agents: issued.agents.iter().map(ToString::to_string).collect(),
            public_key: issued.public_key.clone(),
            issued_at: issued.issued_at.rfc3339(),
            expires_at: issued.expires_at.rfc3339(),
            revoked_at: issued.revoked_at.map(Timestamp::rfc3339),
        }
    }
}

/// `kapelle credentials …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Issue(args) => issue(app, args).await?,
        Verb::List(args) => list(app, &args)?,
        Verb::Revoke(args) => revoke(app, args).await?,
    }
    Ok(Exit::Ok)
}

async fn issue(app: &App, args: Issue) -> Result<(), Failure> {
    if !args.unregistered && !args.agents.is_empty() {
        let client = app.client().await.map_err(|failure| {
            let hint = "Agents are looked up at the coordinator; where there is none yet, say `--unregistered`.";
            failure.hint(hint)
        })?;
        for agent in &args.agents {
            client.stored("Agent", agent.name.as_str(), &agent.version.to_string()).await?;
        }
    }
    let operator = kapelle_accounts::Operator::open(&args.folder.operator_dir)?;
    let mut record = operator.namespace(&args.namespace)?;
    let wanted = Wanted { name: args.name, role: args.role, agents: args.agents, life: args.expires_in };
    let now = clock::now();
    let (issued, file) = operator.issue(&mut record, wanted, now)?;
    write(&args.out, &file)?;
    app.output.show(&View::of(&issued, now), |view| {
        let how = format!("Whoever uses them says `--nats-creds {}`.", args.out.display());
        format!("{}\n\n{}", table(std::slice::from_ref(view), now), dim(&how))
    })
}

/// Readers see the old file or the new one, never a half.
fn write(path: &Path, content: &str) -> Result<(), Failure> {
    let written = || {
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().map_err(|e: std::io::Error| Failure::plain(Exit::Failed, format!("{}: {e}", path.display())))
}

fn list(app: &App, args: &List) -> Result<(), Failure> {
    let record = kapelle_accounts::Operator::open(&args.folder.operator_dir)?.namespace(&args.namespace)?;
    let now = clock::now();
    let all: Vec<View> = record.credentials.iter().map(|issued| View::of(issued, now)).collect();
    app.output.show(&all, |all| table(all, now))
}

async fn revoke(app: &App, args: Revoke) -> Result<(), Failure> {
    let operator = args.reach.operator()?;
    let mut record = operator.namespace(&args.namespace)?;
    let now = clock::now();
    let ended = record.revoke(&args.whose, now);
    let known = record.credentials.iter().any(|c| c.name.as_str() == args.whose || c.public_key == args.whose);
    if !known {
        return Err(kapelle_accounts::Error::Unknown(format!("`{}` has no credentials here", args.whose)).into());
    }
    operator.save(&record)?;
    // Even where none was active: the broker may not have heard of it the first time.
    args.reach.push(&operator, &record).await?;
    app.output
        .show(&serde_json::json!({ "revoked": ended }), |_| format!("{ended} revoked; their connections are closed."))
}

fn life(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if life.as_secs() == 0 || life > limits::CREDENTIALS_LIFE_MAX {
        return Err("1s to 366d are possible".to_owned());
    }
    Ok(life)
}

fn table(all: &[View], now: Timestamp) -> String {
    let mut table = Table::new(&["name", "role", "state", "agents", "age", "expires", "public key"]);
    for v in all {
        let state = match v.state {
            State::Active => "active",
            State::Expired => "expired",
            State::Revoked => "revoked",
        };
        let age = Timestamp::parse(&v.issued_at).map_or_else(String::new, |then| age(then, now));
        let row = [v.name.as_str(), v.role.as_str(), state, &v.agents.join(" "), &age, &v.expires_at, &v.public_key];
        table.row(row.map(str::to_owned));
    }
    table.render("No credentials. Make some with `kapelle credentials issue`.")
}
