//! Which baseline an instance gets, why, and what would give it another one (S 5.8–5.10, 4.6.9).

use super::{
    group_tags::{Membership, Registrations, membership},
    remedy::Remedy,
};
use patchplane_rules::{
    BaselineOwner, BaselineSummary, InstanceId, ManagedNode, OperatingSystem, PatchGroupName, Sighting,
};

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The baseline registered with its group for its system.
    PatchGroup,
    /// The default that this account has set for the system.
    CustomDefault,
    /// AWS's own default for it.
    AwsDefault,
}

/// Which baseline an instance gets when an operation runs on it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub os: Option<OperatingSystem>,
    pub group: Option<PatchGroupName>,
    /// `None`: nobody can say.
    pub chosen: Option<(BaselineSummary, Source)>,
    /// How it came to that, a sentence a step.
    pub reasons: Vec<String>,
    pub alternatives: Vec<Alternative>,
}

/// Another baseline, and the request after which the instance gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    pub baseline: BaselineSummary,
    /// Whom it concerns besides.
    pub effect: String,
    pub remedy: Remedy,
}

/// Follows the choice step by step. `baselines` are all of the location.
pub fn choose(
    id: &InstanceId,
    seen: &Sighting,
    registrations: &Registrations,
    baselines: &[BaselineSummary],
) -> Choice {
    let mut choice = Choice { os: None, group: None, chosen: None, reasons: Vec::new(), alternatives: Vec::new() };
    choice.os = seen.node.as_ref().and_then(ManagedNode::operating_system);
    let Some(os) = choice.os.clone() else {
        choice.reasons.push(match &seen.node {
            Some(node) => format!("no baseline fits {} {}", node.platform_name, node.platform_version),
            None => "its operating system is known only once it has registered with Systems Manager".to_owned(),
        });
        return choice;
    };
    choice.reasons.push(format!("it runs {os}"));
    let default = baselines.iter().find(|baseline| baseline.default && baseline.operating_system == os);
    let of_group = |group: &PatchGroupName| registrations.get(&(group.clone(), os.clone()));
    let valid = |group: &str| group.parse::<PatchGroupName>().ok();
    match membership(&seen.tags) {
        Membership::In { group, key } => {
            choice.reasons.push(format!("the tag `{key}` puts it into the group `{group}`"));
            choice.group = valid(&group);
        }
        Membership::None => choice.reasons.push("it is in no patch group".to_owned()),
        Membership::Ambiguous { spaced, unspaced } => {
            choice.reasons.push(format!(
                "`Patch Group` says `{spaced}` and `PatchGroup` says `{unspaced}`: which one AWS obeys is not documented"
            ));
            for (kept, left) in [(&spaced, &unspaced), (&unspaced, &spaced)] {
                let baseline = valid(kept).as_ref().and_then(of_group).or(default);
                if let (Some(baseline), Some(group)) = (baseline, valid(left)) {
                    choice.alternatives.push(Alternative {
                        baseline: baseline.clone(),
                        effect: format!("this instance alone: it stays in `{kept}`"),
                        remedy: Remedy::RemoveInstances { group, ids: vec![id.clone()] },
                    });
                }
            }
            return choice;
        }
    }
    let registered = choice.group.as_ref().and_then(of_group);
    match (&choice.group, registered) {
        (Some(group), Some(baseline)) => {
            choice.reasons.push(format!("the group `{group}` has {} for {os}", named(baseline)));
            choice.chosen = Some((baseline.clone(), Source::PatchGroup));
        }
        (group, _) => {
            if let Some(group) = group {
                choice.reasons.push(format!("the group `{group}` has no baseline for {os}"));
            }
            choice.chosen = default.map(|baseline| {
                let (source, whose) = match baseline.owner {
                    BaselineOwner::Account => (Source::CustomDefault, "this account's own"),
                    BaselineOwner::Aws => (Source::AwsDefault, "AWS's own"),
                };
                choice.reasons.push(format!("the default for {os} applies, {whose}: {}", named(baseline)));
                (baseline.clone(), source)
            });
        }
    }
    choice.alternatives = alternatives(id, &choice, registered, registrations, baselines, &os);
    choice
}

fn alternatives(
    id: &InstanceId,
    choice: &Choice,
    registered: Option<&BaselineSummary>,
    registrations: &Registrations,
    baselines: &[BaselineSummary],
    os: &OperatingSystem,
) -> Vec<Alternative> {
    let mut found = Vec::new();
    let Some(group) = &choice.group else {
        // Into a group that has a baseline for this system.
        let groups = registrations.iter().filter(|((_, system), _)| system == os);
        found.extend(groups.map(|((group, _), baseline)| Alternative {
            baseline: baseline.clone(),
            effect: format!("this instance alone: it joins `{group}`"),
            remedy: Remedy::AddInstances { group: group.clone(), ids: vec![id.clone()], allow_move: false },
        }));
        return found;
    };
    let effect = format!("every instance of `{group}` that runs {os}");
    let others = baselines.iter().filter(|baseline| baseline.operating_system == *os);
    for baseline in others.filter(|baseline| registered.is_none_or(|registered| registered.id != baseline.id)) {
        let (group, replace) = (group.clone(), registered.is_some());
        found.push(Alternative {
            baseline: baseline.clone(),
            effect: effect.clone(),
            remedy: Remedy::AttachBaseline { group, baseline: baseline.id.clone(), replace },
        });
    }
    let default = baselines.iter().find(|baseline| baseline.default && baseline.operating_system == *os);
    if let (Some(registered), Some(default)) = (registered, default) {
        found.push(Alternative {
            baseline: default.clone(),
            effect: format!("{effect}, whatever the default is from then on"),
            remedy: Remedy::DetachBaseline { group: group.clone(), baseline: registered.id.clone() },
        });
        found.push(Alternative {
            baseline: default.clone(),
            effect: "this instance alone: it leaves its group".to_owned(),
            remedy: Remedy::RemoveInstances { group: group.clone(), ids: vec![id.clone()] },
        });
    }
    found
}

