//! AWS's own documents, as far as patching scripts meet them: parameters, steps, and what a step does on a node.
//!
//! Names and parameters are those of the user guide's reference of documents; contents are outlines, for the real ones are AWS's.

use crate::output;
use serde_json::{Map, Value, json};

pub(crate) struct Document {
    pub(crate) name: &'static str,
    /// `Command` or `Automation`.
    pub(crate) kind: &'static str,
    pub(crate) schema: &'static str,
    pub(crate) platforms: &'static [&'static str],
    pub(crate) description: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// Of a command document its steps, of an automation name and action of each.
    pub(crate) steps: &'static [(&'static str, &'static str)],
}

pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// `String` or `StringList`.
    pub(crate) kind: &'static str,
    /// Unset: the parameter is required.
    pub(crate) default: Option<&'static str>,
}

const fn needed(name: &'static str) -> Parameter {
    Parameter { name, kind: "String", default: None }
}

const fn listed(name: &'static str) -> Parameter {
    Parameter { name, kind: "StringList", default: None }
}

const fn free(name: &'static str, default: &'static str) -> Parameter {
    Parameter { name, kind: "String", default: Some(default) }
}

pub(crate) const RUN_PATCH_BASELINE: &str = "AWS-RunPatchBaseline";
pub(crate) const WITH_HOOKS: &str = "AWS-RunPatchBaselineWithHooks";
pub(crate) const FOR_ASSOCIATIONS: &str = "AWS-RunPatchBaselineAssociation";

const ALL: &[&str] = &["Windows", "Linux", "MacOS"];
const UNIX: &[&str] = &["Linux", "MacOS"];
const PATCH_STEPS: &[(&str, &str)] = &[
    ("PatchWindows", "aws:runPowerShellScript"),
    ("PatchLinux", "aws:runShellScript"),
    ("PatchMacOS", "aws:runShellScript"),
];
const CHANGE: &str = "aws:changeInstanceState";

const fn command(
    name: &'static str,
    schema: &'static str,
    platforms: &'static [&'static str],
    parameters: &'static [Parameter],
    steps: &'static [(&'static str, &'static str)],
) -> Document {
    Document { name, kind: "Command", schema, platforms, description: "", parameters, steps }
}

const fn automation(
    name: &'static str,
    parameters: &'static [Parameter],
    steps: &'static [(&'static str, &'static str)],
) -> Document {
    Document { name, kind: "Automation", schema: "0.3", platforms: ALL, description: "", parameters, steps }
}

const INSTANCE: &[Parameter] = &[listed("InstanceId"), free("AutomationAssumeRole", "")];

pub(crate) const DOCUMENTS: &[Document] = &[
    Document {
        description: "Scans for or installs patches from a patch baseline to a Linux or Windows operating system.",
        ..command(
            RUN_PATCH_BASELINE,
            "2.2",
            ALL,
            &[
                needed("Operation"),
                free("AssociationId", ""),
                free("SnapshotId", ""),
                free("InstallOverrideList", ""),
                free("BaselineOverride", ""),
                free("RebootOption", "RebootIfNeeded"),
            ],
            PATCH_STEPS,
        )
    },
    Document {
        description: "Scans for or installs patches, and runs documents before and after.",
        ..command(
            WITH_HOOKS,
            "2.2",
            ALL,
            &[
                needed("Operation"),
                free("SnapshotId", ""),
                free("RebootOption", "RebootIfNeeded"),
                free("PreInstallHookDocName", "AWS-Noop"),
                free("PostInstallHookDocName", "AWS-Noop"),
                free("OnExitHookDocName", "AWS-Noop"),
            ],
            PATCH_STEPS,
        )
    },
    Document {
        description: "Scans for or installs patches for an association, by baselines with certain tags.",
        ..command(
            FOR_ASSOCIATIONS,
            "2.2",
            ALL,
            &[
                needed("Operation"),
                needed("AssociationId"),
                free("BaselineTags", ""),
                free("InstallOverrideList", ""),
                free("RebootOption", "RebootIfNeeded"),
            ],
            PATCH_STEPS,
        )
    },
    Document {
        description: "Run a shell script or specify the commands to run.",
        ..command(
            "AWS-RunShellScript",
            "1.2",
            UNIX,
            &[listed("commands"), free("workingDirectory", ""), free("executionTimeout", "3600")],
            &[("aws:runShellScript", "aws:runShellScript")],
        )
    },
    Document {
        description: "Run a PowerShell script or specify the paths to scripts to run.",
        ..command(
            "AWS-RunPowerShellScript",
            "1.2",
            ALL,
            &[listed("commands"), free("workingDirectory", ""), free("executionTimeout", "3600")],
            &[("aws:runPowerShellScript", "aws:runPowerShellScript")],
        )
    },
    command("AWS-Noop", "2.2", ALL, &[], &[("noop", "aws:runDocument")]),
    command(
        "AWS-ConfigureAWSPackage",
        "2.2",
        ALL,
        &[
            needed("action"),
            needed("name"),
            free("installationType", "Uninstall and reinstall"),
            free("version", ""),
            free("additionalArguments", "{}"),
        ],
        &[("configurePackage", "aws:configurePackage")],
    ),
    command(
        "AWS-UpdateSSMAgent",
        "1.2",
        ALL,
        &[free("version", ""), free("allowDowngrade", "false")],
        &[("aws:updateSsmAgent", "aws:updateSsmAgent")],
    ),
    command(
        "AWS-GatherSoftwareInventory",
        "2.0",
        ALL,
        &[
            free("applications", "Enabled"),
            free("awsComponents", "Enabled"),
            free("billingInfo", "Enabled"),
            free("customInventory", "Enabled"),
            free("files", ""),
            free("instanceDetailedInformation", "Enabled"),
            free("networkConfig", "Enabled"),
            free("services", "Enabled"),
            free("windowsRegistry", ""),
            free("windowsRoles", "Enabled"),
            free("windowsUpdates", "Enabled"),
        ],
        &[("collectSoftwareInventoryItems", "aws:softwareInventory")],
    ),
    command(
        "AWS-RunRemoteScript",
        "2.2",
        ALL,
        &[
            needed("sourceType"),
            free("sourceInfo", "{}"),
            free("commandLine", ""),
            free("workingDirectory", ""),
            free("executionTimeout", "3600"),
        ],
        &[("downloadContent", "aws:downloadContent"), ("runShellScript", "aws:runShellScript")],
    ),
    command(
        "AWS-ConfigureKernelLivePatching",
        "2.2",
        &["Linux"],
        &[needed("EnableOrDisable")],
        &[("ConfigureKernelLivePatching", "aws:runShellScript")],
    ),
    automation("AWS-StartEC2Instance", INSTANCE, &[("startInstances", CHANGE)]),
    automation("AWS-StopEC2Instance", INSTANCE, &[("stopInstances", CHANGE)]),
    automation("AWS-RestartEC2Instance", INSTANCE, &[("stopInstances", CHANGE), ("startInstances", CHANGE)]),
    automation(
        "AWS-StartEC2InstanceWithApproval",
        &[listed("InstanceId"), listed("Approvers"), free("SNSTopicArn", ""), free("AutomationAssumeRole", "")],
        &[("approve", "aws:approve"), ("startInstances", CHANGE)],
    ),
    automation(
        "AWS-CreateImage",
        &[needed("InstanceId"), free("NoReboot", "false"), free("AutomationAssumeRole", "")],
        &[("createImage", "aws:createImage")],
    ),
    automation(
        "AWS-DeleteSnapshot",
        &[needed("VolumeId"), free("RetentionDays", "0"), free("AutomationAssumeRole", "")],
        &[("deleteSnapshot", "aws:executeAwsApi")],
    ),
    automation(
        "AWS-UpdateLinuxAmi",
        &[
            needed("SourceAmiId"),
            free("IamInstanceProfileName", "ManagedInstanceProfile"),
            free("InstanceType", "t2.micro"),
            free("AutomationAssumeRole", ""),
        ],
        &[
            ("launchInstance", "aws:runInstances"),
            ("updateOSSoftware", "aws:runCommand"),
            ("createImage", "aws:createImage"),
        ],
    ),
];

