//! Requests that make, change, delete and choose baselines, taken apart.

use super::convert::{mutation, required};
use crate::{
    app::{
        baseline_changes::{CreateBaseline, DeleteBaseline, UpdateBaseline},
        default_baselines::SetDefaultBaseline,
    },
    domain::{
        baseline::BaselineEdit,
        name::{BaselineName, DefaultBaselineName, parse_location},
        request::RequestId,
    },
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{ApprovalDate, ApprovalRule, BaselineSpec, Invalid, OperatingSystem, PatchFilter, PatchSource};
use prost_types::FieldMask;

/// The most tags on a baseline.
const MOST_TAGS: usize = 50;

impl TryFrom<pb::CreateBaselineRequest> for CreateBaseline {
    type Error = Invalid;

    fn try_from(request: pb::CreateBaselineRequest) -> Result<Self, Invalid> {
        let content = pb::CreateBaselineRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::CreateBaselineRequest {
            parent,
            baseline,
            clone_from,
            update_mask,
            request_id,
            validate_only,
            expected_plan,
            tags: labels,
        } = request;
        let location = parse_location("parent", &parent)?;
        let clone_from = match clone_from.as_str() {
            "" => None,
            text => Some(BaselineName::parse("clone_from", text)?),
        };
        if clone_from.as_ref().is_some_and(|name| name.location != location) {
            return Err(Invalid::new("clone_from", "must be of the same account and Region"));
        }
        if clone_from.is_none() && update_mask.is_some() {
            return Err(Invalid::new("update_mask", "is for clones: set clone_from, too, or leave it unset"));
        }
        Ok(Self {
            location,
            edit: edit("baseline", required("baseline", baseline)?, update_mask)?,
            clone_from,
            tags: tags(labels)?,
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl TryFrom<pb::UpdateBaselineRequest> for UpdateBaseline {
    type Error = Invalid;

    fn try_from(request: pb::UpdateBaselineRequest) -> Result<Self, Invalid> {
        let content = pb::UpdateBaselineRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::UpdateBaselineRequest { baseline, update_mask, etag, request_id, validate_only, expected_plan } =
            request;
        let baseline = required("baseline", baseline)?;
        Ok(Self {
            name: BaselineName::parse("baseline.name", &baseline.name)?,
            edit: edit("baseline", baseline, update_mask)?,
            etag: Some(etag).filter(|etag| !etag.is_empty()),
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl TryFrom<pb::DeleteBaselineRequest> for DeleteBaseline {
    type Error = Invalid;

    fn try_from(request: pb::DeleteBaselineRequest) -> Result<Self, Invalid> {
        let content = pb::DeleteBaselineRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::DeleteBaselineRequest { name, etag, request_id, validate_only, expected_plan } = request;
        Ok(Self {
            name: BaselineName::parse("name", &name)?,
            etag: Some(etag).filter(|etag| !etag.is_empty()),
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl TryFrom<pb::SetDefaultBaselineRequest> for SetDefaultBaseline {
    type Error = Invalid;

    fn try_from(request: pb::SetDefaultBaselineRequest) -> Result<Self, Invalid> {
        let content =
            pb::SetDefaultBaselineRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::SetDefaultBaselineRequest { name, baseline, request_id, validate_only, expected_plan } = request;
        let name = DefaultBaselineName::parse("name", &name)?;
        let baseline = BaselineName::parse("baseline", &baseline)?;
        if baseline.location != name.location {
            return Err(Invalid::new("baseline", "must be of the default's account and Region"));
        }
        Ok(Self {
            name,
            baseline,
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

/// What a caller says of a baseline; its rules are checked where it is known what it changes.
pub(super) fn edit(field: &str, baseline: pb::Baseline, mask: Option<FieldMask>) -> Result<BaselineEdit, Invalid> {
    // Output only: name, owner, default, aws_id, patch_groups, times and etag.
    let pb::Baseline {
        name: _,
        display_name,
        description,
        operating_system,
        owner: _,
        default: _,
        aws_id: _,
        global_filters,
        approval_rules,
        approved_patches,
        approved_patches_compliance_level,
        approved_patches_enable_non_security,
        rejected_patches,
        rejected_patches_action,
        patch_groups: _,
        create_time: _,
        update_time: _,
        observe_time: _,
        etag: _,
        sources,
        available_security_updates_compliance_status,
    } = baseline;
    let within = |invalid: Invalid| invalid.within(field);
    let system = match operating_system.as_str() {
        "" => None,
        text => Some(OperatingSystem::parse(text).map_err(within)?),
    };
    let rules = approval_rules.into_iter().enumerate().map(|(i, rule)| read_rule(i, rule));
    let spec = BaselineSpec {
        name: display_name,
        description,
        operating_system: system.clone().unwrap_or_else(|| OperatingSystem::observed("")),
        global_filters: global_filters.into_iter().map(filter).collect(),
        rules: rules.collect::<Result<_, _>>().map_err(within)?,
        approved_patches,
        approved_patches_compliance_level,
        approved_patches_enable_non_security,
        rejected_patches,
        rejected_patches_action,
        sources: sources.into_iter().map(source).collect(),
        available_security_updates: Some(available_security_updates_compliance_status).filter(|text| !text.is_empty()),
    };
    BaselineEdit::new(spec, system, mask.map(|mask| mask.paths))
}

fn read_rule(place: usize, rule: pb::ApprovalRule) -> Result<ApprovalRule, Invalid> {
    use pb::approval_rule::Approval;
    let pb::ApprovalRule { filters, approval, compliance_level, enable_non_security } = rule;
    let at = |field: &str| format!("approval_rules[{place}].{field}");
    Ok(ApprovalRule {
        filters: filters.into_iter().map(filter).collect(),
        compliance_level: if compliance_level.is_empty() { "UNSPECIFIED".to_owned() } else { compliance_level },
        approval: match approval {
            None => None,
            Some(Approval::ApproveAfterDays(days)) => Some(ApprovalDate::after_days(&at("approve_after_days"), days)?),
            Some(Approval::ApproveUntilDate(day)) => Some(ApprovalDate::until(&at("approve_until_date"), &day)?),
        },
        enable_non_security,
    })
}

pub(super) fn filter(filter: pb::PatchFilter) -> PatchFilter {
    let pb::PatchFilter { key, values } = filter;
    PatchFilter { key, values }
}

fn source(source: pb::PatchSource) -> PatchSource {
    let pb::PatchSource { name, products, configuration } = source;
    PatchSource { name, products, configuration }
}

/// S 12.6: `aws:` is AWS's own.
fn tags(tags: Vec<pb::BaselineTag>) -> Result<Vec<(String, String)>, Invalid> {
    if tags.len() > MOST_TAGS {
        return Err(Invalid::new("tags", format!("must hold at most {MOST_TAGS} tags")));
    }
    let mut read: Vec<(String, String)> = Vec::new();
    for (i, pb::BaselineTag { key, value }) in tags.into_iter().enumerate() {
        let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
        if !(1..=128).contains(&key.chars().count()) || !key.chars().all(allowed) || key.starts_with("aws:") {
            let rule = "must have 1 to 128 letters, digits, spaces or _.:/=+-@, and not begin with aws:";
            return Err(Invalid::new(format!("tags[{i}].key"), rule));
        }
        if value.chars().count() > 256 || !value.chars().all(allowed) {
            let rule = "must have at most 256 letters, digits, spaces or _.:/=+-@";
            return Err(Invalid::new(format!("tags[{i}].value"), rule));
        }
        if read.iter().any(|(other, _)| *other == key) {
            return Err(Invalid::new(format!("tags[{i}].key"), format!("names `{key}` a second time")));
        }
        read.push((key, value));
    }
    Ok(read)
}
