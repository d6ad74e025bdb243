//! A gRPC status as a failure: the Kapelle code travels in `google.rpc.ErrorInfo`, its hint in the metadata there.

use std::error::Error as _;

use tonic::{Code as Grpc, Status};
use tonic_types::StatusExt as _;

use super::unreachable;
use crate::exit::Exit;
use crate::failure::Failure;

/// What the status says, with the code and the hint that came with it.
pub(crate) fn failure(address: &str, status: &Status) -> Failure {
    if let Some(info) = status.get_details_error_info() {
        let hint = info.metadata.get("hint").map_or("", String::as_str);
        return Failure::remote(Exit::of_grpc(status.code()), &info.reason, status.message(), hint);
    }
    if is_transient(status) {
        return unreachable(address, &reason(status));
    }
    let message = format!("The coordinator answered {:?}: {}", status.code(), status.message());
    match status.code() {
        Grpc::Unimplemented => Failure::plain(Exit::Failed, message)
            .hint("The coordinator is of another release; compare `kapelle --version` on both sides."),
        code => Failure::plain(Exit::of_grpc(code), message),
    }
}

/// Whether the connection or the coordinator went away, so that asking again may help.
pub(crate) fn is_transient(status: &Status) -> bool {
    let broken = status.source().is_some_and(|source| source.is::<tonic::transport::Error>());
    match status.code() {
        Grpc::Unavailable | Grpc::DeadlineExceeded => true,
        // How tonic reports a connection that broke in the middle of a call.
        Grpc::Unknown | Grpc::Internal | Grpc::Cancelled => broken || status.message().starts_with("h2 protocol error"),
        _ => false,
    }
}

fn reason(status: &Status) -> String {
    match status.source() {
        Some(source) => root_cause(source),
        None => status.message().to_owned(),
    }
}

/// The innermost cause: `Connection refused` rather than `transport error`.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic_types::ErrorDetails;

    #[test]
    fn code_and_hint_arrive() {
        let hint = HashMap::from([("hint".to_owned(), "List them.".to_owned())]);
        let details = ErrorDetails::with_error_info("K0201", "kapelle.dev", hint);
        let status = Status::with_error_details(Grpc::NotFound, "There is no workflow `x`.", details);
        let failure = failure("http://here", &status);
        assert_eq!((failure.exit(), failure.advice()), (Exit::NotFound, "List them."));
        assert_eq!(failure.code(), Some(kapelle_types::Code::UNKNOWN_WORKFLOW));
    }

    #[test]
    fn statuses_without_a_code_have_an_exit_code_too() {
        for (status, exit) in [
            (Status::unavailable("gone"), Exit::Unavailable),
            (Status::permission_denied("no"), Exit::Denied),
            (Status::not_found("no"), Exit::NotFound),
            (Status::internal("oops"), Exit::Failed),
            (Status::internal("h2 protocol error: reset"), Exit::Unavailable),
        ] {
            assert_eq!(failure("http://here", &status).exit(), exit, "{status}");
        }
    }
}
