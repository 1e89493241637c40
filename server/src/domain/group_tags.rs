//! The tags that make patch groups, and those that look like it and do not.

use super::remedy::Remedy;
use patchplane_rules::{
    BaselineId, BaselineSummary, GROUP_TAG_KEYS, InstanceId, ManagedNode, OperatingSystem, PatchGroupName, PowerState,
    Sighting,
};
use std::collections::{BTreeMap, BTreeSet};

/// The patch group that an instance's tags put it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    None,
    In {
        group: String,
        key: String,
    },
    /// Both tags, with different values: which one AWS obeys is not documented.
    Ambiguous {
        spaced: String,
        unspaced: String,
    },
}

/// The baselines registered with groups, each for its operating system.
pub type Registrations = BTreeMap<(PatchGroupName, OperatingSystem), BaselineSummary>;

/// Tags of one kind that do not do what they seem to be meant for, with all instances that have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFinding {
    pub misstep: Misstep,
    /// At most as many as one request takes.
    pub ids: Vec<InstanceId>,
}

/// What is wrong with a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misstep {
    /// A key that is nearly a group key. `meant` is the group that its value names; `now` the one that the instance is in.
    KeyWrong { key: String, value: String, meant: Option<PatchGroupName>, now: Option<String> },
    /// The same where instance metadata shows tags, so that EC2 refuses the space of `Patch Group` (S 5.2, 12.7).
    KeyBlocked { key: String, value: String, meant: Option<PatchGroupName>, now: Option<String> },
    /// Both keys, with different values. `leave` is the group to leave, the other one has a baseline or the first key.
    Ambiguous { spaced: String, unspaced: String, leave: Option<PatchGroupName> },
    /// A value that differs from an existing group in case or blanks alone.
    ValueNear { key: String, value: String, meant: PatchGroupName },
    /// A value that cannot be a patch group: empty, too long, or with characters that AWS does not take (S 5.4).
    ValueInvalid { key: String, value: String, rule: String },
    /// A group without a baseline for a system that its instances run. `default` is what applies instead.
    NoBaseline { group: PatchGroupName, os: OperatingSystem, default: Option<BaselineId> },
}

/// As many instances as AddInstances and RemoveInstances take.
const IDS_A_REQUEST: usize = 1000;

/// The group that these tags make (S 5.1), never guessing between two.
pub fn membership(tags: &BTreeMap<String, String>) -> Membership {
    let [spaced, unspaced] = GROUP_TAG_KEYS.map(|key| tags.get(key).filter(|value| !value.is_empty()));
    match (spaced, unspaced) {
        (None, None) => Membership::None,
        (Some(a), Some(b)) if a != b => Membership::Ambiguous { spaced: a.clone(), unspaced: b.clone() },
        (Some(group), _) => Membership::In { group: group.clone(), key: GROUP_TAG_KEYS[0].to_owned() },
        (None, Some(group)) => Membership::In { group: group.clone(), key: GROUP_TAG_KEYS[1].to_owned() },
    }
}

/// A tag key that looks like a group key and is none, such as `patch group` or `Patch-Group`.
pub fn near_miss_key(key: &str) -> bool {
    let letters: String = key.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    let near = ["patchgroup", "patchgroups", "patchgrp", "patchinggroup", "patchinggroups"];
    !GROUP_TAG_KEYS.contains(&key) && near.contains(&letters.as_str())
}

/// Every tag of these instances that looks like a patch group and is not effective; terminated instances are left out.
/// `defaults` are the default baselines, by operating system.
pub fn tag_findings(
    instances: &BTreeMap<InstanceId, Sighting>,
    registrations: &Registrations,
    defaults: &BTreeMap<OperatingSystem, BaselineId>,
) -> Vec<TagFinding> {
    let there = |seen: &Sighting| {
        seen.vm.as_ref().is_none_or(|vm| !matches!(vm.state, PowerState::Terminated | PowerState::ShuttingDown))
    };
    let groups = Groups::of(instances.values().filter(|seen| there(seen)), registrations);
    let mut found: BTreeMap<Misstep, Vec<InstanceId>> = BTreeMap::new();
    for (id, seen) in instances.iter().filter(|(_, seen)| there(seen)) {
        for misstep in missteps(seen, &groups, registrations, defaults) {
            found.entry(misstep).or_default().push(id.clone());
        }
    }
    let chunks = found.into_iter().flat_map(|(misstep, ids)| {
        let chunk = |ids: &[InstanceId]| TagFinding { misstep: misstep.clone(), ids: ids.to_vec() };
        ids.chunks(IDS_A_REQUEST).map(chunk).collect::<Vec<_>>()
    });
    chunks.collect()
}

