//! Making, changing and deleting patch baselines of the account's own, and choosing defaults (S 4.6).

use crate::{
    Aws, ErrorKind, Result,
    calls::{CREATE_PATCH_BASELINE, Call, DELETE_PATCH_BASELINE, REGISTER_DEFAULT_BASELINE, UPDATE_PATCH_BASELINE},
};
use aws_sdk_ssm::types;
use patchplane_rules::{ApprovalDate, ApprovalRule, BaselineDraft, BaselineId, BaselineSpec, PatchFilter, PatchSource};

impl Aws {
    /// Repeated with the same token and content, it names the baseline that the first call made.
    pub async fn create_baseline(
        &self,
        draft: &BaselineDraft,
        client_token: &str,
        tags: &[(String, String)],
    ) -> Result<BaselineId> {
        let call = &CREATE_PATCH_BASELINE;
        let spec = draft.spec();
        let tag = |(key, value): &(String, String)| call.built(types::Tag::builder().key(key).value(value).build());
        let tags = tags.iter().map(tag).collect::<Result<Vec<_>>>()?;
        let request = self
            .ssm()
            .create_patch_baseline()
            .client_token(client_token)
            .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
            .name(&spec.name)
            .operating_system(spec.operating_system.as_str().into())
            .set_description(description(spec))
            .global_filters(group(call, &spec.global_filters)?)
            .approval_rules(rules(call, &spec.rules)?)
            .set_approved_patches(Some(spec.approved_patches.clone()))
            .approved_patches_compliance_level(spec.approved_patches_compliance_level.as_str().into())
            .set_approved_patches_enable_non_security(non_security(spec))
            .set_rejected_patches(Some(spec.rejected_patches.clone()))
            .rejected_patches_action(spec.rejected_patches_action.as_str().into())
            .set_sources(Some(sources(call, &spec.sources)?))
            .set_available_security_updates_compliance_status(security_updates(spec));
        let answer = self.ask(call, request.send()).await?;
        let id = BaselineId::of_aws_id(answer.baseline_id().unwrap_or_default());
        id.map_err(|invalid| call.refuse(format!("answer: {invalid}")))
    }

    /// Makes a baseline what `draft` says. Only what differs from `before` is sent, so that AWS keeps what this release
    /// does not know of; what is to be emptied can only be left out of a whole replacement (S 4.6.1). Safe to repeat.
    pub async fn update_baseline(&self, id: &BaselineId, before: &BaselineSpec, draft: &BaselineDraft) -> Result<()> {
        let call = &UPDATE_PATCH_BASELINE;
        let spec = draft.spec();
        let emptied = (!before.description.is_empty() && spec.description.is_empty())
            || (before.available_security_updates.is_some() && spec.available_security_updates.is_none());
        let differs = |same: bool| emptied || !same;
        let mut request = self.ssm().update_patch_baseline().baseline_id(id.as_str());
        if emptied {
            request = request.replace(true);
        }
        if differs(before.name == spec.name) {
            request = request.name(&spec.name);
        }
        if differs(before.description == spec.description) {
            request = request.set_description(description(spec));
        }
        if differs(before.global_filters == spec.global_filters) {
            request = request.global_filters(group(call, &spec.global_filters)?);
        }
        if differs(before.rules == spec.rules) {
            request = request.approval_rules(rules(call, &spec.rules)?);
        }
        if differs(before.approved_patches == spec.approved_patches) {
            request = request.set_approved_patches(Some(spec.approved_patches.clone()));
        }
        if differs(before.approved_patches_compliance_level == spec.approved_patches_compliance_level) {
            request = request.approved_patches_compliance_level(spec.approved_patches_compliance_level.as_str().into());
        }
        if before.approved_patches_enable_non_security != spec.approved_patches_enable_non_security {
            request = request.approved_patches_enable_non_security(spec.approved_patches_enable_non_security);
        } else if emptied {
            request = request.set_approved_patches_enable_non_security(non_security(spec));
        }
        if differs(before.rejected_patches == spec.rejected_patches) {
            request = request.set_rejected_patches(Some(spec.rejected_patches.clone()));
        }
        if differs(before.rejected_patches_action == spec.rejected_patches_action) {
            request = request.rejected_patches_action(spec.rejected_patches_action.as_str().into());
        }
        if differs(before.sources == spec.sources) {
            request = request.set_sources(Some(sources(call, &spec.sources)?));
        }
        if differs(before.available_security_updates == spec.available_security_updates) {
            request = request.set_available_security_updates_compliance_status(security_updates(spec));
        }
        self.ask(call, request.send()).await?;
        Ok(())
    }

