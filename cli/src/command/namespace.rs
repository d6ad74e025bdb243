//! `kapelle namespace …`: tenants, each with accounts, quotas and keys of its own at the broker.

mod inside;
mod quotas;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use kapelle_accounts::{Operator, Record};
use kapelle_bus::Connection;
use kapelle_policy::Policies;
use kapelle_telemetry::clock;
use kapelle_types::{Code, Namespace, Partitions};

use super::broker::Folder;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Table;
use crate::output::{confirmed, dim};
use crate::stack::{self, Address, DEFAULT_NATS_URL, NatsTls};

/// What can be done with namespaces.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A namespace has three NATS accounts: one with its streams, for its coordinators alone, one for
workers and one for everybody else, which reach the first by the subjects that the policies allow.
The operator's folder is the record; the broker is told.")]
pub(crate) enum Verb {
    /// Make a namespace and tell the broker
    Create(Box<Create>),
    /// Namespaces, with their quotas
    List(Folder),
    /// One namespace: its accounts, its quotas, and how much of them is used
    Describe(One),
    /// Change quotas
    Update(Box<Update>),
    /// Tell the broker again what namespaces may do, by the policies of this release: after an upgrade, or when it lost its
    /// accounts
    Push(Push),
    /// Take a namespace off the broker, with its streams; refused while it is in use
    Delete(Delete),
}

/// The operator, and the broker that is told.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) folder: Folder,
    /// The NATS servers, separated by commas
    #[arg(long, env = "KAPELLE_NATS_URL", hide_env_values = true, default_value = DEFAULT_NATS_URL, value_name = "URL")]
    nats_url: String,
    #[command(flatten)]
    nats_tls: NatsTls,
}

/// A namespace to make.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is called
    name: Namespace,
    #[command(flatten)]
    quotas: quotas::Wanted,
    /// Partitions of its run log, as its coordinators are started with; never changed afterwards
    #[arg(long, default_value = "16", value_parser = stack::partitions)]
    partitions: Partitions,
    #[command(flatten)]
    reach: Reach,
}

/// One namespace.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its name
    name: Namespace,
    #[command(flatten)]
    reach: Reach,
}

/// What to change.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Its name
    name: Namespace,
    #[command(flatten)]
    quotas: quotas::Wanted,
    #[command(flatten)]
    reach: Reach,
}

/// What to tell again.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Only this one. Default: all
    name: Option<Namespace>,
    #[command(flatten)]
    reach: Reach,
}

/// A namespace to take away.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Its name
    name: Namespace,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Delete it although it is in use: its name, typed again. Default: not
    #[arg(long, value_name = "NAME")]
    force: Option<Namespace>,
    #[command(flatten)]
    reach: Reach,
}

/// `kapelle namespace …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Create(args) => create(app, *args).await?,
        Verb::List(folder) => list(app, &folder)?,
        Verb::Describe(args) => describe(app, args).await?,
        Verb::Update(args) => update(app, *args).await?,
        Verb::Push(args) => push(app, args).await?,
        Verb::Delete(args) => delete(app, args).await?,
    }
    Ok(Exit::Ok)
}

impl Reach {
    pub(crate) fn operator(&self) -> Result<Operator, Failure> {
        Ok(Operator::open(&self.folder.operator_dir)?)
    }

    /// Connects with these credentials.
    async fn connect(&self, credentials: PathBuf) -> Result<Connection, Failure> {
        let address =
            Address { nats_url: self.nats_url.clone(), nats_creds: Some(credentials), nats_tls: self.nats_tls.clone() };
        address.connect("kapelle-operator", stack::COMMAND_PATIENCE).await
    }

    /// Tells the broker what a namespace's accounts are now.
    pub(crate) async fn push(&self, operator: &Operator, record: &Record) -> Result<(), Failure> {
        let policies = Policies::embedded().map_err(super::policy::invalid)?;
        let accounts = operator.accounts(record, &policies, clock::now())?;
        let system = self.connect(operator.system_credentials()).await?;
        Ok(kapelle_accounts::push(&system, &accounts).await?)
    }
}

