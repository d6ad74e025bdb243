//! Diagnoses as gRPC statuses: the code travels in `google.rpc.ErrorInfo`, so that clients need not read prose.

use std::collections::HashMap;
use std::sync::Arc;

use kapelle_types::{Caller, Code, Diagnosis, RunId};
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our `ErrorInfo`.
const DOMAIN: &str = "kapelle.dev";

/// A diagnosis as a status.
pub(super) fn status(diagnosis: &Diagnosis) -> Status {
    let mut metadata = HashMap::new();
    if !diagnosis.hint.is_empty() {
        metadata.insert("hint".to_owned(), diagnosis.hint.clone());
    }
    let details = ErrorDetails::with_error_info(diagnosis.code.as_str(), DOMAIN, metadata);
    Status::with_error_details(grpc_code(diagnosis.code), diagnosis.message.clone(), details)
}

/// A message that exceeds what the server reads is refused before any service sees it, with a status that has no code of
/// ours. No service of ours answers "out of range".
pub(super) fn with_code(response: Response<Body>) -> Response<Body> {
    let refused = Status::from_header_map(response.headers()).as_ref().and_then(too_large);
    refused.map_or(response, Status::into_http)
}

/// The same for one status, as it comes inside a stream of requests instead of a message; `None` if it is another refusal.
pub(super) fn too_large(refused: &Status) -> Option<Status> {
    let diagnosis = || Diagnosis::new(Code::PAYLOAD_TOO_LARGE, refused.message()).hint("pass large data by reference");
    (refused.code() == tonic::Code::OutOfRange).then(|| status(&diagnosis()))
}

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::UNKNOWN_RUN
        | Code::UNKNOWN_WORKFLOW
        | Code::UNKNOWN_DEAD_LETTER
        | Code::UNKNOWN_TOKEN
        | Code::UNKNOWN_SCHEDULE
        | Code::UNKNOWN_DELEGATION => tonic::Code::NotFound,
        Code::WRONG_STATE
        | Code::QUERY_FAILED
        | Code::UPDATE_FAILED
        | Code::KEY_INVALID
        | Code::AGENT_IN_USE
        | Code::AGENT_RETIRED
        | Code::NOTHING_TO_FORK
        | Code::STEP_DIFFERS
        | Code::SCHEDULE_CHANGED
        | Code::POLICY_LOCK_OUT
        | Code::SECOND_PERSON
        | Code::PROPOSAL_GONE
        | Code::NOT_HELD
        | Code::STALE_DIGEST
        | Code::SELF_APPROVAL
        | Code::SAME_PERSON => tonic::Code::FailedPrecondition,
        Code::VERSION_EXISTS => tonic::Code::AlreadyExists,
        Code::ADMISSION | Code::SCHEDULES_FULL => tonic::Code::ResourceExhausted,
        Code::NOT_RECORDED
        | Code::BROKER_UNAVAILABLE
        | Code::PLAN_MISSING
        | Code::IDENTITY_UNAVAILABLE
        | Code::AGENT_USE_UNKNOWN
        | Code::RUNS_UNKNOWN
        | Code::OLDER_COORDINATOR
        | Code::AUDIT_UNAVAILABLE
        | Code::POLICIES_UNAVAILABLE => tonic::Code::Unavailable,
        Code::UPDATE_PENDING => tonic::Code::DeadlineExceeded,
        Code::UNAUTHENTICATED => tonic::Code::Unauthenticated,
        Code::DENIED | Code::NO_PERSON | Code::NOT_IN_GROUP | Code::APPROVAL_UNSEEN => tonic::Code::PermissionDenied,
        _ => tonic::Code::InvalidArgument,
    }
}

/// The id of a run in a request.
pub(super) fn run_id(text: &str) -> Result<RunId, Diagnosis> {
    text.parse().map_err(|e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string()))
}

/// Who calls, as the gate established it. Without the gate nobody does.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Arc<Caller>, Status> {
    let nobody = || status(&Diagnosis::new(Code::UNAUTHENTICATED, "the call did not come through the gate"));
    request.extensions().get::<Arc<Caller>>().cloned().ok_or_else(nobody)
}

/// The trace that the call is part of.
pub(super) fn traceparent<T>(request: &Request<T>) -> Option<String> {
    request.metadata().get("traceparent").and_then(|v| v.to_str().ok()).map(str::to_owned)
}
