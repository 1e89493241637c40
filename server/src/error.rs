//! Everything that can go wrong, sorted by what the caller can do next. `grpc::status` is its one road to gRPC.

use crate::store;
use patchplane_aws as aws;
use patchplane_rules::Invalid;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Never succeeds as sent: correct the request.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The page token is not one of ours, is too old, or belongs to another list.
    #[error("page_token is not valid for this request; begin again without it")]
    PageToken,
    /// The resume token is too old, or belongs to another operation.
    #[error("resume_token is not valid for this operation any more; begin again without it")]
    ResumeToken,
    /// There is no such thing.
    #[error("{kind} {name} does not exist")]
    NotFound { kind: &'static str, reason: &'static str, name: String },
    /// The state of things forbids it: change that first.
    #[error("{message}")]
    Precondition { reason: &'static str, message: String, subject: String },
    /// Somebody else was faster, or still is: look again, then try again.
    #[error("{message}")]
    Aborted { reason: &'static str, message: String, retry_after: Option<Duration> },
    /// The request id belongs to another request.
    #[error("request_id {request_id} was used for another request; use a new UUID for each intended change")]
    RequestIdReused { request_id: String },
    /// The caller lacks a right; the same answer whether or not the thing exists.
    #[error("{principal} may not {action} on {resource}")]
    Forbidden { principal: String, action: &'static str, resource: String },
    /// AWS refused, or did not answer.
    #[error(transparent)]
    Aws(#[from] aws::Error),
    /// The call's deadline passed first.
    #[error(
        "the deadline has passed; what was begun is recorded: send the same request again to learn what became of it"
    )]
    Deadline,
    /// Too much is asked at once: try again.
    #[error("too many calls are under way; try again")]
    Overloaded,
    /// The headers are larger than this server takes.
    #[error("the request's headers have more than {most} bytes")]
    HeadersTooLarge { most: u64 },
    /// This server has not taken up its work yet: ask again.
    #[error("the server is starting")]
    Starting,
    /// This server stops: ask another one, or the same one again later.
    #[error("the server is shutting down")]
    Draining,
    /// The store does not answer: nothing was changed that is not recorded.
    #[error("the store does not answer")]
    Store(#[source] store::Error),
    /// A defect: only the log holds the cause.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub fn not_found(kind: &'static str, reason: &'static str, name: impl ToString) -> Self {
        Self::NotFound { kind, reason, name: name.to_string() }
    }

    /// A stable code in UPPER_SNAKE_CASE, as `google.rpc.ErrorInfo` carries it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_ARGUMENT",
            Self::PageToken => "PAGE_TOKEN_INVALID",
            Self::ResumeToken => "RESUME_TOKEN_EXPIRED",
            Self::NotFound { reason, .. } | Self::Precondition { reason, .. } | Self::Aborted { reason, .. } => reason,
            Self::RequestIdReused { .. } => "REQUEST_ID_REUSED",
            Self::Forbidden { .. } => "PERMISSION_DENIED",
            Self::Aws(error) => aws_reason(error),
            Self::Deadline => "DEADLINE_EXCEEDED",
            Self::Overloaded => "OVERLOADED",
            Self::HeadersTooLarge { .. } => "HEADERS_TOO_LARGE",
            Self::Starting => "SERVER_STARTING",
            Self::Draining => "SERVER_DRAINING",
            Self::Store(_) => "STORE_UNAVAILABLE",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

fn aws_reason(error: &aws::Error) -> &'static str {
    match error.kind {
        aws::ErrorKind::Throttled => "AWS_THROTTLED",
        aws::ErrorKind::Denied => "AWS_ACCESS_DENIED",
        aws::ErrorKind::Credentials => "AWS_CREDENTIALS",
        aws::ErrorKind::Quota => "AWS_QUOTA",
        aws::ErrorKind::Unreachable => "AWS_UNREACHABLE",
        aws::ErrorKind::Deadline => "DEADLINE_EXCEEDED",
        aws::ErrorKind::Unimplemented => "AWS_UNIMPLEMENTED",
        aws::ErrorKind::NotFound => "AWS_NOT_FOUND",
        aws::ErrorKind::AlreadyExists | aws::ErrorKind::InUse => "AWS_CONFLICT",
        aws::ErrorKind::BadToken => "PAGE_TOKEN_INVALID",
        aws::ErrorKind::NotYet => "OUTPUT_NOT_READY",
        aws::ErrorKind::UnknownCommand => "COMMAND_GONE",
        aws::ErrorKind::Invalid | aws::ErrorKind::InvalidInstance => "AWS_REFUSED",
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unreadable(_) => Self::Internal(Box::new(error)),
            other => Self::Store(other),
        }
    }
}
