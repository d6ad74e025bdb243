//! What a command is run with, and how its end becomes the process's.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Call, Cli, Command, Shared};
use crate::client::{Client, Target};
use crate::command;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Output};

/// How long what still runs in the background may hold up the end of the process: a broker child has to be stopped.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Everything a command needs besides its own arguments.
#[derive(Debug)]
pub(crate) struct App {
    /// Where the coordinator's API is, and who we are there.
    pub(crate) target: Target,
    /// Where results go.
    pub(crate) output: Output,
    /// What is logged, for a command that sends its logs elsewhere than to stderr.
    pub(crate) log_filter: String,
    /// How this program was called, so that the commands it recommends can be pasted.
    pub(crate) program: String,
}

/// How a command ended.
pub(crate) type End = Result<Exit, Failure>;

impl App {
    /// Sets up this process for one command line.
    pub(crate) fn start(cli: Cli) -> ExitCode {
        let Cli { shared, call } = cli;
        let command = match call {
            // No runtime: only the thread that asks for it is limited. And no logs: every millisecond delays an agent.
            Call::SandboxExec(args) => return command::sandbox_exec::run(&args),
            Call::Command(command) => *command,
        };
        let output = Output::new(shared.output);
        let end = set_up_logs(&shared, &command).and_then(|()| {
            let log_filter = shared.filter(true).to_owned();
            let program = program(std::env::args().next());
            let app = Self { target: shared.target(), output, log_filter, program };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build()?;
            let end = runtime.block_on(app.run(command));
            runtime.shutdown_timeout(LAST_WAIT);
            end
        });
        match end {
            Ok(exit) => exit.into(),
            Err(failure) => {
                tell(&failure, output.format());
                failure.exit().into()
            }
        }
    }

    /// Dials the coordinator.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.target).await
    }

    async fn run(&self, command: Command) -> End {
        match command {
            Command::Demo(args) => Box::pin(command::demo::run(self, args)).await,
            Command::Dev(args) => Box::pin(command::dev::run(self, args)).await,
            Command::Doctor(args) => command::doctor::run(self, args).await,
            Command::Plan(args) => command::plan::run(self, args).await,
            Command::Diff(args) => command::diff::run(self, args).await,
            Command::Apply(args) => command::apply::run(self, args).await,
            Command::Agent(verb) => command::agent::run(self, verb).await,
            Command::Workflow(verb) => command::registry::run(self, "Workflow", verb).await,
            Command::Run(verb) => command::run::run(self, verb).await,
            Command::Release(verb) => Box::pin(command::release::run(self, verb)).await,
            Command::Schedule(verb) => Box::pin(command::schedule::run(self, verb)).await,
            Command::Lineage(args) => command::lineage::run(self, args).await,
            Command::Approval(verb) => command::approval::run(self, verb).await,
            Command::Dlq(verb) => command::dlq::run(self, verb).await,
            Command::Queue(verb) => command::fleet::queue(self, verb).await,
            Command::Policy(verb) => command::policy::run(self, verb).await,
            Command::Audit(verb) => command::audit::run(self, verb).await,
            Command::Worker(verb) => Box::pin(command::worker::run(self, verb)).await,
            Command::Coordinator(verb) => Box::pin(command::coordinator::run(self, verb)).await,
            Command::Token(verb) => Box::pin(command::token::run(self, verb)).await,
            Command::Broker(verb) => command::broker::run(self, verb),
            Command::Namespace(verb) => Box::pin(command::namespace::run(self, verb)).await,
            Command::Credentials(verb) => Box::pin(command::credentials::run(self, verb)).await,
            Command::Bench(args) => Box::pin(command::bench::run(self, &args)).await,
        }
    }
}

/// Threads that move messages: what `TOKIO_WORKER_THREADS` says, otherwise half of the cores. A message takes microseconds, so
/// handing it from thread to thread costs more than a second thread gains until one is full; and the broker, the agents and
/// other roles need cores too. Measured on two cores: one thread moves a step with 15 to 20 % less CPU than two.
fn threads() -> usize {
    let wanted = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)))
}

/// As it was called by its path; just `kapelle` if it was found on the PATH.
fn program(called: Option<String>) -> String {
    called.filter(|c| c.contains('/') && !c.contains(' ')).unwrap_or_else(|| "kapelle".to_owned())
}

/// The demo draws on the terminal and sends its logs to a file; it sets them up by itself.
fn set_up_logs(shared: &Shared, command: &Command) -> Result<(), Failure> {
    if matches!(command, Command::Demo(_)) {
        return Ok(());
    }
    kapelle_telemetry::logs::init(shared.log_format, shared.filter(command.is_role()))
        .map_err(|e| Failure::usage(e.to_string(), "The flag is `--log-filter`, the variable KAPELLE_LOG."))
}

/// Says on stderr why the command failed. If not even that can be written, there is nobody to tell.
fn tell(failure: &Failure, format: Format) {
    let text = match format {
        Format::Table | Format::Yaml => failure.text(),
        Format::Json => failure.json().map_or_else(String::new, |json| format!("{json}\n")),
    };
    let _ = anstream::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_recommended_can_be_pasted() {
        for (called, program) in [
            (Some("kapelle"), "kapelle"),
            (Some("target/release/kapelle"), "target/release/kapelle"),
            (Some("/a folder/kapelle"), "kapelle"),
            (None, "kapelle"),
        ] {
            assert_eq!(super::program(called.map(str::to_owned)), program);
        }
    }
}
