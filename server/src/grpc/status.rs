//! The one road from errors to gRPC: a code, a sentence, and `google.rpc.ErrorInfo` with whatever else helps.

use crate::error::Error;
use patchplane_aws::ErrorKind;
use std::{collections::HashMap, error::Error as _, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "patchplane.v1";
/// After AWS asked for a slower pace.
const THROTTLED: Duration = Duration::from_secs(5);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        let mut metadata = HashMap::new();
        let code = match &error {
            Error::Invalid(invalid) => {
                details.add_bad_request_violation(&invalid.field, &invalid.rule);
                Code::InvalidArgument
            }
            Error::PageToken => {
                details.add_bad_request_violation("page_token", "is not valid for this request");
                Code::InvalidArgument
            }
            Error::ResumeToken => Code::OutOfRange,
            Error::NotFound { kind, name, .. } => {
                details.set_resource_info(*kind, name, "", "does not exist");
                Code::NotFound
            }
            Error::Precondition { reason, message, subject } => {
                details.add_precondition_failure_violation(*reason, subject, message);
                Code::FailedPrecondition
            }
            Error::Aborted { retry_after, .. } => {
                if let Some(delay) = retry_after {
                    details.set_retry_info(Some(*delay));
                }
                Code::Aborted
            }
            Error::RequestIdReused { request_id } => {
                metadata.insert("request_id".to_owned(), request_id.clone());
                Code::AlreadyExists
            }
            Error::Forbidden { .. } => Code::PermissionDenied,
            Error::Aws(error) => {
                metadata.insert("aws_action".to_owned(), error.action.to_owned());
                metadata.extend(error.code.clone().map(|code| ("aws_code".to_owned(), code)));
                metadata.extend(error.request_id.clone().map(|id| ("aws_request_id".to_owned(), id)));
                aws(error, &mut details)
            }
            Error::Deadline => Code::DeadlineExceeded,
            Error::HeadersTooLarge { most } => {
                details.add_quota_failure_violation("headers", format!("at most {most} bytes"));
                Code::ResourceExhausted
            }
            Error::Draining | Error::Starting | Error::Overloaded => {
                details.set_retry_info(Some(Duration::from_secs(1)));
                Code::Unavailable
            }
            Error::Store(_) => {
                log(&error);
                details.set_retry_info(Some(Duration::from_secs(5)));
                Code::Unavailable
            }
            Error::Internal(_) => {
                log(&error);
                Code::Internal
            }
        };
        details.set_error_info(error.reason(), DOMAIN, metadata);
        Status::with_error_details(code, error.to_string(), details)
    }
}

/// Gives a status of the transport itself a reason, and the code that it has everywhere else.
pub(super) fn with_reason(status: &Status) -> Status {
    let (code, reason) = match status.code() {
        // The decoder's word for a message beyond the limit.
        Code::OutOfRange => (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        Code::Unimplemented => (Code::Unimplemented, "METHOD_UNKNOWN"),
        // Nothing of ours ends so without details: the message could not be read.
        Code::Internal => (Code::InvalidArgument, "MESSAGE_UNREADABLE"),
        code => (code, name(code)),
    };
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, status.message(), details)
}

/// As gRPC's documents and metrics spell a code.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn aws(error: &patchplane_aws::Error, details: &mut ErrorDetails) -> Code {
    match error.kind {
        ErrorKind::Throttled => {
            details.set_retry_info(Some(THROTTLED));
            Code::Unavailable
        }
        ErrorKind::Unreachable => {
            details.set_retry_info(Some(Duration::from_secs(1)));
            Code::Unavailable
        }
        ErrorKind::Deadline => Code::DeadlineExceeded,
        ErrorKind::Quota => {
            details.add_quota_failure_violation(error.action, &error.message);
            Code::ResourceExhausted
        }
        ErrorKind::Denied | ErrorKind::Credentials => {
            let what = format!("this service needs the right to {}", error.action);
            details.add_precondition_failure_violation("AWS_ACCESS_DENIED", error.action, what);
            Code::FailedPrecondition
        }
        ErrorKind::BadToken => {
            details.add_bad_request_violation("page_token", "is not valid for this request");
            Code::InvalidArgument
        }
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::AlreadyExists
        | ErrorKind::InUse
        | ErrorKind::Invalid
        | ErrorKind::InvalidInstance
        | ErrorKind::NotYet
        | ErrorKind::UnknownCommand => Code::FailedPrecondition,
    }
}

/// A failure that the caller learns nothing of: once, with its whole chain.
fn log(error: &Error) {
    let mut chain = Vec::new();
    let mut cause = error.source();
    while let Some(source) = cause {
        chain.push(source.to_string());
        cause = source.source();
    }
    tracing::error!(reason = error.reason(), cause = chain.join(": "), "{error}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchplane_rules::Invalid;

    #[test]
    fn every_error_carries_its_reason_and_bad_input_names_the_field() {
        let status = Status::from(Error::Invalid(Invalid::new("patch_operation.kind", "is required")));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_ARGUMENT", "patchplane.v1"));
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "patch_operation.kind");
    }

    #[test]
    fn a_defect_tells_its_caller_nothing() {
        let status = Status::from(Error::Internal("the secret cause".into()));
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
        assert!(!String::from_utf8_lossy(status.details()).contains("secret"));
    }

    #[test]
    fn a_right_that_we_lack_is_never_the_callers() {
        let denied = patchplane_aws::Error {
            kind: ErrorKind::Denied,
            action: "ssm:SendCommand",
            code: Some("AccessDeniedException".into()),
            message: "not authorized".into(),
            request_id: Some("r-1".into()),
        };
        let status = Status::from(Error::Aws(denied));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(info.reason, "AWS_ACCESS_DENIED");
        assert_eq!(info.metadata["aws_action"], "ssm:SendCommand");
    }
}
