//! `kapelle sandbox-exec RULES -- PROGRAM…`: limits this process to the rules and becomes the program. Workers call it.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use kapelle_worker::sandbox::{Refusal, Rules, exec};

/// What to become, within which rules.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The rules, as the worker writes them
    rules: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// It returns only if nothing could be started.
pub(crate) fn run(args: &Args) -> ExitCode {
    let refusal = match Rules::from_json(&args.rules) {
        Ok(rules) => exec(&rules, &args.command),
        Err(why) => Refusal::Sandbox(why),
    };
    // For the worker, which keeps it with the failure; if nobody reads it, the exit code still tells.
    let _ = write!(std::io::stderr(), "{refusal}");
    refusal.exit_code().into()
}
