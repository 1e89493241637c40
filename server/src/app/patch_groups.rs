//! Patch groups: reading them, attaching baselines, and moving instances in and out.

use super::{
    App,
    locations::{ListPage, Query, slice},
    mutations::{Begun, expect_plan},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{BaselineName, GroupName, InstanceName, Parent},
        page::Paging,
        plan::{Change, ChangeAction, Notice, Plan, hex},
        readiness::{Membership, membership},
        request::Mutation,
    },
};
use jiff::Timestamp;
use patchplane_aws::{GroupMapping, VmFilter};
use patchplane_rules::{
    BaselineSummary, GROUP_TAG_KEYS, InstanceId, Location, PatchGroupName, PowerState, Sighting, VirtualMachine,
};
use std::collections::{BTreeMap, BTreeSet};

/// A question for patch groups.
pub struct ListPatchGroups {
    pub parent: Parent,
    pub paging: Paging,
}

/// A patch group with its baselines and the number of its EC2 instances.
#[derive(Clone, Debug)]
pub struct PatchGroup {
    pub name: GroupName,
    /// By operating system.
    pub baselines: Vec<BaselineSummary>,
    pub instance_count: usize,
    pub observe_time: Timestamp,
}

/// A request to attach a baseline to a group.
pub struct AttachBaseline {
    pub group: GroupName,
    pub baseline: BaselineName,
    pub replace: bool,
    pub etag: Option<String>,
    pub mutation: Mutation,
}

/// A request to put instances into a group, or to take them out.
pub struct ChangeMembers {
    pub group: GroupName,
    pub instance_ids: Vec<InstanceId>,
    pub change: MemberChange,
    pub mutation: Mutation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    Add { allow_move: bool },
    Remove,
}

/// What was done, or with `validate_only` would be.
pub struct Attached {
    pub group: PatchGroup,
    pub plan: Plan,
    pub replayed: bool,
}

/// What was done, or with `validate_only` would be, for each instance in the order of the request.
pub struct MembersChanged {
    pub group: PatchGroup,
    pub results: Vec<InstanceResult>,
    pub plan: Plan,
    pub replayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceResult {
    pub instance_id: InstanceId,
    pub outcome: MemberOutcome,
    pub tag_key: String,
    /// For refusals: a stable code; else empty.
    pub reason: &'static str,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberOutcome {
    Added,
    Moved,
    Removed,
    Unchanged,
    Refused,
}

impl PatchGroup {
    /// A hash of the attached baselines.
    pub fn etag(&self) -> String {
        let mut rows: Vec<String> = self.baselines.iter().map(|b| format!("{}={}", b.operating_system, b.id)).collect();
        rows.sort();
        hex(&format!("{}\n{}", self.name, rows.join("\n")))[..32].to_owned()
    }
}

impl App {
    #[tracing::instrument(name = "app.list_patch_groups", skip_all, fields(parent = %list.parent))]
    pub async fn list_patch_groups(&self, who: &Caller, list: ListPatchGroups) -> Result<ListPage<PatchGroup>> {
        let ListPatchGroups { parent, paging } = list;
        let query = Query { action: Action::ListPatchGroups, parent: &parent, filter: String::new() };
        self.list(who, query, &paging, |location, room, inner| async move {
            let groups = self.patch_groups(&location).await?;
            Ok(slice(groups, room, inner.as_deref(), |group| group.name.group.to_string()))
        })
        .await
    }

    #[tracing::instrument(name = "app.get_patch_group", skip_all, fields(group = %name))]
    pub async fn get_patch_group(&self, who: &Caller, name: GroupName) -> Result<PatchGroup> {
        who.may(Action::GetPatchGroup, &name.location)?;
        let group = self.patch_group(&name).await?;
        if group.baselines.is_empty() && group.instance_count == 0 {
            return Err(Error::not_found("patch group", "PATCH_GROUP_NOT_FOUND", name));
        }
        Ok(group)
    }

