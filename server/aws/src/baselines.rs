//! Patch baselines.

use crate::{
    Aws, ErrorKind, Page, PageOf, Result,
    calls::{DESCRIBE_PATCH_BASELINES, GET_DEFAULT_PATCH_BASELINE, GET_PATCH_BASELINE},
    page, values,
};
use aws_sdk_ssm::{operation::get_patch_baseline::GetPatchBaselineOutput, types};
use patchplane_rules::{
    ApprovalDate, ApprovalRule, Baseline, BaselineId, BaselineOwner, BaselineSummary, OperatingSystem, PatchFilter,
    PatchSource,
};

impl Aws {
    /// One page of the baselines here, AWS's own among them (S 4.6.11); 1 to 100 rows.
    pub async fn baselines_page(
        &self,
        operating_system: Option<&OperatingSystem>,
        owner: Option<BaselineOwner>,
        page: Page,
    ) -> Result<PageOf<BaselineSummary>> {
        let mut request =
            self.ssm().describe_patch_baselines().max_results(page.size_within(1..=100)).set_next_token(page.token);
        if let Some(system) = operating_system {
            request = request.filters(filter("OPERATING_SYSTEM", system.as_str()));
        }
        if let Some(owner) = owner {
            // S 4.6.10 for the spelling.
            let owner = match owner {
                BaselineOwner::Aws => "AWS",
                BaselineOwner::Account => "Self",
            };
            request = request.filters(filter("OWNER", owner));
        }
        let answer = self.ask(&DESCRIBE_PATCH_BASELINES, request.send()).await?;
        let items = answer.baseline_identities().iter().filter_map(|row| self.summary(row)).collect();
        Ok(PageOf::new(items, answer.next_token))
    }

    pub async fn baselines(&self) -> Result<Vec<BaselineSummary>> {
        page::all(&DESCRIBE_PATCH_BASELINES, |page| self.baselines_page(None, None, page)).await
    }

