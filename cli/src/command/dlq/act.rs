//! `kapelle dlq replay|discard|purge`: shows what it would do, asks, does it.

use std::io::{self, IsTerminal, Write};

use kapelle_proto::v1;
use kapelle_proto::v1::dead_letter_act_answer::Answer;
use kapelle_proto::v1::dead_letter_acted::Outcome;
use serde::Serialize;

use super::{Filter, page};
use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::confirmed;
use crate::view::{DeadLetter, DeadLetterGroup};

/// Which dead letters, and how careful to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// With --run: only this step, or one member of it (review:17)
    #[arg(long, requires = "run")]
    step: Option<String>,
    /// On how many at most, the oldest first. Default: all that match
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// How many a second at most
    #[arg(long, value_name = "PER_SECOND", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
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

/// Which dead letters are put back, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    args: Args,
    /// Pass over what was put back so often before
    #[arg(long, value_name = "TIMES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    max_replays: u32,
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

/// What would be done, or was, for programs.
#[derive(Debug, Default, Serialize)]
struct Done {
    dry_run: bool,
    /// How many it was done to, or would be.
    count: u64,
    /// Those; of a dry run the first ones.
    affected: Vec<DeadLetter>,
    /// Which of them are alike; only of a dry run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<DeadLetterGroup>,
    /// How many had been put back or given up before.
    already: u64,
    /// Those that were put back too often before.
    passed_over: Vec<Refused>,
    errors: Vec<Refused>,
}

/// One dead letter that was not acted on.
#[derive(Debug, Serialize)]
struct Refused {
    run_id: String,
    step: String,
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

/// `kapelle dlq replay`.
pub(crate) async fn replay(app: &App, replay: Replay) -> End {
    run(app, Deed::Replay, replay.args, replay.max_replays).await
}

/// `kapelle dlq discard|purge`.
pub(crate) async fn give_up(app: &App, deed: Deed, args: Args) -> End {
    run(app, deed, args, 0).await
}

async fn run(app: &App, deed: Deed, args: Args, replays_max: u32) -> End {
    check(deed, &args, io::stdin().is_terminal())?;
    let client = app.client().await?;
    if args.dry_run || !args.yes {
        let preview = ask(&client, wire(deed, &args, replays_max, true)).await?;
        if args.dry_run || preview.count == 0 {
            return finish(app, deed, preview);
        }
        writeln!(anstream::stderr(), "{}\n", tables(&preview))?;
        if !confirmed(&format!("{} {} dead letter(s)? [y/N] ", deed.words().0, preview.count))? {
            return Err(Failure::plain(Exit::Failed, "Nothing was done."));
        }
    }
    let done = ask(&client, wire(deed, &args, replays_max, false)).await?;
    finish(app, deed, done)
}

fn wire(deed: Deed, args: &Args, replays_max: u32, dry_run: bool) -> v1::DeadLetterActRequest {
    v1::DeadLetterActRequest {
        filter: Some(args.filter.wire(args.limit.unwrap_or(0))),
        step: args.step.clone().unwrap_or_default(),
        discard: deed != Deed::Replay,
        dry_run,
        reason: args.reason.clone(),
        per_second: args.rate,
        replays_max,
    }
}

/// What has to be clear before anybody is asked.
fn check(deed: Deed, args: &Args, terminal: bool) -> Result<(), Failure> {
    if deed == Deed::Discard && args.filter.is_empty() {
        let hint = "Name some with --fingerprint, --agent, --run, --code, --match or --older-than; `kapelle dlq purge` takes everything.";
        return Err(Failure::usage("`dlq discard` needs at least one filter.", hint));
    }
    if !args.yes && !args.dry_run && !terminal {
        let hint = "Repeat it with `--yes`, or see what it would do with `--dry-run`.";
        return Err(Failure::usage("There is no terminal to ask on.", hint));
    }
    Ok(())
}

/// Asks for it and reads what comes of each until all are done.
async fn ask(client: &Client, request: v1::DeadLetterActRequest) -> Result<Done, Failure> {
    let (dry_run, limit) = (request.dry_run, request.filter.as_ref().map_or(0, |filter| filter.limit));
    let mut answers = client.dead_letters().act(request).await.map_err(|s| client.failure(s))?.into_inner();
    let mut done = Done { dry_run, ..Done::default() };
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer.answer,
            Ok(None) if dry_run => return Ok(done),
            Ok(None) => return Err(cut_short(Failure::plain(Exit::Unavailable, "The coordinator stopped."), &done)),
            Err(status) => return Err(cut_short(client.failure(status), &done)),
        };
        match answer {
            Some(Answer::Selected(selected)) if dry_run => {
                done.count = if limit == 0 { selected.total } else { selected.total.min(u64::from(limit)) };
                done.groups = selected.groups.into_iter().map(Into::into).collect();
                done.affected = selected.letters.into_iter().map(Into::into).collect();
            }
            Some(Answer::Acted(acted)) => done.count_in(acted),
            Some(Answer::Summary(_)) => return Ok(done),
            Some(Answer::Selected(_)) | None => {}
        }
    }
}

