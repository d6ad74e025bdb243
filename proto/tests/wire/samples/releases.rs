//! Samples of `release.proto`.

use kapelle_proto::v1::{
    ClearReleaseRequest, GetReleaseRequest, ListReleasesRequest, ListReleasesResponse, PromoteRequest, ReleaseNote,
    ReleaseResponse, ReleaseSubject, ReleaseVersion, ReleaseView, RollbackRequest, SetCurrentRequest,
    SetRampingRequest, StandingView,
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
        }),
        Sample::new(PromoteRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(RollbackRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(ClearReleaseRequest { subject: subject.clone(), note: note.clone() }),
        Sample::new(ReleaseResponse { outcome: "changed".into(), release: Some(view()), behind: vec!["c-2".into()] }),
        Sample::new(view()),
        Sample::new(version()),
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
    }
}
