//! Moving instances into patch groups and out of them, by their tags.

use super::{PatchGroup, is_there};
use crate::{
    Result,
    app::{
        App,
        mutations::{Begun, expect_plan},
    },
    auth::{Action, Caller},
    domain::{
        group_tags::{Membership, blocks_spaces, membership, right_key},
        name::{GroupName, InstanceName},
        plan::{Change, ChangeAction, Plan},
        request::Mutation,
    },
};
use patchplane_rules::{GROUP_TAG_KEYS, InstanceId, Location, Sighting};
use std::collections::BTreeMap;

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

impl App {
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
        Membership::None => {
            let why = if blocks_spaces(member) { "tags in instance metadata forbid the space in the key" } else { "" };
            accepted(id, MemberOutcome::Added, right_key(member), why.into())
        }
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
    use patchplane_rules::{PowerState, VirtualMachine};

    fn member(tags: &[(&str, &str)], metadata_tags: bool) -> Sighting {
        let tags: BTreeMap<_, _> = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let vm = VirtualMachine {
            tags: tags.clone(),
            metadata_tags,
            ..VirtualMachine::new("i-0123456789abcdef0".parse().unwrap(), PowerState::Running)
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
