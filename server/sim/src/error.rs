//! An error as AWS answers it.

/// A code with its message and HTTP status (S 1.12–1.16, 2.8–2.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwsError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: u16,
}

impl AwsError {
    /// A client fault: HTTP 400 (S 1.16).
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), status: 400 }
    }

    /// One of the errors that carry no message (S 1.14–1.15).
    pub(crate) fn bare(code: &str) -> Self {
        Self::new(code, "")
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}