/// What is wrong with one instance's tags, as far as `groups` tell which groups there are.
pub(super) fn missteps(
    seen: &Sighting,
    groups: &Groups,
    registrations: &Registrations,
    defaults: &BTreeMap<OperatingSystem, BaselineId>,
) -> Vec<Misstep> {
    let membership = membership(&seen.tags);
    let now = match &membership {
        Membership::In { group, .. } => Some(group.clone()),
        Membership::None | Membership::Ambiguous { .. } => None,
    };
    let mut found = Vec::new();
    for (key, value) in seen.tags.iter().filter(|(key, _)| near_miss_key(key)) {
        let meant = groups.meant(value);
        // Where the right key says the same, the wrong one does no harm.
        let harmless = now.as_ref().is_some_and(|now| meant.as_ref().is_some_and(|meant| meant.as_str() == now));
        if harmless || matches!(membership, Membership::Ambiguous { .. }) {
            continue;
        }
        let (key, value, now) = (key.clone(), value.clone(), now.clone());
        found.push(if blocks_spaces(seen) {
            Misstep::KeyBlocked { key, value, meant, now }
        } else {
            Misstep::KeyWrong { key, value, meant, now }
        });
    }
    match membership {
        Membership::Ambiguous { spaced, unspaced } => {
            // What has a baseline is kept; in doubt the key that AWS names first.
            let known = |group: &str| registrations.keys().any(|(known, _)| known.as_str() == group);
            let leave = if known(&unspaced) && !known(&spaced) { &spaced } else { &unspaced };
            let leave = leave.parse().ok();
            found.push(Misstep::Ambiguous { spaced, unspaced, leave });
        }
        Membership::In { group, key } => match group.parse::<PatchGroupName>() {
            Err(invalid) => found.push(Misstep::ValueInvalid { key, value: group, rule: invalid.rule }),
            Ok(name) => match groups.nearer(&name) {
                Some(meant) => found.push(Misstep::ValueNear { key, value: group, meant }),
                None => found.extend(without_baseline(seen, name, registrations, defaults)),
            },
        },
        Membership::None => {
            let empty = GROUP_TAG_KEYS.iter().find(|key| seen.tags.contains_key(**key));
            found.extend(empty.map(|key| Misstep::ValueInvalid {
                key: (*key).to_owned(),
                value: String::new(),
                rule: "is empty".to_owned(),
            }));
        }
    }
    found
}

fn without_baseline(
    seen: &Sighting,
    group: PatchGroupName,
    registrations: &Registrations,
    defaults: &BTreeMap<OperatingSystem, BaselineId>,
) -> Option<Misstep> {
    let os = seen.node.as_ref().and_then(ManagedNode::operating_system)?;
    let key = (group, os);
    if registrations.contains_key(&key) {
        return None;
    }
    let (group, os) = key;
    Some(Misstep::NoBaseline { default: defaults.get(&os).cloned(), group, os })
}

/// Whether EC2 refuses tag keys with a space on this instance (S 12.7).
pub fn blocks_spaces(seen: &Sighting) -> bool {
    seen.vm.as_ref().is_some_and(|vm| vm.metadata_tags)
}

/// The group tag key that an instance can have.
pub fn right_key(seen: &Sighting) -> &'static str {
    if blocks_spaces(seen) { GROUP_TAG_KEYS[1] } else { GROUP_TAG_KEYS[0] }
}

// === Groups that are there ===

/// The groups of a location, found by what is left of their names without case and blanks.
pub(super) struct Groups {
    registered: BTreeMap<String, BTreeSet<PatchGroupName>>,
    tagged: BTreeMap<String, BTreeMap<PatchGroupName, usize>>,
}

fn skeleton(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

impl Groups {
    pub(super) fn of<'a>(instances: impl Iterator<Item = &'a Sighting>, registrations: &Registrations) -> Self {
        let mut groups = Self { registered: BTreeMap::new(), tagged: BTreeMap::new() };
        for (group, _) in registrations.keys() {
            groups.registered.entry(skeleton(group.as_str())).or_default().insert(group.clone());
        }
        for seen in instances {
            if let Membership::In { group, .. } = membership(&seen.tags)
                && let Ok(group) = group.parse::<PatchGroupName>()
            {
                *groups.tagged.entry(skeleton(group.as_str())).or_default().entry(group).or_default() += 1;
            }
        }
        groups
    }

    /// The group that this one was meant to be: one with a baseline, else the one that clearly more instances are in.
    fn nearer(&self, group: &PatchGroupName) -> Option<PatchGroupName> {
        let skeleton = skeleton(group.as_str());
        if let Some(registered) = self.registered.get(&skeleton) {
            return if registered.contains(group) { None } else { registered.first().cloned() };
        }
        let tagged = self.tagged.get(&skeleton)?;
        let own = tagged.get(group).copied().unwrap_or(0);
        let (most, number) = tagged.iter().max_by_key(|(_, number)| **number)?;
        (most != group && *number > own).then(|| most.clone())
    }

    /// The group that a value under a wrong key names.
    fn meant(&self, value: &str) -> Option<PatchGroupName> {
        let group: PatchGroupName = value.trim().parse().ok()?;
        Some(self.nearer(&group).unwrap_or(group))
    }
}

