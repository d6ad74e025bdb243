//! Samples of `deadletter.proto`.

use kapelle_proto::v1::{
    DeadLetterActAnswer, DeadLetterActRequest, DeadLetterActSummary, DeadLetterActed, DeadLetterActionRequest,
    DeadLetterActionResponse, DeadLetterAttempt, DeadLetterCount, DeadLetterFilter, DeadLetterGroup,
    DeadLetterSelected, DeadLetterStatsRequest, DeadLetterStatsResponse, DeadLetterView, GetDeadLetterRequest,
    ListDeadLettersRequest, ListDeadLettersResponse, dead_letter_act_answer::Answer, dead_letter_acted,
};

use super::log::failure;
use super::runs::error;
use super::{RUN, at};
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(filter()),
        Sample::named("match", DeadLetterFilter { r#match: "timeout".into(), ..filter() }),
        Sample::new(ListDeadLettersRequest { filter: Some(filter()) }),
        Sample::new(ListDeadLettersResponse { dead_letters: vec![letter()], total: 12 }),
        Sample::new(GetDeadLetterRequest { run_id: RUN.into(), step: "review:17".into() }),
        Sample::new(letter()),
        Sample::new(attempt()),
        Sample::new(DeadLetterStatsRequest { filter: None }),
        Sample::named("filter", DeadLetterStatsRequest { filter: Some(filter()) }),
        Sample::new(DeadLetterStatsResponse { counts: vec![count()], groups: vec![] }),
        Sample::named("groups", DeadLetterStatsResponse { counts: vec![count()], groups: vec![group()] }),
        Sample::new(group()),
        Sample::named("fingerprint", DeadLetterFilter { fingerprint: "1f0c5a77b2e9".into(), ..filter() }),
        Sample::named("replayed", DeadLetterView { fingerprint: "1f0c5a77b2e9".into(), replays: 2, ..letter() }),
        Sample::new(DeadLetterActRequest {
            filter: Some(filter()),
            step: "review:17".into(),
            discard: true,
            dry_run: true,
            reason: "mended".into(),
            per_second: 10,
            replays_max: 5,
        }),
        Sample::named("selected", DeadLetterActAnswer { answer: Some(Answer::Selected(selected())) }),
        Sample::named("acted", DeadLetterActAnswer { answer: Some(Answer::Acted(acted())) }),
        Sample::named("summary", DeadLetterActAnswer { answer: Some(Answer::Summary(summary())) }),
        Sample::new(selected()),
        Sample::new(acted()),
        Sample::new(summary()),
        Sample::new(count()),
        Sample::new(DeadLetterActionRequest {
            filter: Some(filter()),
            step: "review:17".into(),
            dry_run: true,
            reason: "the provider is back".into(),
        }),
        Sample::new(DeadLetterActionResponse { affected: vec![letter()], errors: vec![error()] }),
    ]
}

fn filter() -> DeadLetterFilter {
    DeadLetterFilter {
        agent: "licence-review".into(),
        run_id: RUN.into(),
        code: "K0401".into(),
        older_than_seconds: 3_600,
        limit: 50,
        ..DeadLetterFilter::default()
    }
}

fn letter() -> DeadLetterView {
    DeadLetterView {
        run_id: RUN.into(),
        step: "review:17".into(),
        attempt: 3,
        agent: "licence-review@1.2.0".into(),
        workflow: "software-intake@1.0.0".into(),
        cause: Some(failure()),
        at_unix_nanos: at(60),
        input: r#"{"component":{"name":"serde"}}"#.into(),
        history: vec![attempt()],
        ..DeadLetterView::default()
    }
}

fn attempt() -> DeadLetterAttempt {
    DeadLetterAttempt { attempt: 1, at_unix_nanos: at(10), failure: Some(failure()) }
}

fn count() -> DeadLetterCount {
    DeadLetterCount { agent: "licence-review@1.2.0".into(), code: "K0401".into(), count: 12, oldest_unix_nanos: at(60) }
}

fn group() -> DeadLetterGroup {
    DeadLetterGroup {
        fingerprint: "1f0c5a77b2e9".into(),
        agent: "licence-review".into(),
        versions: vec!["1.2.0".into()],
        code: "K0401".into(),
        text: "the agent ended with exit code …".into(),
        count: 12,
        oldest_unix_nanos: at(60),
        newest_unix_nanos: at(90),
        workflows: vec!["software-intake@1.0.0".into()],
        run_id: RUN.into(),
        step: "review:17".into(),
    }
}

fn selected() -> DeadLetterSelected {
    DeadLetterSelected { total: 12, groups: vec![group()], letters: vec![letter()] }
}

fn acted() -> DeadLetterActed {
    DeadLetterActed {
        letter: Some(letter()),
        outcome: dead_letter_acted::Outcome::PassedOver.into(),
        error: Some(error()),
    }
}

fn summary() -> DeadLetterActSummary {
    DeadLetterActSummary { done: 7, already: 1, passed_over: 3, failed: 1 }
}
