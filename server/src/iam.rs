//! The files of `docs/iam`: what an account must allow, as IAM and CloudFormation take it.

use patchplane_aws::iam::{Document, Scope, policy, trust_of_role, trust_of_service_account};
use serde_json::{Map, Value, json};

/// Stands for the reader's own.
const ACCOUNT: &str = "111122223333";
const EXTERNAL_ID: &str = "a-shared-secret";
const PROVIDER: &str = "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";

/// Each by its name, with its text.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    let mut files: Vec<(String, String)> = Document::ALL
        .iter()
        .map(|document| (format!("{}.json", document.name()), json_text(&policy(&[*document], &Scope::default()))))
        .collect();
    let pod = trust_of_service_account("aws", ACCOUNT, PROVIDER, "patchplane", "patchplane");
    files.push(("trust-service-account.json".to_owned(), json_text(&pod)));
    let role = trust_of_role(&format!("arn:aws:iam::{ACCOUNT}:role/patchplane"), EXTERNAL_ID);
    files.push(("trust-role.json".to_owned(), json_text(&role)));
    files.push(("patchplane-role.yaml".to_owned(), cloud_formation()?));
    Ok(files)
}

pub fn json_text(document: &Value) -> String {
    format!("{document:#}\n")
}

/// A stack of the role in an account, with a policy for each use that is wanted.
pub fn cloud_formation() -> Result<String, serde_saphyr::ser::Error> {
    let scope = Scope { partition: "${AWS::Partition}".to_owned(), ..Scope::default() };
    let wanted = |document: Document| format!("Allow{}", camel(document.name()));
    let optional =
        || Document::ALL.into_iter().filter(|document| !matches!(document, Document::ReadOnly | Document::AssumeRole));

    let mut parameters = Map::new();
    let mut parameter = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
    parameter("RoleName", json!({ "Type": "String", "Default": "patchplane" }));
    let principal = "Who may assume it: the ARN of the role that patchplane runs with";
    let arn = "arn:[a-z-]+:iam::[0-9]{12}:(role/.+|root)";
    parameter("Principal", json!({ "Type": "String", "Description": principal, "AllowedPattern": arn }));
    let external = "The same as external_id of the location, 2 to 1224 characters";
    let lengths =
        json!({ "Type": "String", "Description": external, "NoEcho": true, "MinLength": 2, "MaxLength": 1224 });
    parameter("ExternalId", lengths);
    let mut conditions = Map::new();
    let mut resources = Map::new();
    let trust = trust_of_role("Principal", "ExternalId");
    resources.insert(
        "Role".to_owned(),
        json!({
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": { "Ref": "RoleName" },
                "Description": "What patchplane works with in this account",
                "AssumeRolePolicyDocument": substituted(&trust, &["Principal", "ExternalId"]),
            },
        }),
    );
    let attached = |document: Document| {
        json!({
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": {
                "Roles": [{ "Ref": "Role" }],
                "PolicyDocument": substituted(&policy(&[document], &scope), &[]),
            },
        })
    };
    resources.insert(camel(Document::ReadOnly.name()), attached(Document::ReadOnly));
    for document in optional() {
        let about = format!("Whether to attach what {}.json allows", document.name());
        let default = if document == Document::Patch { "yes" } else { "no" };
        let choice =
            json!({ "Type": "String", "Description": about, "Default": default, "AllowedValues": ["yes", "no"] });
        parameters.insert(wanted(document), choice);
        conditions.insert(wanted(document), json!({ "Fn::Equals": [{ "Ref": wanted(document) }, "yes"] }));
        let mut resource = attached(document);
        resource["Condition"] = json!(wanted(document));
        resources.insert(camel(document.name()), resource);
    }
    let template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The role that patchplane works with in an account",
        "Parameters": parameters,
        "Conditions": conditions,
        "Resources": resources,
        "Outputs": { "RoleArn": { "Description": "For role_arn of the location", "Value": { "Fn::GetAtt": ["Role", "Arn"] } } },
    });
    let head = "# Made by `patchplane iam cloudformation`. Deploy it in each account:\n\
                #   aws cloudformation deploy --template-file patchplane-role.yaml --stack-name patchplane-role \\\n\
                #     --capabilities CAPABILITY_NAMED_IAM --parameter-overrides Principal=.. ExternalId=.. AllowSchedules=yes\n";
    Ok(format!("{head}{}\n", serde_saphyr::to_string(&template)?.trim_end()))
}

/// Where a text is the name of a parameter it becomes that, and where it names the partition it is filled in.
fn substituted(value: &Value, parameters: &[&str]) -> Value {
    match value {
        Value::String(text) if parameters.contains(&text.as_str()) => json!({ "Ref": text }),
        Value::String(text) if text.contains("${") => json!({ "Fn::Sub": text }),
        Value::Array(items) => items.iter().map(|item| substituted(item, parameters)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), substituted(member, parameters))).collect()
        }
        other => other.clone(),
    }
}

/// `patch-groups` as `PatchGroups`.
fn camel(name: &str) -> String {
    let word =
        |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    /// `IAM=write cargo nextest run --workspace docs_iam` writes them anew.
    #[test]
    fn docs_iam_holds_what_the_table_of_calls_needs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/iam");
        let files = files().unwrap();
        for (name, text) in &files {
            if std::env::var("IAM").is_ok_and(|wanted| wanted == "write") {
                fs::write(folder.join(name), text).unwrap();
            }
            let kept = fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(kept == *text, "docs/iam/{name} is not what the table of calls needs; IAM=write writes it anew");
        }
        let known: BTreeSet<String> = files.into_iter().map(|(name, _)| name).chain(["README.md".to_owned()]).collect();
        let there = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        assert_eq!(there.collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn the_stack_allows_just_what_the_documents_allow() {
        let template = cloud_formation().unwrap();
        let words = template.lines().filter_map(|line| line.trim().strip_prefix("- "));
        let stack: BTreeSet<&str> = words
            .map(|word| word.trim_matches('"'))
            .filter(|word| {
                word.split_once(':').is_some_and(|(service, _)| ["ssm", "ec2", "iam", "sts"].contains(&service))
            })
            .collect();
        let documents = Document::ALL.iter().filter(|document| **document != Document::AssumeRole);
        assert_eq!(stack, documents.flat_map(|document| document.actions()).collect());
    }
}