    /// Attaches a baseline; a repetition, or one after a crash, goes on where the first stopped: both steps at AWS are
    /// harmless to repeat.
    #[tracing::instrument(name = "app.attach_baseline", skip_all, fields(group = %attach.group))]
    pub async fn attach_baseline(&self, who: &Caller, attach: AttachBaseline) -> Result<Attached> {
        who.may(Action::AttachBaseline, &attach.group.location)?;
        if attach.mutation.validate_only {
            let (plan, ..) = self.plan_attach(&attach, false).await?;
            return Ok(Attached { group: self.patch_group(&attach.group).await?, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "AttachBaseline", &attach.mutation).await? else {
            let group = self.patch_group(&attach.group).await?;
            return Ok(Attached { group, plan: Plan::default(), replayed: true });
        };
        let (plan, baseline, replaced) = self.plan_attach(&attach, progress.continued()).await?;
        if !progress.continued() {
            expect_plan(&attach.mutation, &plan)?;
        }
        progress.record(&attach.mutation).await?;
        let aws = self.aws(&attach.group.location)?;
        let group = &attach.group.group;
        let effects = async {
            if let Some(old) = &replaced {
                aws.deregister_baseline(group, &old.aws_id).await?;
            }
            aws.register_baseline(group, &baseline.aws_id).await
        };
        if !plan.changes.is_empty()
            && let Err(error) = effects.await
        {
            // Once the old one may be off, only a repetition can tell: the record stays.
            return Err(if replaced.is_some() { error.into() } else { progress.failed(error.into()).await });
        }
        progress.done(&attach.group.to_string()).await?;
        Ok(Attached { group: self.patch_group(&attach.group).await?, plan, replayed: false })
    }

    /// What attaching would change, the baseline, and the one that it takes the place of. A `continued` attempt has had its
    /// etag checked, and may have changed the group itself since.
    async fn plan_attach(
        &self,
        attach: &AttachBaseline,
        continued: bool,
    ) -> Result<(Plan, BaselineSummary, Option<BaselineSummary>)> {
        let AttachBaseline { group, baseline: name, replace, etag, .. } = attach;
        let baseline = self.baseline(name).await?.summary;
        let now = self.patch_group(group).await?;
        if let Some(etag) = etag
            && !continued
            && *etag != now.etag()
        {
            return Err(Error::Aborted {
                reason: "ETAG_MISMATCH",
                message: format!("{group} has changed since its etag was read; read it again"),
                retry_after: None,
            });
        }
        let old = now.baselines.iter().find(|b| b.operating_system == baseline.operating_system);
        let mut plan = Plan { target_count: now.instance_count, ..Plan::default() };
        let mut replaced = None;
        match old {
            Some(old) if old.id == baseline.id => {}
            Some(old) if !replace => {
                return Err(Error::Precondition {
                    reason: "OTHER_BASELINE_ATTACHED",
                    message: format!(
                        "{group} already has {} ({}) for {}; set `replace` to take it off",
                        old.name, old.id, old.operating_system
                    ),
                    subject: group.to_string(),
                });
            }
            Some(old) => {
                plan.notices.push(Notice {
                    code: "DEFAULT_BASELINE_MEANWHILE",
                    message: "between the two steps the operating system's default baseline applies".into(),
                });
                plan.changes.push(Change {
                    resource: group.to_string(),
                    action: ChangeAction::Delete,
                    field: format!("baselines[{}]", old.operating_system),
                    before: old.id.to_string(),
                    after: String::new(),
                    aws_operation: "ssm:DeregisterPatchBaselineForPatchGroup",
                });
                replaced = Some(old.clone());
            }
            None => {}
        }
        if old.is_none_or(|old| old.id != baseline.id) {
            plan.changes.push(Change {
                resource: group.to_string(),
                action: ChangeAction::Create,
                field: format!("baselines[{}]", baseline.operating_system),
                before: String::new(),
                after: baseline.id.to_string(),
                aws_operation: "ssm:RegisterPatchBaselineForPatchGroup",
            });
        }
        if now.instance_count == 0 {
            plan.notices.push(Notice {
                code: "NO_INSTANCES",
                message: format!("no instance carries the tag of {} yet", group.group),
            });
        }
        Ok((plan, baseline, replaced))
    }

    /// Writes or removes group tags; each instance gets its own answer.
    #[tracing::instrument(name = "app.change_members", skip_all, fields(group = %request.group))]
    pub async fn change_members(&self, who: &Caller, request: ChangeMembers) -> Result<MembersChanged> {
        who.may(Action::ChangeGroupMembers, &request.group.location)?;
        let method = match request.change {
            MemberChange::Add { .. } => "AddInstances",
            MemberChange::Remove => "RemoveInstances",
        };
        if request.mutation.validate_only {
            let (results, plan) = self.plan_members(&request).await?;
            let group = self.patch_group(&request.group).await?;
            return Ok(MembersChanged { group, results, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, method, &request.mutation).await? else {
            let (results, _) = self.plan_members(&request).await?;
            let group = self.patch_group(&request.group).await?;
            return Ok(MembersChanged { group, results, plan: Plan::default(), replayed: true });
        };
        let (results, plan) = self.plan_members(&request).await?;
        if !progress.continued() {
            expect_plan(&request.mutation, &plan)?;
        }
        progress.record(&request.mutation).await?;
        let aws = self.aws(&request.group.location)?;
        let group = request.group.group.as_str();
        for (done, (key, ids)) in by_key(&results).into_iter().enumerate() {
            let written = match request.change {
                MemberChange::Add { .. } => aws.set_tag(&ids, &key, group).await,
                MemberChange::Remove => aws.clear_tag(&ids, &key, group).await,
            };
            if let Err(error) = written {
                return Err(if done == 0 { progress.failed(error.into()).await } else { error.into() });
            }
        }
        progress.done(&request.group.to_string()).await?;
        Ok(MembersChanged { group: self.patch_group(&request.group).await?, results, plan, replayed: false })
    }

    async fn plan_members(&self, request: &ChangeMembers) -> Result<(Vec<InstanceResult>, Plan)> {
        let location = &request.group.location;
        let aws = self.aws(location)?;
        let found: BTreeMap<InstanceId, Sighting> = aws.sightings(&request.instance_ids).await?;
        let group = request.group.group.as_str();
        let mut plan = Plan::default();
        let mut results = Vec::new();
        for id in &request.instance_ids {
            let result = match request.change {
                MemberChange::Add { allow_move } => add(id, found.get(id), group, allow_move),
                MemberChange::Remove => remove(id, found.get(id), group),
            };
            plan.changes.extend(change(location, &result, found.get(id), group));
            results.push(result);
        }
        plan.target_count = plan.changes.iter().filter(|c| c.action != ChangeAction::Skip).count();
        Ok((results, plan))
    }

    pub(super) async fn patch_group(&self, name: &GroupName) -> Result<PatchGroup> {
        let aws = self.aws(&name.location)?;
        let baselines = aws
            .group_mappings()
            .await?
            .into_iter()
            .filter(|mapping| mapping.group == name.group)
            .map(|mapping| mapping.baseline)
            .collect();
        let mut members = BTreeSet::new();
        for key in GROUP_TAG_KEYS {
            let filter = VmFilter::Tag { key: key.to_owned(), values: vec![name.group.to_string()] };
            members.extend(aws.vms(&filter).await?.into_iter().filter(is_there).map(|vm| vm.id));
        }
        Ok(PatchGroup { name: name.clone(), baselines, instance_count: members.len(), observe_time: self.clock.now() })
    }

    /// All groups of a location, by name: those with a baseline and those that exist as tags only.
    async fn patch_groups(&self, location: &Location) -> Result<Vec<PatchGroup>> {
        let aws = self.aws(location)?;
        let mut groups: BTreeMap<PatchGroupName, (Vec<BaselineSummary>, BTreeSet<InstanceId>)> = BTreeMap::new();
        for GroupMapping { group, baseline } in aws.group_mappings().await? {
            groups.entry(group).or_default().0.push(baseline);
        }
        for key in GROUP_TAG_KEYS {
            for vm in aws.vms(&VmFilter::TagKey(key.to_owned())).await?.into_iter().filter(is_there) {
                if let Some(Ok(group)) = vm.tags.get(key).map(|value| value.parse()) {
                    groups.entry(group).or_default().1.insert(vm.id);
                }
            }
        }
        let observe_time = self.clock.now();
        Ok(groups
            .into_iter()
            .map(|(group, (baselines, members))| PatchGroup {
                name: GroupName { location: location.clone(), group },
                baselines,
                instance_count: members.len(),
                observe_time,
            })
            .collect())
    }
}

fn is_there(vm: &VirtualMachine) -> bool {
    !matches!(vm.state, PowerState::Terminated | PowerState::ShuttingDown)
}

fn refused(id: &InstanceId, reason: &'static str, message: String) -> InstanceResult {
    InstanceResult { instance_id: id.clone(), outcome: MemberOutcome::Refused, tag_key: String::new(), reason, message }
}

fn accepted(id: &InstanceId, outcome: MemberOutcome, key: &str, message: String) -> InstanceResult {
    InstanceResult { instance_id: id.clone(), outcome, tag_key: key.to_owned(), reason: "", message }
}

fn known<'a>(id: &InstanceId, member: Option<&'a Sighting>) -> std::result::Result<&'a Sighting, InstanceResult> {
    match member {
        Some(member) if member.vm.as_ref().is_some_and(|vm| !is_there(vm)) => {
            Err(refused(id, "TERMINATED", "it is terminated".into()))
        }
        Some(member) if member.is_known() => Ok(member),
        _ => Err(refused(id, "NOT_FOUND", "not in this account and Region; check the id".into())),
    }
}

fn ambiguous(id: &InstanceId, spaced: &str, unspaced: &str) -> InstanceResult {
    let message =
        format!("`Patch Group` says `{spaced}`, `PatchGroup` says `{unspaced}`; remove one of the tags first");
    refused(id, "PATCH_GROUP_AMBIGUOUS", message)
}

fn add(id: &InstanceId, member: Option<&Sighting>, group: &str, allow_move: bool) -> InstanceResult {
    let member = match known(id, member) {
        Ok(member) => member,
        Err(refusal) => return refusal,
    };
    match membership(&member.tags) {
        Membership::In { group: now, key } if now == group => {
            accepted(id, MemberOutcome::Unchanged, &key, format!("it already is in {group}"))
        }
        Membership::In { group: now, key } if allow_move => {
            accepted(id, MemberOutcome::Moved, &key, format!("moved from {now}"))
        }
        Membership::In { group: now, .. } => {
            refused(id, "IN_OTHER_GROUP", format!("it is in {now}; set `allow_move` to move it"))
        }
        Membership::Ambiguous { spaced, unspaced } => ambiguous(id, &spaced, &unspaced),
        Membership::None if member.vm.as_ref().is_some_and(|vm| vm.metadata_tags) => {
            let why = "tags in instance metadata forbid the space in the key".into();
            accepted(id, MemberOutcome::Added, GROUP_TAG_KEYS[1], why)
        }
        Membership::None => accepted(id, MemberOutcome::Added, GROUP_TAG_KEYS[0], String::new()),
    }
}

fn remove(id: &InstanceId, member: Option<&Sighting>, group: &str) -> InstanceResult {
    let member = match known(id, member) {
        Ok(member) => member,
        Err(refusal) => return refusal,
    };
    match membership(&member.tags) {
        Membership::In { group: now, key } if now == group => accepted(id, MemberOutcome::Removed, &key, String::new()),
        // One of the two tags names this group: taking that one off is what resolves the ambiguity.
        Membership::Ambiguous { spaced, .. } if spaced == group => {
            accepted(id, MemberOutcome::Removed, GROUP_TAG_KEYS[0], String::new())
        }
        Membership::Ambiguous { unspaced, .. } if unspaced == group => {
            accepted(id, MemberOutcome::Removed, GROUP_TAG_KEYS[1], String::new())
        }
        Membership::In { group: now, .. } => refused(id, "NOT_IN_GROUP", format!("it is in {now}, not in {group}")),
        Membership::Ambiguous { spaced, unspaced } => ambiguous(id, &spaced, &unspaced),
        Membership::None => accepted(id, MemberOutcome::Unchanged, "", "it is in no group".into()),
    }
}

fn change(location: &Location, result: &InstanceResult, member: Option<&Sighting>, group: &str) -> Option<Change> {
    let resource = InstanceName { location: location.clone(), id: result.instance_id.clone() }.to_string();
    let tag = |action, after: &str| Change {
        resource: resource.clone(),
        action,
        field: format!("tags[{}]", result.tag_key),
        before: member.and_then(|member| member.tags.get(&result.tag_key)).cloned().unwrap_or_default(),
        after: after.to_owned(),
        aws_operation: match (result.instance_id.is_hybrid(), action == ChangeAction::Delete) {
            (false, false) => "ec2:CreateTags",
            (false, true) => "ec2:DeleteTags",
            (true, false) => "ssm:AddTagsToResource",
            (true, true) => "ssm:RemoveTagsFromResource",
        },
    };
    match result.outcome {
        MemberOutcome::Added => Some(tag(ChangeAction::Create, group)),
        MemberOutcome::Moved => Some(tag(ChangeAction::Update, group)),
        MemberOutcome::Removed => Some(tag(ChangeAction::Delete, "")),
        MemberOutcome::Unchanged => None,
        MemberOutcome::Refused => Some(Change {
            resource: resource.clone(),
            action: ChangeAction::Skip,
            field: String::new(),
            before: String::new(),
            after: format!("{}: {}", result.reason, result.message),
            aws_operation: "",
        }),
    }
}

/// The instances to write to, by tag key.
fn by_key(results: &[InstanceResult]) -> BTreeMap<String, Vec<InstanceId>> {
    let mut keys: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
    for result in results {
        if matches!(result.outcome, MemberOutcome::Added | MemberOutcome::Moved | MemberOutcome::Removed) {
            keys.entry(result.tag_key.clone()).or_default().push(result.instance_id.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(tags: &[(&str, &str)], metadata_tags: bool) -> Sighting {
        let tags: BTreeMap<_, _> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let vm = VirtualMachine {
            id: "i-0123456789abcdef0".parse().unwrap(),
            state: PowerState::Running,
            tags: tags.clone(),
            metadata_tags,
            instance_profile_arn: None,
            image_id: String::new(),
            instance_type: String::new(),
            private_ip: None,
            launch_time: None,
        };
        Sighting { vm: Some(vm), node: None, tags }
    }

    #[test]
    fn the_tag_key_follows_the_metadata_options_and_what_is_there() {
        let id: InstanceId = "i-0123456789abcdef0".parse().unwrap();
        for (member, allow_move, outcome, key) in [
            (member(&[], false), false, MemberOutcome::Added, "Patch Group"),
            (member(&[], true), false, MemberOutcome::Added, "PatchGroup"),
            (member(&[("PatchGroup", "web")], false), false, MemberOutcome::Unchanged, "PatchGroup"),
            (member(&[("PatchGroup", "db")], false), false, MemberOutcome::Refused, ""),
            (member(&[("PatchGroup", "db")], false), true, MemberOutcome::Moved, "PatchGroup"),
            (member(&[("PatchGroup", "db"), ("Patch Group", "web")], false), true, MemberOutcome::Refused, ""),
        ] {
            let result = add(&id, Some(&member), "web", allow_move);
            assert_eq!((result.outcome, result.tag_key.as_str()), (outcome, key), "{:?}", member.tags);
        }
        assert_eq!(add(&id, None, "web", true).reason, "NOT_FOUND");
    }
}