/// By name or ARN.
pub(crate) fn find(name: &str) -> Option<&'static Document> {
    let bare = match name.split_once(":document/") {
        Some((arn, bare)) if arn.starts_with("arn:") => bare,
        _ => name,
    };
    DOCUMENTS.iter().find(|document| document.name == bare)
}

impl Document {
    /// Patches, so that its nodes scan and install.
    pub(crate) fn patches(&self) -> bool {
        [RUN_PATCH_BASELINE, WITH_HOOKS, FOR_ASSOCIATIONS].contains(&self.name)
    }

    pub(crate) fn has_version(version: &str) -> bool {
        matches!(version, "" | "1" | "$DEFAULT" | "$LATEST")
    }

    /// The names of given parameters that it does not have, and of needed ones that were not given.
    pub(crate) fn odd_parameters<'a>(&'static self, given: &'a Map<String, Value>) -> Vec<&'a str> {
        let known = |name: &str| self.parameters.iter().any(|parameter| parameter.name == name);
        let mut odd: Vec<&'a str> = given.keys().map(String::as_str).filter(|name| !known(name)).collect();
        odd.extend(
            self.parameters.iter().filter(|p| p.default.is_none() && !given.contains_key(p.name)).map(|p| p.name),
        );
        odd
    }

    /// An outline of it.
    pub(crate) fn content(&self) -> Value {
        let parameter = |parameter: &Parameter| {
            let mut json = json!({ "type": parameter.kind });
            if let Some(default) = parameter.default {
                json["default"] = default.into();
            }
            (parameter.name.to_owned(), json)
        };
        let parameters: Map<_, _> = self.parameters.iter().map(parameter).collect();
        let steps: Vec<_> = self.steps.iter().map(|(name, action)| json!({ "name": name, "action": action })).collect();
        json!({
            "schemaVersion": self.schema,
            "description": self.description,
            "parameters": parameters,
            "mainSteps": steps,
        })
    }
}

/// How a run with hooks ends whose first hook fails: nothing is installed (S 7.3.1; the words are unverified).
pub(crate) fn failed_hook(name: &str) -> output::StepEnd {
    let name = if name.is_empty() { "AWS-Noop" } else { name };
    let stderr = format!("The hook {name} failed.\nfailed to run commands: exit status 1");
    output::StepEnd { code: 1, stdout: String::new(), stderr }
}

/// What a script prints on a node, and its exit code: `echo` and `exit` are understood, all else does nothing.
pub(crate) fn run_script(parameters: &Value) -> output::StepEnd {
    let (mut code, mut stdout) = (0, String::new());
    let lines = parameters["commands"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for line in lines.flat_map(str::lines) {
        if let Some(words) = line.trim().strip_prefix("echo ") {
            stdout.push_str(words.trim_matches(['"', '\'']));
            stdout.push('\n');
        }
        if let Some(exit) = line.trim().strip_prefix("exit ").and_then(|exit| exit.parse().ok()) {
            code = exit;
            break;
        }
    }
    let stderr = if code == 0 { String::new() } else { format!("failed to run commands: exit status {code}") };
    output::StepEnd { code, stdout, stderr }
}
