//! What AWS must allow: policy documents for each kind of use, made from the table of calls.
//!
//! Which resources and conditions an action knows is told by AWS's Service Authorization Reference (actions, resources and
//! condition keys of Systems Manager, EC2 and STS).

use crate::{calls, commands, reboot};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A kind of use, and the policy document that allows it. All but `AssumeRole` are for the role of an account; each stands
/// beside `ReadOnly`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// Looking: instances, baselines, compliance, history, readiness.
    ReadOnly,
    /// Scanning and installing, and cancelling it. AWS cannot tell the two apart: both run AWS-RunPatchBaseline.
    Patch,
    /// Reboots of their own, by a script.
    Reboot,
    /// Making, changing and deleting baselines, and choosing defaults.
    Baselines,
    /// Attaching baselines to patch groups.
    PatchGroups,
    /// Putting instances into patch groups: their tags.
    Members,
    /// Patch schedules: maintenance windows.
    Schedules,
    /// What the process itself needs where locations have a role: to assume it, and nothing else.
    AssumeRole,
}

/// That a document allows a call on these resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub document: Document,
    pub resource: Resource,
}

/// What a call may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The action knows no resources, or it only reads.
    Any,
    PatchDocument,
    RebootDocuments,
    /// Instances and hybrid nodes.
    Nodes,
    /// Instances, by the tags of patch groups alone.
    TaggedInstances,
    /// Hybrid nodes, by the tags of patch groups alone.
    TaggedHybridNodes,
    Baselines,
    Windows,
    WindowTargets,
    WindowTasks,
    Roles,
}

/// What narrows documents down to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// Only nodes with this tag get commands.
    pub node_tag: Option<(String, String)>,
    /// The roles that the process may assume.
    pub roles: Vec<String>,
}

/// The most characters of a managed policy, white space not counted.
pub const LARGEST_POLICY: usize = 6_144;

/// What AWS does in a caller's name, and patchplane never asks for: action, document, and why.
pub const ON_BEHALF: [(&str, Document, &str); 1] = [(
    "iam:CreateServiceLinkedRole",
    Document::Schedules,
    "AWS makes its role for maintenance windows when the first task of an account is registered",
)];

impl Document {
    pub const ALL: [Self; 8] = [
        Self::ReadOnly,
        Self::Patch,
        Self::Reboot,
        Self::Baselines,
        Self::PatchGroups,
        Self::Members,
        Self::Schedules,
        Self::AssumeRole,
    ];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Patch => "patch",
            Self::Reboot => "reboot",
            Self::Baselines => "baselines",
            Self::PatchGroups => "patch-groups",
            Self::Members => "members",
            Self::Schedules => "schedules",
            Self::AssumeRole => "assume-role",
        }
    }

    /// The actions that it allows, sorted.
    pub fn actions(self) -> Vec<&'static str> {
        let called = calls().iter().filter(|call| call.grants.iter().any(|grant| grant.document == self));
        let on_behalf = ON_BEHALF.iter().filter(|(_, document, _)| *document == self);
        let mut actions: Vec<_> = called.map(|call| call.action).chain(on_behalf.map(|(action, ..)| *action)).collect();
        actions.sort_unstable();
        actions
    }

    fn title(self) -> &'static str {
        match self {
            Self::ReadOnly => "Read",
            Self::Patch => "Patch",
            Self::Reboot => "Reboot",
            Self::Baselines => "Baselines",
            Self::PatchGroups => "PatchGroups",
            Self::Members => "Members",
            Self::Schedules => "Schedules",
            Self::AssumeRole => "AssumeRole",
        }
    }

    fn statements(self, scope: &Scope) -> Vec<Value> {
        let mut by_resource: BTreeMap<Resource, Vec<&str>> = BTreeMap::new();
        for call in calls() {
            for grant in call.grants.iter().filter(|grant| grant.document == self) {
                by_resource.entry(grant.resource).or_default().push(call.action);
            }
        }
        let mut statements: Vec<Value> = by_resource
            .into_iter()
            .map(|(resource, mut actions)| {
                actions.sort_unstable();
                let sid = format!("{}{}", self.title(), resource.title());
                statement(&sid, &actions, &resource.arns(scope), resource.condition(scope))
            })
            .collect();
        if self == Self::Schedules {
            let role = "role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM";
            let role = format!("arn:{}:iam::*:{role}", scope.partition);
            let only = json!({ "StringEquals": { "iam:AWSServiceName": "ssm.amazonaws.com" } });
            statements.push(statement("SchedulesServiceRole", &["iam:CreateServiceLinkedRole"], &[role], Some(only)));
        }
        statements
    }
}