fn named(baseline: &BaselineSummary) -> String {
    format!("{} ({})", baseline.name, baseline.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::readiness::tests::healthy;
    use std::collections::BTreeMap;

    const AWS: &str = "pb-0be8c61cde3be63f3";
    const OWN: &str = "pb-00000000000000001";
    const OTHER: &str = "pb-00000000000000002";

    fn baseline(id: &str, default: bool) -> BaselineSummary {
        BaselineSummary {
            id: id.parse().unwrap(),
            aws_id: id.to_owned(),
            owner: if id == AWS { BaselineOwner::Aws } else { BaselineOwner::Account },
            name: id.to_owned(),
            description: String::new(),
            operating_system: OperatingSystem::parse("AMAZON_LINUX_2").unwrap(),
            default,
        }
    }

    fn choice(tags: &[(&str, &str)], registered: &[(&str, &str)], default: &str) -> Choice {
        let (mut seen, _) = healthy();
        seen.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let registrations: Registrations = registered
            .iter()
            .map(|(group, id)| {
                let baseline = baseline(id, *id == default);
                ((group.parse().unwrap(), baseline.operating_system.clone()), baseline)
            })
            .collect();
        let baselines = [AWS, OWN, OTHER].map(|id| baseline(id, id == default));
        choose(&"i-0123456789abcdef0".parse().unwrap(), &seen, &registrations, &baselines)
    }

    #[test]
    fn the_group_decides_then_the_accounts_default_then_aws() {
        // S 5.8, 5.10.
        for (tags, registered, default, expected) in [
            (&[("Patch Group", "web")][..], &[("web", OWN)][..], AWS, Some((OWN, Source::PatchGroup))),
            (&[("PatchGroup", "web")], &[("web", OWN)], AWS, Some((OWN, Source::PatchGroup))),
            (&[("Patch Group", "web")], &[("db", OWN)], AWS, Some((AWS, Source::AwsDefault))),
            (&[("Patch Group", "web")], &[], OTHER, Some((OTHER, Source::CustomDefault))),
            (&[("patch group", "web")], &[("web", OWN)], AWS, Some((AWS, Source::AwsDefault))),
            (&[], &[], AWS, Some((AWS, Source::AwsDefault))),
            // S 5.2: of both keys nobody knows which wins.
            (&[("Patch Group", "web"), ("PatchGroup", "db")], &[("web", OWN)], AWS, None),
        ] {
            let choice = choice(tags, registered, default);
            let chosen = choice.chosen.as_ref().map(|(baseline, source)| (baseline.id.as_str(), *source));
            assert_eq!(chosen, expected, "{tags:?} {registered:?} {default}");
            assert!(choice.reasons.len() >= 2, "{:?}", choice.reasons);
        }
    }

    #[test]
    fn alternatives_are_what_would_apply_after_their_request() {
        let ways = |choice: &Choice| -> Vec<(String, &'static str)> {
            let way = |remedy: &Remedy| match remedy {
                Remedy::AttachBaseline { replace: true, .. } => "replace",
                Remedy::AttachBaseline { .. } => "attach",
                Remedy::DetachBaseline { .. } => "detach",
                Remedy::AddInstances { .. } => "join",
                Remedy::RemoveInstances { .. } => "leave",
            };
            choice.alternatives.iter().map(|other| (other.baseline.id.to_string(), way(&other.remedy))).collect()
        };
        let expected = |ways: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
            ways.iter().map(|(id, way)| ((*id).to_owned(), *way)).collect()
        };
        let member = [("Patch Group", "web")];
        assert_eq!(
            ways(&choice(&member, &[("web", OWN)], AWS)),
            expected(&[(AWS, "replace"), (OTHER, "replace"), (AWS, "detach"), (AWS, "leave")])
        );
        assert_eq!(ways(&choice(&member, &[], AWS)), expected(&[(AWS, "attach"), (OWN, "attach"), (OTHER, "attach")]));
        assert_eq!(ways(&choice(&[], &[("web", OWN)], AWS)), expected(&[(OWN, "join")]));
        let both = [("Patch Group", "web"), ("PatchGroup", "db")];
        assert_eq!(ways(&choice(&both, &[("web", OWN)], AWS)), expected(&[(OWN, "leave"), (AWS, "leave")]));
    }

    #[test]
    fn a_node_that_never_registered_has_no_baseline_yet() {
        let (mut seen, _) = healthy();
        seen.node = None;
        let choice = choose(&"i-0123456789abcdef0".parse().unwrap(), &seen, &BTreeMap::new(), &[baseline(AWS, true)]);
        assert_eq!((choice.chosen, choice.alternatives), (None, vec![]));
    }
}
