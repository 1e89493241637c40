//! Pages: opaque tokens that are good for the same query only (S 1.21–1.22).

use crate::{error::AwsError, model::Model};
use serde_json::Value;

/// What a list was asked for: its operation in its location, and all members but the paging ones.
pub(crate) struct Query<'a> {
    pub(crate) model: &'a Model,
    pub(crate) scope: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) request: &'a Value,
}

impl Query<'_> {
    /// The next page of `items` (each with the key that tells it from the others) and the token of the one after.
    pub(crate) fn page<T>(
        &self,
        items: Vec<(String, T)>,
        default_size: usize,
    ) -> Result<(Vec<T>, Option<String>), AwsError> {
        let size = self.request["MaxResults"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(default_size);
        let start = match self.request["NextToken"].as_str().filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => {
                let last = items.iter().position(|(key, _)| self.token(key) == token);
                1 + last.ok_or_else(|| self.bad_token())?
            }
        };
        let more = items.len() > start + size;
        let page: Vec<(String, T)> = items.into_iter().skip(start).take(size).collect();
        let token = page.last().filter(|_| more).map(|(key, _)| self.token(key));
        Ok((page.into_iter().map(|(_, item)| item).collect(), token))
    }

    fn token(&self, key: &str) -> String {
        let mut query = self.request.clone();
        if let Value::Object(members) = &mut query {
            members.retain(|name, value| !matches!(name.as_str(), "NextToken" | "MaxResults") && !value.is_null());
        }
        let subject = [self.scope, self.operation, &query.to_string(), key].join("\n");
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, subject.as_bytes()).simple().to_string()
    }

    fn bad_token(&self) -> AwsError {
        if self.model.models_error(self.operation, "InvalidNextToken") {
            AwsError::new("InvalidNextToken", "The specified token is not valid.")
        } else {
            AwsError::validation("1 validation error detected: Value at 'nextToken' is not a valid token")
        }
    }
}
