//! Conversions that several services share.

use crate::{
    app::{ListPage, Unreachable},
    domain::{
        page::{PageSize, Paging},
        plan::{Change, ChangeAction, Notice, Plan, hex_bytes},
        request::{Fingerprint, Mutation, RequestId},
    },
    error::Error,
};
use jiff::Timestamp;
use patchplane_proto::v1 as pb;
use patchplane_rules::{InstanceId, Invalid, PatchSummary};
use prost::Message;
use std::collections::BTreeSet;

/// The most instance ids in one request.
const MOST_INSTANCES: usize = 1000;

pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

pub(super) fn paging(page_size: i32, token: String, default: u32, max: u32) -> Result<Paging, Invalid> {
    Ok(Paging { size: PageSize::parse(page_size, default, max)?, token: Some(token).filter(|token| !token.is_empty()) })
}

/// A message that must be there.
pub(super) fn required<T>(field: &str, message: Option<T>) -> Result<T, Invalid> {
    message.ok_or_else(|| Invalid::new(field, "is required"))
}

/// The rows of a page, its token, and what was left out.
pub(super) fn page<T, P>(page: ListPage<T>, row: impl Fn(T) -> P) -> (Vec<P>, String, Vec<pb::Unreachable>) {
    let unreachable = page.unreachable.into_iter().map(pb::Unreachable::from).collect();
    (page.items.into_iter().map(row).collect(), page.next.unwrap_or_default(), unreachable)
}

/// What identifies a mutation. `content` is the request without request id and `validate_only`.
pub(super) fn mutation(
    request_id: RequestId,
    content: &impl Message,
    validate_only: bool,
    expected_plan: String,
) -> Mutation {
    Mutation {
        request_id,
        fingerprint: Fingerprint(hex_bytes(&content.encode_to_vec())),
        validate_only,
        expected_plan: Some(expected_plan).filter(|plan| !plan.is_empty()),
    }
}

pub(super) fn instance_ids(field: &str, texts: Vec<String>, required: bool) -> Result<Vec<InstanceId>, Error> {
    if required && texts.is_empty() {
        return Err(Invalid::new(field, "is required: 1 to 1000 instance ids").into());
    }
    if texts.len() > MOST_INSTANCES {
        return Err(Invalid::new(field, "must hold at most 1000 instance ids").into());
    }
    let mut seen = BTreeSet::new();
    let mut ids = Vec::with_capacity(texts.len());
    for (i, text) in texts.into_iter().enumerate() {
        let at = format!("{field}[{i}]");
        let id: InstanceId = text.parse().map_err(|invalid: Invalid| Invalid::new(&at, invalid.rule))?;
        if !seen.insert(id.clone()) {
            return Err(Invalid::new(&at, format!("names {id} a second time")).into());
        }
        ids.push(id);
    }
    Ok(ids)
}

/// A number for the wire; numbers this large do not occur.
pub(super) fn count(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

impl From<Unreachable> for pb::Unreachable {
    fn from(unreachable: Unreachable) -> Self {
        let Unreachable { location, reason, message } = unreachable;
        Self { location: location.name(), reason: reason.to_owned(), message }
    }
}

impl From<Plan> for pb::Plan {
    fn from(plan: Plan) -> Self {
        let fingerprint = plan.fingerprint();
        let Plan { changes, notices, target_count } = plan;
        Self {
            changes: changes.into_iter().map(pb::PlanChange::from).collect(),
            notices: notices.into_iter().map(pb::Notice::from).collect(),
            target_count: count(target_count),
            fingerprint,
        }
    }
}

impl From<Change> for pb::PlanChange {
    fn from(change: Change) -> Self {
        use pb::plan_change::Action;
        let Change { resource, action, field, before, after, aws_operation } = change;
        let action = match action {
            ChangeAction::Create => Action::Create,
            ChangeAction::Update => Action::Update,
            ChangeAction::Delete => Action::Delete,
            ChangeAction::Run => Action::Run,
            ChangeAction::Skip => Action::Skip,
        };
        Self { resource, action: action.into(), field, before, after, aws_operation: aws_operation.to_owned() }
    }
}

impl From<Notice> for pb::Notice {
    fn from(notice: Notice) -> Self {
        let Notice { code, message } = notice;
        Self { code: code.to_owned(), message }
    }
}

pub(super) fn patch_state(summary: &PatchSummary) -> pb::PatchStateSummary {
    pb::PatchStateSummary {
        operation: summary.operation.clone(),
        operation_start_time: summary.operation_start.map(time),
        operation_end_time: summary.operation_end.map(time),
        baseline_id: summary.baseline_id.clone(),
        patch_group: summary.patch_group.clone(),
        snapshot_id: summary.snapshot_id.clone(),
        counts: Some(counts([summary])),
        compliant: summary.is_compliant(),
    }
}

/// Patches by state, summed over nodes.
pub(super) fn counts<'a>(summaries: impl IntoIterator<Item = &'a PatchSummary>) -> pb::PatchCounts {
    let mut sum = pb::PatchCounts::default();
    for summary in summaries {
        sum.installed += count(summary.installed);
        sum.installed_other += count(summary.installed_other);
        sum.installed_pending_reboot += count(summary.installed_pending_reboot);
        sum.installed_rejected += count(summary.installed_rejected);
        sum.missing += count(summary.missing);
        sum.failed += count(summary.failed);
        sum.not_applicable += count(summary.not_applicable);
        sum.available_security_updates += count(summary.available_security_updates);
        sum.critical_non_compliant += count(summary.critical_non_compliant);
        sum.security_non_compliant += count(summary.security_non_compliant);
        sum.other_non_compliant += count(summary.other_non_compliant);
    }
    sum
}
