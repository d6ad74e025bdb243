//! Samples of `release.proto`.

use kapelle_proto::v1::{
    ClearReleaseRequest, GetReleaseRequest, ListReleasesRequest, ListReleasesResponse, PauseRolloutRequest,
    PromoteRequest, ReleaseNote, ReleaseResponse, ReleaseSubject, ReleaseVersion, ReleaseView, ResumeRolloutRequest,
    RollbackRequest, RolloutPlan, RolloutStage, RolloutView, SetCurrentRequest, SetRampingRequest, StandingView,
    VersionOutcomes,
};

use super::at;
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    let (subject, note) = (Some(subject()), Some(note()));
    vec![
        Sample::new(ListReleasesRequest {}),
        Sample::new(ListReleasesResponse { releases: vec![view()] }),
        Sample::new(GetReleaseRequest { subject: subject.clone() }),
        Sample::new(SetCurrentRequest { subject: subject.clone(), version: "1.2.0".into(), note: note.clone() }),
        Sample::new(SetRampingRequest {
            subject: subject.clone(),
            version: "2.0.0".into(),
            percentage: 12.5,
            note: note.clone(),
            rollout: None,
        }),
        Sample::named(
            "rollout",
            SetRampingRequest {
                subject: subject.clone(),
                version: "2.0.0".into(),
                percentage: 0.0,
                note: note.clone(),
                rollout: Some(plan()),
            },
        ),
        Sample::new(PauseRolloutRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(ResumeRolloutRequest { subject: subject.clone(), note: note.clone() }),
        Sample::named("rollout", ReleaseView { rollout: Some(rollout()), ..view() }),
        Sample::new(rollout()),
        Sample::new(plan()),
        Sample::new(hold()),
        Sample::named("pause", RolloutStage { percentage: 1.0, pause_millis: 600_000, hold: false }),
        Sample::new(outcomes()),
        Sample::new(PromoteRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(RollbackRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(ClearReleaseRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(ReleaseResponse { outcome: "changed".into(), release: Some(view()), behind: vec!["c-2".into()] }),
        Sample::new(view()),
        Sample::new(version()),
        Sample::named("deprecated", ReleaseVersion { deprecation: Some(super::standing::deprecation()), ..version() }),
        Sample::new(subject.unwrap_or_default()),
        Sample::new(note.unwrap_or_default()),
    ]
}

fn subject() -> ReleaseSubject {
    ReleaseSubject { kind: "Agent".into(), name: "licence-review".into() }
}

fn note() -> ReleaseNote {
    ReleaseNote { why: "better on contracts".into(), force: true, ignore_missing_workers: true, dry_run: true }
}

fn view() -> ReleaseView {
    ReleaseView {
        kind: "Agent".into(),
        name: "licence-review".into(),
        current: "1.2.0".into(),
        ramping: "2.0.0".into(),
        percentage: 12.5,
        before: vec!["1.1.0".into()],
        by: "user:ada".into(),
        at_unix_nanos: at(0),
        why: "better on contracts".into(),
        versions: vec![version()],
        complete: true,
        rollout: None,
    }
}

fn hold() -> RolloutStage {
    RolloutStage { percentage: 50.0, pause_millis: 0, hold: true }
}

fn plan() -> RolloutPlan {
    RolloutPlan {
        stages: vec![RolloutStage { percentage: 1.0, pause_millis: 600_000, hold: false }, hold()],
        seen_min: 50,
        error_rate_max: Some(2.5),
        latency_ratio_max: Some(1.5),
        cost_ratio_max: Some(1.25),
    }
}

fn outcomes() -> VersionOutcomes {
    VersionOutcomes { succeeded: 480, failed: 3, p95_micros: Some(1_250_000), mean_cost_usd: Some(0.0125) }
}

fn rollout() -> RolloutView {
    RolloutView {
        plan: Some(plan()),
        stage: 1,
        since_unix_nanos: at(0),
        due_unix_nanos: at(600),
        paused: true,
        verdict: "inconclusive".into(),
        reason: "12 of 50 attempts seen".into(),
        candidate: Some(outcomes()),
        current: Some(outcomes()),
    }
}

fn version() -> ReleaseVersion {
    ReleaseVersion {
        version: "1.0.0".into(),
        status: "RETIRED".into(),
        open_runs: 1,
        workers: 2,
        standing: Some(StandingView {
            status: "RETIRED".into(),
            by: "user:ada".into(),
            at_unix_nanos: at(60),
            why: "nobody needs it".into(),
        }),
        deprecation: None,
    }
}
