//! Samples of `schedule.proto`.

use kapelle_proto::v1::{
    ApplyScheduleRequest, ApplyScheduleResponse, BackfillScheduleRequest, BackfillScheduleResponse,
    DeleteScheduleRequest, DeleteScheduleResponse, GetScheduleRequest, ListSchedulesRequest, ListSchedulesResponse,
    PauseScheduleRequest, ResumeScheduleRequest, ScheduleFiring, SchedulePause, ScheduleTime, ScheduleView,
    TriggerScheduleRequest,
};

use super::{RUN, at};
use crate::golden::Sample;

const NAME: &str = "nightly";

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(ApplyScheduleRequest { json: manifest(), dry_run: true }),
        Sample::new(ApplyScheduleResponse { outcome: "changed".into(), schedule: Some(view()) }),
        Sample::new(ListSchedulesRequest {}),
        Sample::new(ListSchedulesResponse { schedules: vec![view()] }),
        Sample::new(GetScheduleRequest { name: NAME.into() }),
        Sample::new(PauseScheduleRequest { name: NAME.into(), note: "the provider moves house".into() }),
        Sample::new(ResumeScheduleRequest { name: NAME.into() }),
        Sample::new(TriggerScheduleRequest { name: NAME.into() }),
        Sample::new(BackfillScheduleRequest { name: NAME.into(), from_unix_nanos: at(0), to_unix_nanos: at(86_400) }),
        Sample::new(BackfillScheduleResponse { times: 2 }),
        Sample::new(DeleteScheduleRequest { name: NAME.into() }),
        Sample::new(DeleteScheduleResponse {}),
        Sample::new(view()),
        Sample::new(pause()),
        Sample::new(time()),
        Sample::new(firing()),
    ]
}

fn manifest() -> bytes::Bytes {
    r#"{"kind":"Schedule","metadata":{"name":"nightly"}}"#.into()
}

fn view() -> ScheduleView {
    ScheduleView {
        name: NAME.into(),
        workflow: "software-intake@^1".into(),
        json: manifest(),
        applied_by: "ada@example.com".into(),
        applied_at_unix_nanos: at(0),
        pause: Some(pause()),
        next: vec![time()],
        open_runs: vec![RUN.into()],
        waiting: 1,
        started: 30,
        skipped: 2,
        missed: 3,
        failed: 4,
        recent: vec![firing()],
    }
}

fn pause() -> SchedulePause {
    SchedulePause { by: "ada@example.com".into(), at_unix_nanos: at(60), note: "the provider moves house".into() }
}

fn time() -> ScheduleTime {
    ScheduleTime { at_unix_nanos: at(86_400), shown: "2026-11-23 09:00:00 Europe/Berlin".into() }
}

fn firing() -> ScheduleFiring {
    ScheduleFiring {
        time_unix_nanos: at(0),
        at_unix_nanos: at(1),
        outcome: "started".into(),
        run_id: RUN.into(),
        why: "asked for by ada@example.com".into(),
    }
}