impl Resource {
    fn title(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::PatchDocument | Self::RebootDocuments => "Documents",
            Self::Nodes => "Nodes",
            Self::TaggedInstances => "Instances",
            Self::TaggedHybridNodes => "HybridNodes",
            Self::Baselines => "OnBaselines",
            Self::Windows => "OnWindows",
            Self::WindowTargets => "OnTargets",
            Self::WindowTasks => "OnTasks",
            Self::Roles => "",
        }
    }

    fn arns(self, scope: &Scope) -> Vec<String> {
        let arn = |service: &str, resource: &str| format!("arn:{}:{service}:*:*:{resource}", scope.partition);
        let document = |name: &&str| arn("ssm", &format!("document/{name}"));
        match self {
            Self::Any => vec!["*".to_owned()],
            Self::PatchDocument => [commands::DOCUMENT].iter().map(document).collect(),
            Self::RebootDocuments => reboot::DOCUMENTS.iter().map(document).collect(),
            Self::Nodes => vec![arn("ec2", "instance/*"), arn("ssm", "managed-instance/*")],
            Self::TaggedInstances => vec![arn("ec2", "instance/*")],
            Self::TaggedHybridNodes => vec![arn("ssm", "managed-instance/*")],
            Self::Baselines => vec![arn("ssm", "patchbaseline/*")],
            Self::Windows => vec![arn("ssm", "maintenancewindow/*")],
            Self::WindowTargets => vec![arn("ssm", "windowtarget/*")],
            Self::WindowTasks => vec![arn("ssm", "windowtask/*")],
            Self::Roles => scope.roles.clone(),
        }
    }

    fn condition(self, scope: &Scope) -> Option<Value> {
        match self {
            Self::Nodes => {
                let (key, value) = scope.node_tag.as_ref()?;
                Some(json!({ "StringEquals": { format!("aws:ResourceTag/{key}"): value } }))
            }
            Self::TaggedInstances | Self::TaggedHybridNodes => {
                Some(json!({ "ForAllValues:StringEquals": { "aws:TagKeys": patchplane_rules::GROUP_TAG_KEYS } }))
            }
            _ => None,
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        let roles = vec!["arn:aws:iam::*:role/patchplane".to_owned()];
        Self { partition: "aws".to_owned(), node_tag: None, roles }
    }
}

