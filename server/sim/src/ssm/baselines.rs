//! Patch baselines (S 4.1, 4.6).

use super::{Answer, Call, baseline_content::whole};
use crate::error::AwsError;
use patchplane_rules::{Baseline, BaselineOwner};
use serde_json::{Value, json};

impl Call<'_> {
    pub(super) fn describe_patch_baselines(&self) -> Answer {
        let filters = self.filters();
        if let Some((key, _)) = filters.iter().find(|(k, _)| !["NAME_PREFIX", "OWNER", "OPERATING_SYSTEM"].contains(k))
        {
            return Err(AwsError::validation(format!("Invalid filter key: {key}")));
        }
        let admitted = |baseline: &&Baseline| {
            let summary = &baseline.summary;
            filters.iter().all(|(key, values)| match *key {
                "NAME_PREFIX" => values.iter().any(|prefix| summary.name.starts_with(prefix)),
                "OWNER" => {
                    let owner = if summary.owner == BaselineOwner::Aws { "AWS" } else { "Self" };
                    values.iter().any(|&value| value == owner || value == "All")
                }
                _ => values.contains(&summary.operating_system.as_str()),
            })
        };
        let rows = self.place.baselines.iter().filter(admitted);
        let rows = rows.map(|baseline| (baseline.summary.aws_id.clone(), identity(baseline))).collect();
        self.page("BaselineIdentities", rows, 50)
    }

    pub(super) fn get_patch_baseline(&self) -> Answer {
        let aws_id = self.text("BaselineId");
        if patchplane_rules::BaselineId::of_aws_id(aws_id).is_err() {
            return Err(AwsError::bare("InvalidResourceId"));
        }
        let baseline = self.place.baseline(aws_id).ok_or_else(does_not_exist)?;
        let groups = self.place.groups.iter().filter(|(_, id)| **id == baseline.summary.aws_id);
        let groups: Vec<_> = groups.map(|((group, _), _)| group.as_str()).collect();
        let mut answer = whole(baseline);
        answer["PatchGroups"] = groups.into();
        Ok(answer)
    }

    pub(super) fn get_default_patch_baseline(&self) -> Answer {
        let system = self.operating_system();
        let baseline = self.place.default_baseline(system).ok_or_else(does_not_exist)?;
        Ok(json!({ "BaselineId": baseline.summary.aws_id, "OperatingSystem": system }))
    }

    /// WINDOWS when the request names none (S 4.1.6).
    pub(super) fn operating_system(&self) -> &str {
        self.request["OperatingSystem"].as_str().unwrap_or("WINDOWS")
    }
}

pub(super) fn does_not_exist() -> AwsError {
    AwsError::new("DoesNotExistException", "Patch Baseline to be retrieved does not exist.")
}

/// A PatchBaselineIdentity.
pub(super) fn identity(baseline: &Baseline) -> Value {
    let summary = &baseline.summary;
    json!({
        "BaselineId": summary.aws_id,
        "BaselineName": summary.name,
        "OperatingSystem": summary.operating_system,
        "BaselineDescription": summary.description,
        "DefaultBaseline": summary.default,
    })
}
