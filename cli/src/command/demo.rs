//! `kapelle demo`: a software intake of a real dependency tree, from nothing to a validated SBOM, before one's eyes.
//!
//! ```text
//!   tree ──▶ input.json ──▶ broker, coordinator, worker ──apply, submit──▶ run ──progress──▶ result ──▶ SBOM validated
//! ```
//!
//! Nothing here is special to the demo but the showing: the agents are those in `examples/software-intake`, the stack is
//! that of `kapelle dev`, the calls are those of `kapelle apply` and `kapelle run execute`.

mod log;
mod progress;
mod result;
mod sbom;
mod tree;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use kapelle_broker::Durability;
use kapelle_proto::v1;
use kapelle_types::Code;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{apply, run};
use crate::app::{App, End};
use crate::client::{Client, Until, follow};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests;
use crate::shutdown::Signals;
use crate::stack::{self, BrokerPlan, Confinement, Embedded, Settings, Stack, Switch};
use crate::view;

use progress::Progress;
use result::Result as DemoResult;
use tree::Tree;

/// The workflow that is shown.
const WORKFLOW: &str = "software-intake";
/// The program that the example's agents are written for.
const PYTHON: &str = "python3";

/// What to take in, and where to put what comes out.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tree to take in: a cargo project, an npm project, or their lock file
    #[arg(short, long, default_value = ".", value_name = "PATH")]
    input: PathBuf,
    /// Where the SBOM, the report, the log and the broker's store go
    #[arg(long, default_value = ".kapelle/demo", value_name = "DIR")]
    data_dir: PathBuf,
    /// The example's folder
    #[arg(long, default_value = "examples/software-intake", value_name = "DIR")]
    example: PathBuf,
    /// The nats-server to start. Default: the one on the PATH if it is new enough, else one that is fetched once
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// Tasks that the worker does at once. Default: twice the cores, at least 8
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// Keep the agents to the `access` of their manifests: on or off. Off lets them do whatever this program may
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "SWITCH")]
    sandbox: Switch,
}

/// `kapelle demo`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let mut signals = Signals::listen()?;
    if !args.example.join("workflow.yaml").is_file() {
        let message = format!("The example is not in {}.", args.example.display());
        return Err(Failure::coded(
            Code::MANIFEST_FILE,
            message,
            "Run the demo in Kapelle's source tree, or name the folder with `--example`.",
        ));
    }
    fs::create_dir_all(&args.data_dir).map_err(|e| data_dir(&args.data_dir, &e))?;
    let folder = manifests::absolute(&args.data_dir)?;
    log::to_file(&folder.join(log::FILE), &app.log_filter)?;
    let mut progress = Progress::new();
    progress.title(&format!("Kapelle {}: {WORKFLOW}", env!("CARGO_PKG_VERSION")));
    let Some(prepared) = signals.unless(prepare(&args, &folder, &mut progress)).await else {
        return Err(interrupted(None));
    };
    let (input, stack) = prepared?;
    let shown = signals.unless(show(&args, &folder, &stack, input, &mut progress)).await;
    progress.finish();
    if shown.is_none() {
        cancel(&stack, progress.run_id()).await;
    }
    let run_id = progress.run_id().map(str::to_owned);
    signals.leave(stack.stop()).await?;
    let Some(result) = shown else { return Err(interrupted(run_id.as_deref())) };
    let result: DemoResult = result?;
    app.output.show(&result, |result| {
        result::page(result, &result::Shown { program: &app.program, data_dir: &args.data_dir })
    })?;
    Ok(if result.is_good() { Exit::Ok } else { Exit::Failed })
}

