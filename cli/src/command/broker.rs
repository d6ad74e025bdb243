//! `kapelle broker …`: what a broker of one's own has to know before it starts.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use kapelle_accounts::Operator;
use kapelle_telemetry::clock;
use serde_json::json;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::output::bold;

/// What can be done for a broker.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make the keys that everybody at a broker trusts, and what nats-server's configuration includes; once
    Init(Init),
}

/// An operator to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    #[command(flatten)]
    folder: Folder,
    /// What the operator is called in nats-server's logs
    #[arg(long, default_value = "kapelle")]
    name: String,
    /// The folder on each broker's machine in which nats-server keeps the accounts that it is told of
    #[arg(long, default_value = "/var/lib/nats/accounts", value_name = "DIR")]
    accounts_dir: PathBuf,
}

/// Where the keys are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Folder {
    /// The folder of the operator's keys. Whoever has it, has every namespace: keep it off the broker's machines
    #[arg(
        long,
        env = "KAPELLE_OPERATOR_DIR",
        hide_env_values = true,
        default_value = ".kapelle/operator",
        value_name = "DIR"
    )]
    pub(crate) operator_dir: PathBuf,
}

/// `kapelle broker …`.
pub(crate) fn run(app: &App, verb: Verb) -> End {
    let Verb::Init(args) = verb;
    let dir = &args.folder.operator_dir;
    Operator::init(dir, &args.name, &args.accounts_dir, clock::now())?;
    let conf = dir.join("broker.conf");
    app.output.show(&json!({ "operator_dir": dir, "broker_conf": conf }), |_| next(dir, &conf))?;
    Ok(Exit::Ok)
}

fn next(dir: &Path, conf: &Path) -> String {
    format!(
        "{}\n\nkeys         {}   for administrators alone; make a copy of it and keep it offline\n\
         for brokers  {}   include it: deploy/nats shows how\n\nThen: kapelle namespace create NAME --nats-url URL",
        bold("An operator was made."),
        dir.display(),
        conf.display(),
    )
}