/// One policy document that allows all of these uses.
pub fn policy(documents: &[Document], scope: &Scope) -> Value {
    let statements: Vec<Value> = documents.iter().flat_map(|document| document.statements(scope)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Who may become the role: a service account of Kubernetes, by the cluster's OIDC provider (IRSA).
///
/// `provider` is the issuer without `https://`; `account` is where it is registered.
pub fn trust_of_service_account(partition: &str, account: &str, provider: &str, namespace: &str, name: &str) -> Value {
    let who = json!({ "Federated": format!("arn:{partition}:iam::{account}:oidc-provider/{provider}") });
    let only = json!({ "StringEquals": {
        format!("{provider}:aud"): "sts.amazonaws.com",
        format!("{provider}:sub"): format!("system:serviceaccount:{namespace}:{name}"),
    } });
    trust("ServiceAccount", who, "sts:AssumeRoleWithWebIdentity", Some(only))
}

/// Who may become the role: another role, as patchplane runs with, which must know the external id.
pub fn trust_of_role(role_arn: &str, external_id: &str) -> Value {
    let only = json!({ "StringEquals": { "sts:ExternalId": external_id } });
    trust("Patchplane", json!({ "AWS": role_arn }), "sts:AssumeRole", Some(only))
}

fn trust(sid: &str, principal: Value, action: &str, condition: Option<Value>) -> Value {
    let mut statement = Map::new();
    statement.insert("Sid".to_owned(), json!(sid));
    statement.insert("Effect".to_owned(), json!("Allow"));
    statement.insert("Principal".to_owned(), principal);
    statement.insert("Action".to_owned(), json!(action));
    if let Some(condition) = condition {
        statement.insert("Condition".to_owned(), condition);
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

fn statement(sid: &str, actions: &[&str], resources: &[String], condition: Option<Value>) -> Value {
    let mut statement = Map::new();
    statement.insert("Sid".to_owned(), json!(sid));
    statement.insert("Effect".to_owned(), json!("Allow"));
    statement.insert("Action".to_owned(), json!(actions));
    statement.insert("Resource".to_owned(), json!(resources));
    if let Some(condition) = condition {
        statement.insert("Condition".to_owned(), condition);
    }
    Value::Object(statement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Effect;

    fn allowed(document: Document) -> Vec<(String, Vec<String>)> {
        let policy = policy(&[document], &Scope::default());
        let texts =
            |value: &Value| value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let statements = policy["Statement"].as_array().unwrap();
        statements
            .iter()
            .flat_map(|statement| {
                let (actions, on): (Vec<String>, Vec<String>) =
                    (texts(&statement["Action"]), texts(&statement["Resource"]));
                actions.into_iter().map(move |action| (action, on.clone()))
            })
            .collect()
    }

    #[test]
    fn whoever_may_only_look_changes_nothing_and_every_read_that_is_asked_for_is_allowed() {
        let reads = Document::ReadOnly.actions();
        let asked = |call: &&crate::Call| call.feature != "locations" && !call.grants.is_empty();
        for call in calls().iter().filter(asked) {
            assert_eq!(reads.contains(&call.action), call.effect == Effect::Read, "{}", call.action);
        }
        assert!(reads.iter().all(|action| [":Describe", ":Get", ":List"].iter().any(|verb| action.contains(verb))));
    }

    #[test]
    fn every_mutation_is_allowed_by_some_document_and_none_by_all() {
        for call in calls().iter().filter(|call| call.effect == Effect::Mutation) {
            let by = Document::ALL.iter().filter(|document| document.actions().contains(&call.action)).count();
            assert!((1..=3).contains(&by), "{} is in {by} documents", call.action);
        }
    }

    /// By hand, from what each use does in AWS.
    #[test]
    fn the_documents_allow_just_these_changes() {
        for (document, actions) in [
            (Document::Patch, vec!["ssm:CancelCommand", "ssm:SendCommand"]),
            (Document::Reboot, vec!["ssm:CancelCommand", "ssm:SendCommand"]),
            (
                Document::Baselines,
                vec![
                    "ssm:AddTagsToResource",
                    "ssm:CreatePatchBaseline",
                    "ssm:DeletePatchBaseline",
                    "ssm:RegisterDefaultPatchBaseline",
                    "ssm:UpdatePatchBaseline",
                ],
            ),
            (
                Document::PatchGroups,
                vec!["ssm:DeregisterPatchBaselineForPatchGroup", "ssm:RegisterPatchBaselineForPatchGroup"],
            ),
            (
                Document::Members,
                vec!["ec2:CreateTags", "ec2:DeleteTags", "ssm:AddTagsToResource", "ssm:RemoveTagsFromResource"],
            ),
            (
                Document::Schedules,
                vec![
                    "iam:CreateServiceLinkedRole",
                    "ssm:AddTagsToResource",
                    "ssm:CreateMaintenanceWindow",
                    "ssm:DeleteMaintenanceWindow",
                    "ssm:DeregisterTargetFromMaintenanceWindow",
                    "ssm:RegisterTargetWithMaintenanceWindow",
                    "ssm:RegisterTaskWithMaintenanceWindow",
                    "ssm:RemoveTagsFromResource",
                    "ssm:UpdateMaintenanceWindow",
                    "ssm:UpdateMaintenanceWindowTask",
                ],
            ),
            (Document::AssumeRole, vec!["sts:AssumeRole"]),
        ] {
            assert_eq!(document.actions(), actions, "{document:?}");
        }
    }

    #[test]
    fn commands_are_allowed_by_the_documents_that_we_send_alone() {
        let documents = |document: Document| -> Vec<String> {
            let sends = allowed(document).into_iter().filter(|(action, _)| action == "ssm:SendCommand");
            sends.flat_map(|(_, on)| on).filter(|arn| arn.contains(":document/")).collect()
        };
        assert_eq!(documents(Document::Patch), ["arn:aws:ssm:*:*:document/AWS-RunPatchBaseline"]);
        let scripts = ["AWS-RunShellScript", "AWS-RunPowerShellScript"];
        assert_eq!(documents(Document::Reboot), scripts.map(|name| format!("arn:aws:ssm:*:*:document/{name}")));
        let anywhere = |document: &Document| {
            allowed(*document).iter().any(|(action, on)| action == "ssm:SendCommand" && on.contains(&"*".to_owned()))
        };
        assert!(!Document::ALL.iter().any(anywhere));
    }

    /// S: Service Authorization Reference: these know no resources, so that naming some would allow nothing.
    #[test]
    fn actions_that_know_no_resources_are_allowed_on_all() {
        for (document, action) in [
            (Document::Patch, "ssm:CancelCommand"),
            (Document::Baselines, "ssm:CreatePatchBaseline"),
            (Document::Schedules, "ssm:CreateMaintenanceWindow"),
        ] {
            assert!(allowed(document).contains(&(action.to_owned(), vec!["*".to_owned()])), "{action}");
        }
    }

    #[test]
    fn a_scope_narrows_commands_to_nodes_with_a_tag_and_arns_to_a_partition() {
        let scope = Scope {
            partition: "aws-cn".to_owned(),
            node_tag: Some(("team".to_owned(), "web".to_owned())),
            roles: vec!["arn:aws-cn:iam::111122223333:role/p".to_owned()],
        };
        let policy = policy(&Document::ALL, &scope);
        assert!(!policy.to_string().contains("arn:aws:"));
        let nodes = policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["Sid"].as_str().unwrap().ends_with("Nodes"));
        let tagged = nodes.filter(|one| one["Condition"]["StringEquals"]["aws:ResourceTag/team"] == "web");
        assert_eq!(tagged.count(), 2);
    }

    #[test]
    fn every_document_and_all_of_them_together_keep_within_iam_s_limit() {
        let length = |policy: &Value| policy.to_string().chars().filter(|c| !c.is_whitespace()).count();
        for document in Document::ALL {
            let length = length(&policy(&[document], &Scope::default()));
            assert!(length <= LARGEST_POLICY, "{}: {length}", document.name());
        }
        let all = length(&policy(&Document::ALL, &Scope::default()));
        assert!(all <= LARGEST_POLICY, "together: {all}");
        let mut sids = std::collections::BTreeSet::new();
        for statement in policy(&Document::ALL, &Scope::default())["Statement"].as_array().unwrap() {
            let sid = statement["Sid"].as_str().unwrap();
            assert!(sid.chars().all(|c| c.is_ascii_alphanumeric()) && sids.insert(sid.to_owned()), "{sid}");
        }
    }
}
