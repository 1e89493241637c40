//! What there is to patch with: the catalogue, as far as the service shows it (S 4.8).

use super::{Answer, Call};
use crate::{error::AwsError, properties};
use serde_json::{Value, json};

impl Call<'_> {
    /// One-entry maps (S 4.8.5). What is no property of the system is refused (unverified).
    pub(super) fn describe_patch_properties(&self) -> Answer {
        let (system, property) = (self.text("OperatingSystem"), self.text("Property"));
        let values = properties::listed(system, property, self.text("PatchSet")).ok_or_else(|| {
            AwsError::validation(format!("Invalid Property: {property} for OperatingSystem: {system}"))
        })?;
        let rows: Vec<(String, Value)> =
            values.into_iter().map(|name| (name.to_owned(), json!({ "Name": name }))).collect();
        self.page("Properties", rows, 50)
    }
}
