//! What is wrong with one field of somebody's input.

/// A value that breaks a rule; `field` is a path in the request, such as `patch_operation.targets`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct Invalid {
    pub field: String,
    pub rule: String,
}

impl Invalid {
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }

    /// The same violation, seen from the message that holds the field.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        if self.field.is_empty() {
            return Self { field: parent.to_owned(), rule: self.rule };
        }
        Self { field: format!("{parent}.{}", self.field), rule: self.rule }
    }
}
