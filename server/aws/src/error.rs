//! What can go wrong with a call of AWS, sorted by what the caller can do next.

use crate::calls::Call;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{
    orchestrator::HttpResponse,
    result::{ConnectorError, SdkError},
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use std::{error::Error as StdError, fmt};

pub type Result<T> = std::result::Result<T, Error>;

/// A call of AWS that failed. Its text names no more than the kind: `message` can quote ARNs and is for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    /// The IAM action of the call, such as `ssm:SendCommand`.
    pub action: &'static str,
    /// AWS's code, if AWS answered with one.
    pub code: Option<String>,
    /// AWS's words, often empty (S 1.15), or the chain of causes when there was no answer.
    pub message: String,
    pub request_id: Option<String>,
}

/// Told apart by AWS's code, never by its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// AWS wants a slower pace, also after the SDK's own retries; or somebody changes the same thing at once (S 3.1.4).
    Throttled,
    /// We lack the right of `action`.
    Denied,
    NotFound,
    AlreadyExists,
    InUse,
    /// An instance among those asked for is unknown or not in a valid state (S 6.1.4).
    InvalidInstance,
    /// AWS refused the request as such.
    Invalid,
    /// A page token that AWS does not take.
    BadToken,
    /// A limit of the account.
    Quota,
    /// InvocationDoesNotExist: no such invocation, or not yet (S 1.25).
    NotYet,
    /// InvalidCommandId: malformed, or older than AWS remembers (S 6.3.10).
    UnknownCommand,
    /// Credentials or signature are missing, wrong or expired.
    Credentials,
    /// No answer, or a server's failure, after all attempts.
    Unreachable,
    /// The caller's deadline came before the answer.
    Deadline,
    /// Whoever answers does not know the operation.
    Unimplemented,
}

// === impl Error ===

impl StdError for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AWS {} failed: {}", self.action, self.kind)?;
        match (&self.code, &self.request_id) {
            (Some(code), Some(id)) => write!(f, " ({code}, request {id})"),
            (Some(code), None) => write!(f, " ({code})"),
            (None, Some(id)) => write!(f, " (request {id})"),
            (None, None) => Ok(()),
        }
    }
}