async fn create(app: &App, args: Create) -> Result<(), Failure> {
    let operator = args.reach.operator()?;
    let quotas = args.quotas.over(kapelle_accounts::Quotas::default())?;
    quotas::check_room(&quotas)?;
    let record = operator.create(args.name, args.partitions, quotas, clock::now())?;
    args.reach.push(&operator, &record).await.map_err(|failure| {
        let again =
            format!("Its keys are made; `kapelle namespace push {}` tells the broker when it answers.", record.name);
        failure.hint(again)
    })?;
    inside::check(&args.reach, &operator, &record).await?;
    app.output.show(&record, |record| {
        let next =
            format!("Then: kapelle credentials issue coordinator --namespace {} --name c1 --out c1.creds", record.name);
        format!("{}\n\n{}", quotas::page(record, None), dim(&next))
    })
}

fn list(app: &App, folder: &Folder) -> Result<(), Failure> {
    let records = Operator::open(&folder.operator_dir)?.namespaces()?;
    app.output.show(&records, |records| {
        let mut table =
            Table::new(&["namespace", "storage", "memory", "connections", "streams", "consumers", "credentials"]);
        for r in records {
            let active =
                r.credentials.iter().filter(|c| c.state(clock::now()) == kapelle_accounts::State::Active).count();
            let q = &r.quotas;
            let numbers = [u64::from(q.connections), u64::from(q.streams), u64::from(q.consumers), active as u64];
            let sizes = [quotas::size(q.storage_bytes), quotas::size(q.memory_bytes)];
            table.row([r.name.to_string()].into_iter().chain(sizes).chain(numbers.map(|n| n.to_string())));
        }
        table.render("No namespaces. Make one with `kapelle namespace create NAME`.")
    })
}

async fn describe(app: &App, args: One) -> Result<(), Failure> {
    let operator = args.reach.operator()?;
    let record = operator.namespace(&args.name)?;
    let used = inside::used(&args.reach, &operator, &record).await?;
    app.output.show(&serde_json::json!({ "namespace": record, "used": used }), |_| quotas::page(&record, Some(&used)))
}

async fn update(app: &App, args: Update) -> Result<(), Failure> {
    let operator = args.reach.operator()?;
    let mut record = operator.namespace(&args.name)?;
    record.quotas = args.quotas.over(record.quotas)?;
    quotas::check_room(&record.quotas)?;
    operator.save(&record)?;
    args.reach.push(&operator, &record).await?;
    inside::check(&args.reach, &operator, &record).await?;
    app.output.show(&record, |record| quotas::page(record, None))
}

async fn push(app: &App, args: Push) -> Result<(), Failure> {
    let operator = args.reach.operator()?;
    let records = match &args.name {
        Some(name) => vec![operator.namespace(name)?],
        None => operator.namespaces()?,
    };
    for record in &records {
        args.reach.push(&operator, record).await?;
    }
    let names: Vec<_> = records.iter().map(|record| record.name.to_string()).collect();
    app.output.show(&names, |names| format!("The broker knows {}.", names.join(", ")))
}

async fn delete(app: &App, args: Delete) -> Result<(), Failure> {
    let operator = args.reach.operator()?;
    let record = operator.namespace(&args.name)?;
    match &args.force {
        Some(typed) if *typed != args.name => {
            let message = format!("`--force {typed}` is not the name of the namespace");
            return Err(Failure::usage(message, "Type the name of the namespace that is to be deleted."));
        }
        Some(_) => {}
        None => {
            let use_of = inside::in_use(&args.reach, &operator, &record).await?;
            if !use_of.is_empty() {
                let message = format!("The namespace `{}` is in use: {}.", args.name, use_of.join(", "));
                let hint = format!("End that first; `--force {}` deletes it all the same.", args.name);
                return Err(Failure::coded(Code::NAMESPACE_IN_USE, message, hint));
            }
            if !args.yes {
                if !io::stdin().is_terminal() {
                    return Err(Failure::usage("There is no terminal to ask on.", "Repeat it with `--yes`."));
                }
                if !confirmed(&format!("Delete `{}` with all its runs and credentials? [y/N] ", args.name))? {
                    return Err(Failure::plain(Exit::Failed, "Nothing was done."));
                }
            }
        }
    }
    let system = args.reach.connect(operator.system_credentials()).await?;
    kapelle_accounts::remove(&system, &operator.removal(&record, clock::now())?).await?;
    operator.forget(&record)?;
    app.output.show(&record.name, |name| format!("Deleted `{name}`."))
}
