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

/// A coordinator makes a hundred small allocations for each step of each run, many of which another thread frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app::App::start(args::Cli::parse())
}
