//! What a call can end with when it does not succeed: the code, the reason, and what to do next.

use std::{collections::HashMap, error::Error as _, fmt, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that did not succeed. Its `Display` says what happened and what to do, in one line.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    status: Status,
    details: ErrorDetails,
}

// === impl Error ===

impl Error {
    /// The gRPC code. A connection that broke in the middle of a call counts as [`Code::Unavailable`], a call that this
    /// client gave up waiting for as [`Code::DeadlineExceeded`].
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The server's sentence.
    pub fn message(&self) -> &str {
        self.0.status.message()
    }

    /// The stable reason of `google.rpc.ErrorInfo`, such as `NO_TARGETS`; none when the server was not reached.
    pub fn reason(&self) -> Option<&str> {
        self.0.details.error_info().map(|info| info.reason.as_str()).filter(|reason| !reason.is_empty())
    }

    /// What `google.rpc.ErrorInfo` tells besides, such as AWS's code and request id.
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.0.details.error_info().map(|info| &info.metadata)
    }

    /// The fields that were refused, and why; empty unless the code is [`Code::InvalidArgument`].
    pub fn field_violations(&self) -> &[FieldViolation] {
        self.0.details.bad_request().map_or(&[], |bad| &bad.field_violations)
    }

    /// How long the server asks to wait before the same request is sent again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.details.retry_info().and_then(|info| info.retry_delay)
    }

    /// All details that came with the status.
    pub fn details(&self) -> &ErrorDetails {
        &self.0.details
    }

    /// The status as it was received.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    /// Whether the same request may simply be sent again: the server was not reached or asks for patience.
    /// Mutations are covered as long as they carry the same `request_id`.
    pub fn is_transient(&self) -> bool {
        match self.code() {
            Code::Unavailable => true,
            Code::Aborted => self.reason() == Some("REQUEST_IN_PROGRESS"),
            _ => false,
        }
    }

    /// What to do next, as a sentence without a full stop.
    pub fn advice(&self) -> String {
        if let Some(delay) = self.retry_after() {
            return format!("send the same request again in {} s", delay.as_secs_f64().ceil());
        }
        let advice = match self.reason() {
            Some("AWS_THROTTLED") => "AWS asks for a slower pace: send the same request again later",
            Some("AWS_ACCESS_DENIED") => "ask those who run patchplane to grant it this right in AWS",
            Some("AWS_CREDENTIALS") => "ask those who run patchplane to check its AWS credentials",
            Some("AWS_UNREACHABLE") => "AWS could not be reached: send the same request again later",
            Some("NO_TARGETS") => {
                "check groups, tags and ids; CheckReadiness says of each instance what keeps it from being patched"
            }
            Some("TOO_MANY_TARGETS") => "select fewer instances, or raise max_targets",
            Some("OTHER_BASELINE_ATTACHED") => "set replace to take the other baseline off first",
            Some("OUTPUT_NOT_READY") => "ask again when the step has ended",
            Some("PLAN_CHANGED") => "look at the plan again with validate_only, and send its new fingerprint",
            Some("ETAG_MISMATCH") => "read the resource again, decide again, and send its new etag",
            Some("REQUEST_ID_REUSED") => "take a new request_id: this one belongs to another request",
            Some("REQUEST_IN_PROGRESS") => "the first call with this request_id still runs: send it again in a moment",
            Some("PAGE_TOKEN_INVALID") => "begin the list again without page_token",
            Some("RESUME_TOKEN_EXPIRED") => "watch again without resume_token",
            _ => match self.code() {
                Code::InvalidArgument => "correct the request",
                Code::NotFound => "check the account, the Region and the id in the name",
                Code::FailedPrecondition => "change what the message names, then send the request again",
                Code::PermissionDenied | Code::Unauthenticated => "ask those who run patchplane for access",
                Code::ResourceExhausted => "use less of it, or ask those who run patchplane for a higher quota",
                Code::Unavailable if self.reason().is_some() => "send the same request again later",
                Code::Unavailable => "check that patchplane runs at this address, and try again",
                Code::DeadlineExceeded | Code::Cancelled => {
                    "the outcome is not known: ask again, or send the same request with the same request_id"
                }
                Code::Unimplemented => "this server does not offer it: compare the versions",
                _ => "report it to those who run patchplane: their log holds the cause",
            },
        };
        advice.to_owned()
    }

    pub(crate) fn unreachable(server: &str, cause: &tonic::transport::Error) -> Self {
        let mut deepest: &dyn std::error::Error = cause;
        while let Some(next) = deepest.source() {
            deepest = next;
        }
        Status::unavailable(format!("no patchplane answers at {server}: {deepest}")).into()
    }

    pub(crate) fn invalid(field: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation(field, description.clone());
        Status::with_error_details(Code::InvalidArgument, format!("{field} {description}"), details).into()
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // Statuses with a source were made by the transport on our side: the server sent none.
        let code = match status.source() {
            Some(source) if timed_out(source) => Code::DeadlineExceeded,
            Some(_) => Code::Unavailable,
            None => status.code(),
        };
        Self(Box::new(Inner { code, details: status.get_error_details(), status }))
    }
}

fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<tonic::TimeoutExpired>())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = format!("{:?}", self.code());
        // Some reasons only repeat the code.
        match self.reason().filter(|reason| !reason.replace('_', "").eq_ignore_ascii_case(&code)) {
            Some(reason) => write!(f, "{} [{code} {reason}]", self.message())?,
            None => write!(f, "{} [{code}]", self.message())?,
        }
        for violation in self.field_violations() {
            // The server's sentence often is the only violation's.
            if !self.message().contains(&violation.description) || !self.message().contains(&violation.field) {
                write!(f, "; {}: {}", violation.field, violation.description)?;
            }
        }
        write!(f, "; {}", self.advice())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.status.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code, message: &str, details: ErrorDetails) -> Error {
        Status::with_error_details(code, message, details).into()
    }

    #[test]
    fn a_refused_field_is_named_once_with_the_advice() {
        let mut details = ErrorDetails::with_bad_request_violation("patch_operation.reboot_option", "must be set");
        details.set_error_info("INVALID_ARGUMENT", "patchplane.v1", HashMap::new());
        let error = error(Code::InvalidArgument, "the request is not valid", details);
        assert_eq!(
            error.to_string(),
            "the request is not valid [InvalidArgument]; patch_operation.reboot_option: must be set; \
             correct the request"
        );
        assert_eq!(error.field_violations()[0].field, "patch_operation.reboot_option");
    }

    #[test]
    fn the_server_s_wish_to_wait_becomes_the_advice() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        details.set_error_info("AWS_THROTTLED", "patchplane.v1", HashMap::from([("aws_code".into(), "X".into())]));
        let error = error(Code::Unavailable, "throttled by AWS", details);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(error.advice(), "send the same request again in 2 s");
        assert_eq!(error.metadata().and_then(|m| m.get("aws_code")).map(String::as_str), Some("X"));
        assert!(error.is_transient());
    }

    #[test]
    fn only_a_running_first_call_makes_aborted_transient() {
        for (reason, transient) in [("REQUEST_IN_PROGRESS", true), ("PLAN_CHANGED", false), ("ETAG_MISMATCH", false)] {
            let details = ErrorDetails::with_error_info(reason, "patchplane.v1", HashMap::new());
            assert_eq!(error(Code::Aborted, "aborted", details).is_transient(), transient, "{reason}");
        }
    }

    #[test]
    fn a_status_without_details_still_says_what_to_do() {
        assert_eq!(
            Error::from(Status::not_found("no such baseline")).to_string(),
            "no such baseline [NotFound]; check the account, the Region and the id in the name"
        );
    }
}
