//! The `kapelle` binary: every role and every command. Parse, build, run.

mod app;
mod args;
mod client;
mod command;
mod exit;
mod failure;
mod manifests;
mod output;
mod shutdown;
mod stack;
mod view;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    app::App::start(args::Cli::parse())
}