    /// An unknown one counts as deleted (S 4.6.6). `InUse`: a patch group has it, or it is a default (S 4.6.4–5).
    pub async fn delete_baseline(&self, id: &BaselineId) -> Result<()> {
        let request = self.ssm().delete_patch_baseline().baseline_id(id.as_str());
        match self.ask(&DELETE_PATCH_BASELINE, request.send()).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// The default of the baseline's own operating system; the one before loses the mark (S 4.6.8). Safe to repeat.
    pub async fn register_default_baseline(&self, aws_id: &str) -> Result<()> {
        let request = self.ssm().register_default_patch_baseline().baseline_id(aws_id);
        self.ask(&REGISTER_DEFAULT_BASELINE, request.send()).await?;
        Ok(())
    }
}

fn description(spec: &BaselineSpec) -> Option<String> {
    Some(spec.description.clone()).filter(|text| !text.is_empty())
}

/// Left out where it is the default: it is a member for Linux (S 4.4.9).
fn non_security(spec: &BaselineSpec) -> Option<bool> {
    Some(spec.approved_patches_enable_non_security).filter(|enabled| *enabled)
}

fn security_updates(spec: &BaselineSpec) -> Option<types::PatchComplianceStatus> {
    spec.available_security_updates.as_deref().map(types::PatchComplianceStatus::from)
}

fn group(call: &Call, filters: &[PatchFilter]) -> Result<types::PatchFilterGroup> {
    let filter = |PatchFilter { key, values }: &PatchFilter| {
        let filter = types::PatchFilter::builder().key(key.as_str().into()).set_values(Some(values.clone()));
        call.built(filter.build())
    };
    let filters = filters.iter().map(filter).collect::<Result<Vec<_>>>()?;
    call.built(types::PatchFilterGroup::builder().set_patch_filters(Some(filters)).build())
}

fn rules(call: &Call, rules: &[ApprovalRule]) -> Result<types::PatchRuleGroup> {
    let rule = |rule: &ApprovalRule| {
        let built = types::PatchRule::builder()
            .patch_filter_group(group(call, &rule.filters)?)
            .compliance_level(rule.compliance_level.as_str().into())
            .set_enable_non_security(Some(rule.enable_non_security).filter(|enabled| *enabled));
        Ok(match rule.approval {
            Some(ApprovalDate::AfterDays(days)) => built.approve_after_days(days.into()),
            Some(ApprovalDate::Until(day)) => built.approve_until_date(day.to_string()),
            // AWS's own baselines for systems without dates carry 0 days (S 4.4.4).
            None => built.approve_after_days(0),
        }
        .build())
    };
    let rules = rules.iter().map(rule).collect::<Result<Vec<_>>>()?;
    call.built(types::PatchRuleGroup::builder().set_patch_rules(Some(rules)).build())
}

fn sources(call: &Call, sources: &[PatchSource]) -> Result<Vec<types::PatchSource>> {
    let source = |PatchSource { name, products, configuration }: &PatchSource| {
        let source = types::PatchSource::builder().name(name).configuration(configuration);
        call.built(source.set_products(Some(products.clone())).build())
    };
    sources.iter().map(source).collect()
}
