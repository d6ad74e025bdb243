//! Samples of `deadletter.proto`.

use kapelle_proto::v1::{
    DeadLetterActionRequest, DeadLetterActionResponse, DeadLetterAttempt, DeadLetterCount, DeadLetterFilter,
    DeadLetterStatsRequest, DeadLetterStatsResponse, DeadLetterView, GetDeadLetterRequest, ListDeadLettersRequest,
    ListDeadLettersResponse,
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
        Sample::new(DeadLetterStatsRequest {}),
        Sample::new(DeadLetterStatsResponse { counts: vec![count()] }),
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
    }
}

fn attempt() -> DeadLetterAttempt {
    DeadLetterAttempt { attempt: 1, at_unix_nanos: at(10), failure: Some(failure()) }
}

fn count() -> DeadLetterCount {
    DeadLetterCount { agent: "licence-review@1.2.0".into(), code: "K0401".into(), count: 12, oldest_unix_nanos: at(60) }
}
