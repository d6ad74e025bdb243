//! `kapelle agent …`: the agents that are registered, and what is to be said of all of them together.

mod card;
mod certificate;
mod check;
mod deprecate;
pub(super) mod graph;
mod impact;
mod onboard;
mod retire;
mod stop;

use clap::Subcommand;

use super::registry;
use crate::app::{App, End};

/// What can be asked about agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Registry(registry::Verb),
    /// What two agents own, what nobody owns, what nobody uses, and who has no limits of its own
    Check(check::Args),
    /// Take an agent in: complete its manifest, try it with its samples, register all of it or nothing
    Onboard(Box<onboard::Args>),
    /// The agent as an A2A agent card
    Card(card::Args),
    /// What breaks if an agent changes or goes: workflows, steps, open runs. Exits with 1 if something does
    Impact(impact::Args),
    /// Say until when a version is used, and see who depends on it
    Deprecate(deprecate::Args),
    /// Take a version out of use: refused while workflows or open runs need it
    Retire(Box<retire::Args>),
    /// What was found when a version was retired, signed, and how it is checked
    #[command(subcommand)]
    Certificate(certificate::Verb),
    /// Put a version that is retired, suspended or quarantined back into use
    Reinstate(retire::Reinstate),
    /// Stop an agent at once, everywhere: nothing of it is worked at, and its runs wait
    Suspend(stop::Args),
    /// The same, and no new run gets it
    Quarantine(stop::Args),
    /// Let an agent go on that is suspended
    Resume(stop::Resume),
}

/// `kapelle agent …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Registry(verb) => registry::run(app, "Agent", verb).await,
        Verb::Check(args) => check::run(app, &args).await,
        Verb::Onboard(args) => Box::pin(onboard::run(app, *args)).await,
        Verb::Card(args) => card::run(app, args).await,
        Verb::Impact(args) => impact::run(app, &args).await,
        Verb::Deprecate(args) => deprecate::run(app, args).await,
        Verb::Retire(args) => retire::run(app, *args).await,
        Verb::Certificate(verb) => certificate::run(app, verb).await,
        Verb::Reinstate(args) => retire::reinstate(app, args).await,
        Verb::Suspend(args) => stop::run(app, args, false).await,
        Verb::Quarantine(args) => stop::run(app, args, true).await,
        Verb::Resume(args) => stop::resume(app, args).await,
    }
}