// === impl Misstep ===

impl Misstep {
    /// A stable code in UPPER_SNAKE_CASE.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyWrong { .. } => "TAG_KEY_WRONG",
            Self::KeyBlocked { .. } => "TAG_KEY_BLOCKED_BY_IMDS",
            Self::Ambiguous { .. } => "PATCH_GROUP_AMBIGUOUS",
            Self::ValueNear { .. } => "TAG_VALUE_NEAR_MISS",
            Self::ValueInvalid { .. } => "TAG_VALUE_INVALID",
            Self::NoBaseline { .. } => "GROUP_WITHOUT_BASELINE",
        }
    }

    /// The tag concerned; none where it is as it should be.
    pub fn tag(&self) -> Option<(&str, &str)> {
        match self {
            Self::KeyWrong { key, value, .. }
            | Self::KeyBlocked { key, value, .. }
            | Self::ValueNear { key, value, .. }
            | Self::ValueInvalid { key, value, .. } => Some((key, value)),
            Self::Ambiguous { unspaced, .. } => Some((GROUP_TAG_KEYS[1], unspaced)),
            Self::NoBaseline { .. } => None,
        }
    }

    /// The group that is meant, or that lacks its baseline.
    pub fn group(&self) -> Option<&PatchGroupName> {
        match self {
            Self::KeyWrong { meant, .. } | Self::KeyBlocked { meant, .. } => meant.as_ref(),
            Self::ValueNear { meant, .. } => Some(meant),
            Self::NoBaseline { group, .. } => Some(group),
            Self::Ambiguous { .. } | Self::ValueInvalid { .. } => None,
        }
    }

    pub fn evidence(&self) -> String {
        match self {
            Self::KeyWrong { key, value, now, .. } => {
                let now = now.as_ref().map(|now| format!("; the group is `{now}`")).unwrap_or_default();
                format!("the tag `{key}` = `{value}` is not read by Systems Manager{now}")
            }
            Self::KeyBlocked { key, value, now, .. } => {
                let now = now.as_ref().map(|now| format!("; the group is `{now}`")).unwrap_or_default();
                format!(
                    "the tag `{key}` = `{value}` is not read by Systems Manager, and instance metadata shows tags, \
                     which forbids the space in `Patch Group`{now}"
                )
            }
            Self::Ambiguous { spaced, unspaced, .. } => format!(
                "`Patch Group` = `{spaced}` and `PatchGroup` = `{unspaced}`; which one AWS obeys is not documented"
            ),
            Self::ValueNear { key, value, meant } => {
                format!("the tag `{key}` = `{value}` differs from the group `{meant}` in case or blanks alone")
            }
            Self::ValueInvalid { key, value, rule } => {
                format!("the tag `{key}` = `{value}` is no patch group: it {rule}")
            }
            Self::NoBaseline { group, os, .. } => format!("the group `{group}` has no baseline for {os}"),
        }
    }

    pub fn fix(&self) -> String {
        match self {
            Self::KeyWrong { meant: Some(meant), now: Some(now), .. }
            | Self::KeyBlocked { meant: Some(meant), now: Some(now), .. } => {
                format!("move to `{meant}` if that is meant, else remove the tag and stay in `{now}`")
            }
            Self::KeyWrong { meant: Some(meant), .. } => {
                format!("put into `{meant}` by the key `Patch Group`")
            }
            Self::KeyBlocked { meant: Some(meant), .. } => {
                format!("put into `{meant}` by the key `PatchGroup`")
            }
            Self::KeyWrong { .. } | Self::KeyBlocked { .. } => {
                "the value cannot be a patch group: put into the right one with AddInstances".to_owned()
            }
            Self::Ambiguous { spaced, unspaced, leave } => {
                let kept = if leave.as_ref().is_some_and(|leave| leave.as_str() == spaced) { unspaced } else { spaced };
                format!("keep `{kept}` and leave the other; or the other way round, by naming `{kept}` instead")
            }
            Self::ValueNear { meant, .. } => format!("move to `{meant}`"),
            Self::ValueInvalid { .. } => "put into a group with AddInstances, with `allow_move`".to_owned(),
            Self::NoBaseline { default: Some(default), os, .. } => format!(
                "attach one: {default} is the default for {os} and applies now, any other baseline for {os} can be \
                 attached instead"
            ),
            Self::NoBaseline { os, .. } => format!("attach a baseline for {os}"),
        }
    }

    /// The request that mends it for these instances; none where only a person can say what is meant.
    pub fn remedy(&self, ids: &[InstanceId]) -> Option<Remedy> {
        let ids = ids.to_vec();
        match self {
            Self::KeyWrong { meant, now, .. } | Self::KeyBlocked { meant, now, .. } => {
                Some(Remedy::AddInstances { group: meant.clone()?, ids, allow_move: now.is_some() })
            }
            Self::ValueNear { meant, .. } => Some(Remedy::AddInstances { group: meant.clone(), ids, allow_move: true }),
            Self::Ambiguous { leave, .. } => Some(Remedy::RemoveInstances { group: leave.clone()?, ids }),
            Self::NoBaseline { group, default, .. } => {
                Some(Remedy::AttachBaseline { group: group.clone(), baseline: default.clone()?, replace: false })
            }
            Self::ValueInvalid { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchplane_rules::{BaselineOwner, PingStatus, VirtualMachine};

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn only_the_two_exact_keys_make_a_group() {
        // S 5.1, 5.2: `Patch Group` or `PatchGroup`, case-sensitive; which one wins is not documented.
        assert_eq!(membership(&tags(&[("patch group", "web")])), Membership::None);
        assert!(matches!(membership(&tags(&[("Patch Group", "web")])), Membership::In { .. }));
        assert!(matches!(membership(&tags(&[("PatchGroup", "web")])), Membership::In { .. }));
        assert!(matches!(
            membership(&tags(&[("PatchGroup", "a"), ("Patch Group", "b")])),
            Membership::Ambiguous { .. }
        ));
        assert!(matches!(membership(&tags(&[("PatchGroup", "a"), ("Patch Group", "a")])), Membership::In { .. }));
    }

    #[test]
    fn near_misses_are_told_from_the_right_keys() {
        for near in
            ["patch group", "Patch-Group", "patch_group", "PATCHGROUP", "Patch Groups", "Patch Group ", "Patchgroup"]
        {
            assert!(near_miss_key(near), "{near}");
        }
        for other in ["Patch Group", "PatchGroup", "Group", "Name", "Batch Group"] {
            assert!(!near_miss_key(other), "{other}");
        }
    }

    fn id(n: usize) -> InstanceId {
        format!("i-{n:017x}").parse().unwrap()
    }

    fn instance(n: usize, pairs: &[(&str, &str)], metadata_tags: bool) -> (InstanceId, Sighting) {
        let vm = VirtualMachine { tags: tags(pairs), metadata_tags, ..VirtualMachine::new(id(n), PowerState::Running) };
        let node = ManagedNode {
            id: id(n),
            ping: PingStatus::Online,
            last_ping: None,
            agent_version: "3.3.0.0".into(),
            platform_type: "Linux".into(),
            platform_name: "Amazon Linux".into(),
            platform_version: "2".into(),
            computer_name: String::new(),
            ip_address: String::new(),
        };
        (id(n), Sighting { vm: Some(vm), node: Some(node), tags: tags(pairs) })
    }

    fn registered(groups: &[&str]) -> Registrations {
        let os = OperatingSystem::parse("AMAZON_LINUX_2").unwrap();
        let baseline = BaselineSummary {
            id: "pb-0be8c61cde3be63f3".parse().unwrap(),
            aws_id: String::new(),
            owner: BaselineOwner::Aws,
            name: String::new(),
            description: String::new(),
            operating_system: os.clone(),
            default: true,
        };
        groups.iter().map(|group| ((group.parse().unwrap(), os.clone()), baseline.clone())).collect()
    }

    fn defaults() -> BTreeMap<OperatingSystem, BaselineId> {
        registered(&["x"]).into_values().map(|baseline| (baseline.operating_system, baseline.id)).collect()
    }

    fn add(group: &str, n: usize, allow_move: bool) -> Option<Remedy> {
        Some(Remedy::AddInstances { group: group.parse().unwrap(), ids: vec![id(n)], allow_move })
    }

    #[test]
    fn every_tag_that_is_not_effective_is_found_with_the_request_that_mends_it() {
        let leave = |group: &str| Some(Remedy::RemoveInstances { group: group.parse().unwrap(), ids: vec![id(1)] });
        let attach = |group: &str| {
            let (group, baseline) = (group.parse().unwrap(), "pb-0be8c61cde3be63f3".parse().unwrap());
            Some(Remedy::AttachBaseline { group, baseline, replace: false })
        };
        // S 5.1 (keys, exact), 5.2 (metadata, both keys), 5.3 and 5.9 (registrations), 5.4 (values). "web" is registered.
        type Case = (&'static [(&'static str, &'static str)], bool, Option<(&'static str, Option<Remedy>)>);
        let cases: &[Case] = &[
            (&[("Patch Group", "web")], false, None),
            (&[("PatchGroup", "web")], true, None),
            (&[("Name", "web")], false, None),
            (&[], false, None),
            (&[("patch group", "web")], false, Some(("TAG_KEY_WRONG", add("web", 1, false)))),
            (&[("Patchgroup", "web")], false, Some(("TAG_KEY_WRONG", add("web", 1, false)))),
            (&[("Patch Group ", "web")], false, Some(("TAG_KEY_WRONG", add("web", 1, false)))),
            (&[("patch group", " WEB ")], false, Some(("TAG_KEY_WRONG", add("web", 1, false)))),
            (&[("patch group", "a,b")], false, Some(("TAG_KEY_WRONG", None))),
            (&[("patch group", "web"), ("Patch Group", "web")], false, None),
            (&[("patch-group", "db"), ("Patch Group", "web")], false, Some(("TAG_KEY_WRONG", add("db", 1, true)))),
            (&[("Patch-Group", "web")], true, Some(("TAG_KEY_BLOCKED_BY_IMDS", add("web", 1, false)))),
            (&[("Patch Group", "Web")], false, Some(("TAG_VALUE_NEAR_MISS", add("web", 1, true)))),
            (&[("PatchGroup", "web ")], false, Some(("TAG_VALUE_NEAR_MISS", add("web", 1, true)))),
            (&[("Patch Group", "a,b")], false, Some(("TAG_VALUE_INVALID", None))),
            (&[("Patch Group", "")], false, Some(("TAG_VALUE_INVALID", None))),
            (&[("Patch Group", "web"), ("PatchGroup", "db")], false, Some(("PATCH_GROUP_AMBIGUOUS", leave("db")))),
            (&[("Patch Group", "db"), ("PatchGroup", "web")], false, Some(("PATCH_GROUP_AMBIGUOUS", leave("db")))),
            (&[("Patch Group", "db")], false, Some(("GROUP_WITHOUT_BASELINE", attach("db")))),
        ];
        for (tags, metadata_tags, expected) in cases {
            let instances = BTreeMap::from([instance(1, tags, *metadata_tags)]);
            let found = tag_findings(&instances, &registered(&["web"]), &defaults());
            let found: Vec<_> = found.iter().map(|f| (f.misstep.code(), f.misstep.remedy(&f.ids))).collect();
            assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>(), "{tags:?}");
        }
    }

    #[test]
    fn equal_missteps_are_one_finding_and_a_request_takes_them_all() {
        let mut instances: BTreeMap<_, _> = (0..1001).map(|n| instance(n, &[("patch group", "web")], false)).collect();
        let found = tag_findings(&instances, &registered(&["web"]), &defaults());
        assert_eq!(found.iter().map(|finding| finding.ids.len()).collect::<Vec<_>>(), [1000, 1]);
        for seen in instances.values_mut() {
            seen.vm.as_mut().unwrap().state = PowerState::Terminated;
        }
        assert_eq!(tag_findings(&instances, &registered(&["web"]), &defaults()), []);
    }

    #[test]
    fn without_a_baseline_the_spelling_of_most_is_taken_for_the_right_one() {
        let spelt = |n, value| instance(n, &[("Patch Group", value)], false);
        let instances = BTreeMap::from([spelt(1, "Web"), spelt(2, "web"), spelt(3, "web")]);
        let found = tag_findings(&instances, &Registrations::new(), &BTreeMap::new());
        let near: Vec<_> = found.iter().filter(|f| matches!(f.misstep, Misstep::ValueNear { .. })).collect();
        assert_eq!(near.len(), 1);
        assert_eq!(near[0].misstep.remedy(&near[0].ids), add("web", 1, true));
        // Two against two: nobody knows.
        let instances = BTreeMap::from([spelt(1, "Web"), spelt(2, "web")]);
        let found = tag_findings(&instances, &Registrations::new(), &BTreeMap::new());
        assert!(found.iter().all(|f| matches!(f.misstep, Misstep::NoBaseline { .. })), "{found:?}");
    }
}