/// Reads the tree and starts everything.
async fn prepare(args: &Args, folder: &Path, progress: &mut Progress) -> Result<(Value, Stack), Failure> {
    python().await?;
    let tree = Tree::at(&args.input)?;
    progress.begin("tree", "asking for its packages");
    let input = tree.input(folder).await?;
    progress.done("tree", &tree.describe());
    progress.begin("broker", "starting");
    let settings = Settings {
        openlineage: false,
        broker: BrokerPlan::Embedded(Embedded {
            folder: folder.join("nats"),
            port: None,
            durability: Durability::Standard,
            binary: args.nats_server.clone(),
        }),
        layout: stack::one_node(None, Durability::Standard),
        grpc_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        slots: args.slots.map(usize::from),
        confinement: Confinement { sandbox: args.sandbox, secrets_dir: None, folders: tree.folders(folder)? },
    };
    let stack = Stack::start(settings).await?;
    let version = stack.broker_version().unwrap_or_default();
    progress.done("broker", &format!("nats-server {version} at {}", stack.nats_url()));
    progress.done("coordinator", &format!("answers at {}", stack.address()));
    Ok((input, stack))
}

/// Applies, submits, follows; validates what came out.
async fn show(
    args: &Args,
    folder: &Path,
    stack: &Stack,
    input: Value,
    progress: &mut Progress,
) -> Result<DemoResult, Failure> {
    let client = Client::connect(&stack.address().into()).await?;
    let applied = apply::apply(&client, &manifests::read(std::slice::from_ref(&args.example))?).await;
    let applied = applied.map_err(|failure| stale(failure, args))?;
    progress.done("registered", &format!("{} manifests from {}", applied.len(), args.example.display()));
    let request = v1::SubmitRequest {
        workflow: WORKFLOW.into(),
        input: input.to_string().into_bytes().into(),
        // A fresh key: every demo is a run of its own.
        idempotency_key: Some(format!("demo-{}", Uuid::now_v7())),
        labels: [("demo".to_owned(), "true".to_owned())].into(),
        ..v1::SubmitRequest::default()
    };
    let submitted = run::submit(&client, request).await?;
    progress.submitted(&submitted.run_id);
    let last = follow(&client, &submitted.run_id, Until::Settled, |view| {
        progress.show(&view::Run::from(view.clone()));
        Ok(())
    });
    let run = view::Run::from(last.await?);
    progress.finish();
    let schemas = args.example.join("schemas");
    let verdict = match run.output.pointer("/sbom/path").and_then(Value::as_str) {
        Some(path) => sbom::validate(Path::new(path), &schemas),
        None => sbom::Verdict::absent(),
    };
    Ok(DemoResult::new(run, verdict, folder))
}

/// The store keeps what earlier demos registered, and versions are immutable.
fn stale(failure: Failure, args: &Args) -> Failure {
    if failure.code() != Some(Code::VERSION_EXISTS) {
        return failure;
    }
    let store = args.data_dir.join("nats");
    failure.hint(format!(
        "The example changed since an earlier demo: remove that demo's store with `rm -r {}` and run it again.",
        store.display()
    ))
}

/// The agents are Python programs; without it each would fail by itself, later and less clearly.
async fn python() -> Result<(), Failure> {
    match tokio::process::Command::new(PYTHON).arg("--version").output().await {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Failure::coded(
            Code::AGENT_START,
            format!("`{PYTHON}` does not run, and the example's agents are Python programs."),
            "Install Python 3.9 or later; nothing but its standard library is needed.",
        )),
    }
}

/// An interrupted demo leaves no run behind that would go on at the next one.
async fn cancel(stack: &Stack, run_id: Option<&str>) {
    let Some(run_id) = run_id else { return };
    if let Ok(client) = Client::connect(&stack.address().into()).await {
        let request = v1::SteerRequest { run_id: run_id.to_owned(), reason: "the demo was interrupted".into() };
        if let Err(status) = client.runs().terminate(request).await {
            tracing::warn!(%status, run_id, "the run could not be terminated");
        }
    }
}

fn interrupted(run_id: Option<&str>) -> Failure {
    let what = run_id.map(|id| format!(" Run {id} was terminated.")).unwrap_or_default();
    Failure::plain(Exit::Failed, format!("Interrupted.{what}"))
}

fn data_dir(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("The data folder {} cannot be used: {error}.", path.display());
    Failure::coded(Code::DATA_DIR, message, "Name another one with `--data-dir`.")
}

/// The paths of an input, as the workflow takes them.
fn input(source: Value, output_dir: &Path) -> Value {
    json!({ "source": source, "output_dir": output_dir })
}
