//! `kapelle dlq replay|discard|purge`: shows what it would do, asks, does it.

use std::io::{self, IsTerminal, Write};

use kapelle_proto::v1;
use serde::Serialize;

use super::{Filter, page};
use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::confirmed;
use crate::view::DeadLetter;

/// Dead letters shown before the question.
const PREVIEW: usize = 20;

/// Which dead letters, and how careful to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// With --run: only this step, or one member of it (review:17)
    #[arg(long, requires = "run")]
    step: Option<String>,
    /// Why; it is kept in the runs' logs
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What is to become of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Back to their queues.
    Replay,
    /// Given up for good.
    Discard,
    /// Given up for good, everything if need be.
    Purge,
}

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Done {
    dry_run: bool,
    count: usize,
    affected: Vec<DeadLetter>,
    errors: Vec<Refused>,
}

/// One dead letter that was not acted on.
#[derive(Debug, Serialize)]
struct Refused {
    code: String,
    message: String,
    hint: String,
}

impl Deed {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Replay => ("Replay", "Replayed"),
            Self::Discard => ("Discard", "Discarded"),
            Self::Purge => ("Purge", "Purged"),
        }
    }
}

/// `kapelle dlq replay|discard|purge`.
pub(crate) async fn run(app: &App, deed: Deed, args: Args) -> End {
    check(deed, &args, io::stdin().is_terminal())?;
    let client = app.client().await?;
    let request = v1::ListDeadLettersRequest { filter: Some(args.filter.wire(1)) };
    let total = client.dead_letters().list(request).await.map_err(|s| client.failure(s))?.into_inner().total;
    // One request for all that is there now. In batches the same letters would come again: they leave when their runs
    // have acted on the request, which is a moment after it was recorded.
    let limit = u32::try_from(total).unwrap_or(u32::MAX).max(1);
    if args.dry_run || !args.yes {
        let preview = ask(&client, deed, &args, limit, true).await?;
        if args.dry_run || preview.affected.is_empty() {
            return finish(app, deed, preview);
        }
        let shown = preview.affected.get(..PREVIEW).unwrap_or(&preview.affected);
        let table = page::table(shown, preview.count as u64, kapelle_telemetry::clock::now());
        writeln!(anstream::stderr(), "{table}\n")?;
        if !confirmed(&format!("{} {} dead letter(s)? [y/N] ", deed.words().0, preview.count))? {
            return Err(Failure::plain(Exit::Failed, "Nothing was done."));
        }
    }
    let done = ask(&client, deed, &args, limit, false).await?;
    finish(app, deed, done)
}

/// What has to be clear before anybody is asked.
fn check(deed: Deed, args: &Args, terminal: bool) -> Result<(), Failure> {
    if deed == Deed::Discard && args.filter.is_empty() {
        let hint =
            "Name some with --agent, --run, --code, --match or --older-than; `kapelle dlq purge` takes everything.";
        return Err(Failure::usage("`dlq discard` needs at least one filter.", hint));
    }
    if !args.yes && !args.dry_run && !terminal {
        let hint = "Repeat it with `--yes`, or see what it would do with `--dry-run`.";
        return Err(Failure::usage("There is no terminal to ask on.", hint));
    }
    Ok(())
}

async fn ask(client: &Client, deed: Deed, args: &Args, limit: u32, dry_run: bool) -> Result<Done, Failure> {
    let request = v1::DeadLetterActionRequest {
        filter: Some(args.filter.wire(limit)),
        step: args.step.clone().unwrap_or_default(),
        dry_run,
        reason: args.reason.clone(),
    };
    let mut service = client.dead_letters();
    let answer = match deed {
        Deed::Replay => service.replay(request).await,
        Deed::Discard | Deed::Purge => service.discard(request).await,
    };
    let answer = answer.map_err(|s| client.failure(s))?.into_inner();
    let affected: Vec<_> = answer.affected.into_iter().map(DeadLetter::from).collect();
    let refused = |e: v1::ApiError| Refused { code: e.code, message: e.message, hint: e.hint };
    Ok(Done { dry_run, count: affected.len(), affected, errors: answer.errors.into_iter().map(refused).collect() })
}

fn finish(app: &App, deed: Deed, done: Done) -> End {
    app.output.show(&done, |done| summary(deed, done))?;
    Ok(if done.errors.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn summary(deed: Deed, done: &Done) -> String {
    let verb =
        if done.dry_run { format!("Would {}", deed.words().0.to_lowercase()) } else { deed.words().1.to_owned() };
    let mut text = String::new();
    if done.dry_run && !done.affected.is_empty() {
        text = page::table(&done.affected, done.count as u64, kapelle_telemetry::clock::now()) + "\n\n";
    }
    text += &format!("{verb} {} dead letter(s).", done.count);
    for refused in &done.errors {
        text += &format!("\nnot done  {} {} {}", refused.code, refused.message, refused.hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(filter: Filter, dry_run: bool, yes: bool) -> Args {
        Args { filter, step: None, reason: String::new(), dry_run, yes }
    }

    #[test]
    fn nothing_is_given_up_by_accident() {
        let one = Filter { agent: Some("a".into()), ..Filter::default() };
        let all = Filter::default;
        assert!(check(Deed::Discard, &args(all(), false, true), true).is_err(), "discard takes a filter");
        assert!(check(Deed::Purge, &args(all(), false, true), false).is_ok());
        assert!(check(Deed::Purge, &args(all(), false, false), false).is_err(), "nobody to ask");
        assert!(check(Deed::Replay, &args(one.clone(), false, false), false).is_err(), "nobody to ask");
        assert!(check(Deed::Replay, &args(one.clone(), false, false), true).is_ok());
        assert!(check(Deed::Discard, &args(one, true, false), false).is_ok(), "a dry run asks nobody");
    }

    #[test]
    fn what_was_not_done_is_said() {
        let refused = Refused { code: "K0206".into(), message: "the run is over".into(), hint: String::new() };
        let done = Done { dry_run: false, count: 2, affected: vec![], errors: vec![refused] };
        assert_eq!(summary(Deed::Replay, &done).trim(), "Replayed 2 dead letter(s).\nnot done  K0206 the run is over");
    }
}