impl ErrorKind {
    /// As metrics tell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::InUse => "in_use",
            Self::InvalidInstance => "invalid_instance",
            Self::Invalid => "invalid",
            Self::BadToken => "bad_token",
            Self::Quota => "quota",
            Self::NotYet => "not_yet",
            Self::UnknownCommand => "unknown_command",
            Self::Credentials => "credentials",
            Self::Unreachable => "unreachable",
            Self::Deadline => "deadline",
            Self::Unimplemented => "unimplemented",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

// === from the SDK ===

pub(crate) fn of_sdk<E>(call: &Call, failure: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let code = failure.code().filter(|code| !code.is_empty()).map(str::to_owned);
    let kind = match failure {
        SdkError::ConstructionFailure(_) => ErrorKind::Invalid,
        SdkError::DispatchFailure(_) => classify_dispatch(failure),
        SdkError::ResponseError(_) | SdkError::ServiceError(_) => {
            let raw = failure.raw_response();
            classify(code.as_deref(), raw.map_or(0, |raw| raw.status().as_u16()), raw.is_some_and(is_html))
        }
        _ => ErrorKind::Unreachable,
    };
    let message = match failure {
        SdkError::ServiceError(_) => failure.message().unwrap_or_default().to_owned(),
        other => chain(other),
    };
    Error { kind, action: call.action, code, message, request_id: failure.request_id().map(str::to_owned) }
}

/// The kind of an answer, from its code alone where it is known (S 13), else from its status.
fn classify(code: Option<&str>, status: u16, html: bool) -> ErrorKind {
    use ErrorKind::*;
    match code.unwrap_or_default() {
        // The SDK's own list of throttling codes (S 3.1.3), and TooManyUpdates (S 3.1.4).
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "LimitExceededException"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "EC2ThrottledException"
        | "TooManyUpdates" => Throttled,
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "OptInRequired" => Denied,
        "DoesNotExistException"
        | "InvalidResourceId"
        | "AssociationDoesNotExist"
        | "AssociationExecutionDoesNotExist" => NotFound,
        "AlreadyExistsException" => AlreadyExists,
        "ResourceInUseException" | "TargetInUseException" => InUse,
        "InvalidInstanceId" | "InvalidInstanceID.Malformed" => InvalidInstance,
        "InvalidNextToken" => BadToken,
        "ResourceLimitExceededException" | "TooManyTagsError" => Quota,
        "InvocationDoesNotExist" => NotYet,
        "InvalidCommandId" => UnknownCommand,
        "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Credentials,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "Unavailable" => Unreachable,
        "InvalidAction" | "NotImplemented" | "UnknownOperation" | "UnknownOperationException" => Unimplemented,
        // EC2's codes are dotted (S 2.9).
        code if code.ends_with(".NotFound") => NotFound,
        code if code.ends_with(".InUse") => InUse,
        code if code.ends_with("LimitExceeded") => Quota,
        _ => match status {
            404 | 501 => Unimplemented,
            _ if html => Unimplemented,
            401 | 403 => Denied,
            400..=499 => Invalid,
            // A 2xx gets here only if it could not be decoded.
            _ => Unreachable,
        },
    }
}

/// No answer: because nobody could be reached, or because we had nothing to sign with.
fn classify_dispatch(failure: &(dyn StdError + 'static)) -> ErrorKind {
    let mut causes = causes(failure).skip_while(|cause| !cause.is::<CredentialsError>());
    match causes.next().and_then(|cause| cause.downcast_ref()) {
        None | Some(CredentialsError::ProviderTimedOut(_)) => ErrorKind::Unreachable,
        // The credentials' own source was not reached.
        Some(_) if causes.any(|cause| cause.is::<ConnectorError>()) => ErrorKind::Unreachable,
        Some(_) => ErrorKind::Credentials,
    }
}

/// Whether the connection itself was refused, so that no byte of the request left.
pub(crate) fn is_connection_refused(failure: &(dyn StdError + 'static)) -> bool {
    causes(failure)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn is_html(response: &HttpResponse) -> bool {
    let starts_like_html = |body: &[u8]| {
        let start = body.trim_ascii_start();
        [b"<!doctype html".as_slice(), b"<html"]
            .iter()
            .any(|tag| start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
    };
    response.headers().get("content-type").is_some_and(|kind| kind.contains("html"))
        || response.body().bytes().is_some_and(starts_like_html)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{DESCRIBE_INSTANCES, SEND_COMMAND};
    use ErrorKind::*;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    fn response(status: u16, body: &'static str, request_id: Option<&'static str>) -> HttpResponse {
        let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
        if let Some(id) = request_id {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }

    #[test]
    fn codes_decide_the_kind() {
        // Codes and statuses: S 13, S 1.17, S 2.9, S 3.1.
        for (code, status, kind) in [
            ("ThrottlingException", 400, Throttled),
            ("RequestLimitExceeded", 503, Throttled),
            ("TooManyUpdates", 400, Throttled),
            ("AccessDeniedException", 400, Denied),
            ("UnauthorizedOperation", 403, Denied),
            ("DoesNotExistException", 400, NotFound),
            ("AssociationDoesNotExist", 400, NotFound),
            ("AssociationExecutionDoesNotExist", 400, NotFound),
            ("InvalidInstanceID.NotFound", 400, NotFound),
            ("AlreadyExistsException", 400, AlreadyExists),
            ("ResourceInUseException", 400, InUse),
            ("InvalidInstanceId", 400, InvalidInstance),
            ("InvalidInstanceID.Malformed", 400, InvalidInstance),
            ("ValidationException", 400, Invalid),
            ("InvalidParameterValue", 400, Invalid),
            ("DuplicateInstanceId", 400, Invalid),
            ("InvalidNextToken", 400, BadToken),
            ("ResourceLimitExceededException", 400, Quota),
            ("TagLimitExceeded", 400, Quota),
            ("InvocationDoesNotExist", 400, NotYet),
            ("InvalidCommandId", 400, UnknownCommand),
            ("ExpiredTokenException", 400, Credentials),
            ("InvalidSignatureException", 400, Credentials),
            ("UnrecognizedClientException", 400, Credentials),
            ("InternalServerError", 500, Unreachable),
            ("ServiceUnavailable", 503, Unreachable),
            ("UnknownOperationException", 404, Unimplemented),
            ("UnknownOperationException", 400, Unimplemented),
        ] {
            assert_eq!(classify(Some(code), status, false), kind, "{code} {status}");
        }
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        for (code, status, html, kind) in [
            (None, 404, false, Unimplemented),
            (None, 501, false, Unimplemented),
            (None, 502, true, Unimplemented),
            (None, 200, true, Unimplemented),
            (None, 200, false, Unreachable),
            (None, 500, false, Unreachable),
            (None, 403, false, Denied),
            (None, 400, false, Invalid),
            (Some("SomethingNew"), 400, false, Invalid),
            (Some("SomethingNew"), 500, false, Unreachable),
        ] {
            assert_eq!(classify(code, status, html), kind, "{code:?} {status} {html}");
        }
    }

    #[test]
    fn an_error_names_the_action_the_kind_the_code_and_the_request() {
        let metadata = ErrorMetadata::builder().code("ThrottlingException").message("Rate exceeded").build();
        let failure = SdkError::service_error(Answer(metadata), response(400, "{}", Some("1234")));
        let error = of_sdk(&DESCRIBE_INSTANCES, &failure);
        let text = "AWS ec2:DescribeInstances failed: Throttled (ThrottlingException, request 1234)";
        assert_eq!((error.to_string().as_str(), error.message.as_str()), (text, "Rate exceeded"));
    }

    #[test]
    fn missing_credentials_are_told_from_an_unreachable_source_of_credentials() {
        let dispatch = |error: CredentialsError| {
            let failure: SdkError<Answer, HttpResponse> =
                SdkError::dispatch_failure(ConnectorError::other(error.into(), None));
            of_sdk(&SEND_COMMAND, &failure).kind
        };
        let refused = || ConnectorError::io(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into());
        assert_eq!(dispatch(CredentialsError::not_loaded("none")), Credentials);
        assert_eq!(dispatch(CredentialsError::provider_error(refused())), Unreachable);
        let failure: SdkError<Answer, HttpResponse> = SdkError::dispatch_failure(refused());
        assert_eq!(of_sdk(&SEND_COMMAND, &failure).kind, Unreachable);
        assert!(is_connection_refused(&failure));
    }

    #[test]
    fn html_is_not_aws() {
        assert!(is_html(&response(200, " <!DOCTYPE html><p>", None)));
        assert!(is_html(&response(200, "<HTML>", None)));
        assert!(!is_html(&response(400, "<?xml version=\"1.0\"?><Response/>", None)));
        assert!(!is_html(&response(400, "{}", None)));
    }

    #[derive(Debug)]
    struct Answer(ErrorMetadata);

    impl StdError for Answer {}

    impl fmt::Display for Answer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("answer")
        }
    }

    impl ProvideErrorMetadata for Answer {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }
}