    /// `None`: not known here. AWS's own baselines are addressed by the ARN that this location lists for them (S 4.1.2).
    pub async fn baseline(&self, id: &BaselineId) -> Result<Option<Baseline>> {
        let Some(summary) = self.baselines().await?.into_iter().find(|row| row.id == *id) else { return Ok(None) };
        let request = self.ssm().get_patch_baseline().baseline_id(&summary.aws_id);
        match self.ask(&GET_PATCH_BASELINE, request.send()).await {
            Ok(answer) => Ok(Some(baseline(summary, answer))),
            // Deleted since it was listed.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The baseline of nodes without a patch group, for one operating system (S 4.6.9).
    pub async fn default_baseline_id(&self, os: &OperatingSystem) -> Result<BaselineId> {
        let request = self.ssm().get_default_patch_baseline().operating_system(os.as_str().into());
        let answer = self.ask(&GET_DEFAULT_PATCH_BASELINE, request.send()).await?;
        let id = BaselineId::of_aws_id(answer.baseline_id().unwrap_or_default());
        id.map_err(|invalid| GET_DEFAULT_PATCH_BASELINE.refuse(format!("answer: {invalid}")))
    }

    /// `None`: the row's id does not parse.
    pub(crate) fn summary(&self, row: &types::PatchBaselineIdentity) -> Option<BaselineSummary> {
        let aws_id = values::text(row.baseline_id());
        // arn:aws:ssm:REGION:ACCOUNT:patchbaseline/pb-…; own ones are listed by their bare id (S 4.1.3).
        let owner = match aws_id.split(':').nth(4) {
            Some(account) if account != self.location().account.as_str() => BaselineOwner::Aws,
            _ => BaselineOwner::Account,
        };
        Some(BaselineSummary {
            id: values::key(aws_id.rsplit('/').next())?,
            owner,
            name: values::text(row.baseline_name()),
            description: values::text(row.baseline_description()),
            operating_system: OperatingSystem::observed(row.operating_system().map_or("", |os| os.as_str())),
            default: row.default_baseline(),
            aws_id,
        })
    }
}

fn filter(key: &str, value: &str) -> types::PatchOrchestratorFilter {
    types::PatchOrchestratorFilter::builder().key(key).values(value).build()
}

fn baseline(summary: BaselineSummary, answer: GetPatchBaselineOutput) -> Baseline {
    let rules = answer.approval_rules().map_or(&[][..], |group| group.patch_rules());
    Baseline {
        global_filters: filters(answer.global_filters()),
        rules: rules.iter().map(rule).collect(),
        approved_patches_compliance_level: level(answer.approved_patches_compliance_level()),
        approved_patches_enable_non_security: answer.approved_patches_enable_non_security().unwrap_or(false),
        // S 4.1.10 for what absence means.
        rejected_patches_action: answer
            .rejected_patches_action()
            .map_or("ALLOW_AS_DEPENDENCY", |action| action.as_str())
            .to_owned(),
        sources: answer.sources().iter().map(source).collect(),
        available_security_updates: answer
            .available_security_updates_compliance_status()
            .map(|status| status.as_str().to_owned()),
        patch_groups: answer.patch_groups().iter().filter_map(|group| values::key(Some(group))).collect(),
        created: values::timestamp(answer.created_date()),
        modified: values::timestamp(answer.modified_date()),
        approved_patches: answer.approved_patches.unwrap_or_default(),
        rejected_patches: answer.rejected_patches.unwrap_or_default(),
        summary,
    }
}

fn rule(rule: &types::PatchRule) -> ApprovalRule {
    let until = rule.approve_until_date().filter(|date| !date.is_empty()).and_then(|date| values::key(Some(date)));
    let after = rule.approve_after_days().and_then(|days| u16::try_from(days).ok());
    ApprovalRule {
        filters: filters(rule.patch_filter_group()),
        compliance_level: level(rule.compliance_level()),
        approval: until.map(ApprovalDate::Until).or(after.map(ApprovalDate::AfterDays)),
        enable_non_security: rule.enable_non_security().unwrap_or(false),
    }
}

fn filters(group: Option<&types::PatchFilterGroup>) -> Vec<PatchFilter> {
    let filters = group.map_or(&[][..], |group| group.patch_filters());
    filters
        .iter()
        .map(|filter| PatchFilter { key: filter.key().as_str().to_owned(), values: filter.values().to_vec() })
        .collect()
}

fn source(source: &types::PatchSource) -> PatchSource {
    PatchSource {
        name: source.name().to_owned(),
        products: source.products().to_vec(),
        configuration: source.configuration().to_owned(),
    }
}

fn level(level: Option<&types::PatchComplianceLevel>) -> String {
    level.map_or("UNSPECIFIED", |level| level.as_str()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn approval(days: Option<i32>, until: Option<&str>) -> Option<ApprovalDate> {
        let row = types::PatchRule::builder();
        let row = row.set_approve_after_days(days).set_approve_until_date(until.map(str::to_owned));
        rule(&row.patch_filter_group(types::PatchFilterGroup::builder().patch_filters(any()).build().unwrap()).build())
            .approval
    }

    fn any() -> types::PatchFilter {
        types::PatchFilter::builder().key("PRODUCT".into()).values("*").build().unwrap()
    }

    #[test]
    fn a_rule_approves_after_days_or_until_a_date_or_says_neither() {
        // S 4.4.1, 4.4.4; empty strings: S 1.11.
        assert_eq!(approval(Some(7), None), Some(ApprovalDate::AfterDays(7)));
        assert_eq!(approval(Some(0), Some("")), Some(ApprovalDate::AfterDays(0)));
        assert_eq!(approval(None, Some("2025-11-30")), Some(ApprovalDate::Until(date(2025, 11, 30))));
        assert_eq!(approval(None, None), None);
    }
}