impl Done {
    fn count_in(&mut self, acted: v1::DeadLetterActed) {
        let outcome = acted.outcome();
        let letter = acted.letter.unwrap_or_default();
        let error = acted.error.unwrap_or_default();
        let refused = Refused {
            run_id: letter.run_id.clone(),
            step: letter.step.clone(),
            code: error.code,
            message: error.message,
            hint: error.hint,
        };
        match outcome {
            Outcome::Done => {
                self.count += 1;
                self.affected.push(letter.into());
            }
            Outcome::Already => self.already += 1,
            Outcome::PassedOver => self.passed_over.push(refused),
            Outcome::Failed | Outcome::Unspecified => self.errors.push(refused),
        }
    }
}

/// A connection that ends in the middle: what was done stays done.
fn cut_short(failure: Failure, done: &Done) -> Failure {
    if done.count == 0 {
        return failure;
    }
    let message = format!("It was cut short after {} dead letter(s): {}", done.count, failure.message());
    Failure::plain(Exit::Unavailable, message).hint("Repeat the command: nothing is done to one of them twice.")
}

fn finish(app: &App, deed: Deed, done: Done) -> End {
    app.output.show(&done, |done| summary(deed, done))?;
    Ok(if done.errors.is_empty() { Exit::Ok } else { Exit::Failed })
}

/// What a dry run found: which are alike, and the first ones.
fn tables(done: &Done) -> String {
    let now = kapelle_telemetry::clock::now();
    let letters = page::table(&done.affected, done.affected.len() as u64, now);
    format!("{}\n\n{letters}", page::groups(&done.groups, now))
}

fn summary(deed: Deed, done: &Done) -> String {
    let verb =
        if done.dry_run { format!("Would {}", deed.words().0.to_lowercase()) } else { deed.words().1.to_owned() };
    let mut text = String::new();
    if done.dry_run && !done.affected.is_empty() {
        text = tables(done) + "\n\n";
    }
    text += &format!("{verb} {} dead letter(s).", done.count);
    if done.already > 0 {
        text += &format!(" {} had been put back or given up before.", done.already);
    }
    for (word, all) in [("passed over", &done.passed_over), ("not done", &done.errors)] {
        for refused in all {
            text += &format!("\n{word}  {} {} {}", refused.code, refused.message, refused.hint);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(filter: Filter, dry_run: bool, yes: bool) -> Args {
        Args { filter, step: None, limit: None, rate: 100, reason: String::new(), dry_run, yes }
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

    fn acted(outcome: Outcome, code: &str) -> v1::DeadLetterActed {
        let error = v1::ApiError { code: code.into(), message: "the run is over".into(), hint: String::new() };
        let error = (!code.is_empty()).then_some(error);
        v1::DeadLetterActed { letter: Some(v1::DeadLetterView::default()), outcome: outcome.into(), error }
    }

    #[test]
    fn what_was_not_done_is_said() {
        let mut done = Done::default();
        for (outcome, code) in [
            (Outcome::Done, ""),
            (Outcome::Failed, "K0206"),
            (Outcome::Already, ""),
            (Outcome::PassedOver, "K0242"),
            (Outcome::Done, ""),
        ] {
            done.count_in(acted(outcome, code));
        }
        assert_eq!((done.affected.len(), done.errors.len()), (2, 1));
        let said = summary(Deed::Replay, &done);
        let lines: Vec<_> = said.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "Replayed 2 dead letter(s). 1 had been put back or given up before.",
                "passed over  K0242 the run is over",
                "not done  K0206 the run is over",
            ]
        );
    }

    #[test]
    fn what_was_cut_short_says_how_to_go_on() {
        let done = Done { count: 3, ..Done::default() };
        let failure = cut_short(Failure::plain(Exit::Failed, "gone"), &done);
        assert_eq!(failure.exit(), Exit::Unavailable);
        assert!(failure.message().contains("after 3") && failure.advice().contains("Repeat"), "{failure:?}");
        assert_eq!(cut_short(Failure::plain(Exit::Denied, "no"), &Done::default()).exit(), Exit::Denied);
    }
}
