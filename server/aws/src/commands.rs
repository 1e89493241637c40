//! Patch commands that were sent, and what became of them on each node.

use crate::{
    Aws, ErrorKind, Page, PageOf, Result,
    calls::{CANCEL_COMMAND, GET_COMMAND_INVOCATION, LIST_COMMAND_INVOCATIONS, LIST_COMMANDS},
    page, reboot, values, windows,
};
use aws_sdk_ssm::{operation::get_command_invocation::GetCommandInvocationOutput, types};
use jiff::Timestamp;
use patchplane_rules::{InstanceId, TargetTerm};

pub(crate) const DOCUMENT: &str = "AWS-RunPatchBaseline";
/// The documents that scan and patch (S 7.2.1, 7.3).
pub const PATCH_DOCUMENTS: [&str; 3] = [DOCUMENT, "AWS-RunPatchBaselineAssociation", "AWS-RunPatchBaselineWithHooks"];
/// How the agent begins the output of a step that is not for its platform (S 7.1.4).
const SKIPPED: &str = "Step execution skipped due to";
/// What stands at the end of output that was cut (S 6.3.3).
const TRUNCATED: &str = "--output truncated--";
/// The same in the list of invocations, and how many characters that shows (S 6.3.7).
const CUT: [&str; 2] = ["---Output truncated---", "---Error truncated----"];
const LISTED: usize = 2_500;

/// A patch command, ours or anybody's, as AWS lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    pub command_id: String,
    pub comment: String,
    pub document: String,
    /// `Scan` or `Install`; of scripts empty.
    pub operation: String,
    /// Empty when it was sent without.
    pub reboot_option: String,
    /// Empty when it was sent without. Of a reboot the mark that it carries.
    pub snapshot_id: String,
    /// The association that it is a run of; empty when there is none (S 7.2, AssociationId).
    pub association_id: String,
    /// Empty when it was sent to tags.
    pub instance_ids: Vec<InstanceId>,
    /// Whom it was sent to, where not to ids alone.
    pub targets: Vec<TargetTerm>,
    pub requested: Option<Timestamp>,
    pub expires_after: Option<Timestamp>,
    /// Whether AWS will send it to no further node, and has heard of all.
    pub ended: bool,
    pub status_details: String,
}

/// A command on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    pub instance_id: InstanceId,
    pub status: InvocationStatus,
    pub status_details: String,
    /// In the document's order; empty until the agent reports.
    pub steps: Vec<StepResult>,
}

/// S 6.2, the row of invocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvocationStatus {
    Pending,
    InProgress,
    Delayed,
    Success,
    Cancelled,
    TimedOut,
    Failed,
    Cancelling,
    Unknown(String),
}

/// One step of the document on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    pub name: String,
    pub status: String,
    pub status_details: String,
    /// -1: not started, or not received (S 6.3.5).
    pub response_code: i32,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// The first 2,500 characters: standard output, then standard error (S 6.3.7).
    pub output: String,
    /// The step is for other platforms; AWS calls that Success (S 7.1.4).
    pub skipped_by_platform: bool,
}

/// What a step printed, as far as AWS keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    pub status: String,
    pub status_details: String,
    pub response_code: i32,
    /// At most 24,000 characters (S 6.3.3).
    pub stdout: String,
    /// At most 8,000 characters.
    pub stderr: String,
    pub stdout_truncated: bool,
    pub stderr_truncated: bool,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub elapsed_s: Option<f64>,
    /// Where the whole of it lies in S3; empty when it was not asked for.
    pub stdout_url: String,
}

impl Aws {
    /// Every command of the document that we send since then, whoever sent it. An error means that the listing is not whole.
    pub async fn patch_commands_since(&self, since: Timestamp) -> Result<Vec<CommandRecord>> {
        self.commands_since(DOCUMENT, since).await
    }

    /// The same of the scripts that we send for reboots; most are others' and do something else.
    pub async fn reboot_commands_since(&self, since: Timestamp) -> Result<Vec<CommandRecord>> {
        let mut commands = Vec::new();
        for document in reboot::DOCUMENTS {
            commands.extend(self.commands_since(document, since).await?);
        }
        Ok(commands)
    }

    /// Every command since then that scans or patches, by whichever document.
    pub async fn all_patch_commands_since(&self, since: Timestamp) -> Result<Vec<CommandRecord>> {
        let mut commands = Vec::new();
        for document in PATCH_DOCUMENTS {
            commands.extend(self.commands_since(document, since).await?);
        }
        Ok(commands)
    }

    /// One command by its id; `None` where AWS does not show it, or no more.
    pub async fn command(&self, command_id: &str) -> Result<Option<CommandRecord>> {
        let request = self.ssm().list_commands().command_id(command_id);
        match self.ask(&LIST_COMMANDS, request.send()).await {
            Ok(answer) => Ok(answer.commands().first().map(record)),
            Err(error) if error.kind == ErrorKind::UnknownCommand => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn commands_since(&self, document: &str, since: Timestamp) -> Result<Vec<CommandRecord>> {
        let filter =
            |key, value: String| LIST_COMMANDS.built(types::CommandFilter::builder().key(key).value(value).build());
        let filters = vec![
            filter(types::CommandFilterKey::DocumentName, document.to_owned())?,
            filter(types::CommandFilterKey::InvokedAfter, invoked(since))?,
        ];
        page::all(&LIST_COMMANDS, async |page: Page| {
            let request = self.ssm().list_commands().set_filters(Some(filters.clone()));
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&LIST_COMMANDS, request.send()).await?;
            Ok(PageOf::new(answer.commands().iter().map(record).collect(), answer.next_token))
        })
        .await
    }

    /// The command on each node that AWS shows yet: right after a send there may be none (S 1.25).
    /// `UnknownCommand`: AWS does not know it, or no more.
    pub async fn invocations(&self, command_id: &str) -> Result<Vec<Invocation>> {
        page::all(&LIST_COMMAND_INVOCATIONS, async |page: Page| {
            let request = self.ssm().list_command_invocations().command_id(command_id).details(true);
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&LIST_COMMAND_INVOCATIONS, request.send()).await?;
            Ok(PageOf::new(answer.command_invocations().iter().filter_map(invocation).collect(), answer.next_token))
        })
        .await
    }

    /// The commands that reached this node since then, whatever their document: id and comment of each.
    pub async fn commands_on(&self, instance_id: &InstanceId, since: Timestamp) -> Result<Vec<(String, String)>> {
        let filter = types::CommandFilter::builder().key(types::CommandFilterKey::InvokedAfter);
        let filter = LIST_COMMAND_INVOCATIONS.built(filter.value(invoked(since)).build())?;
        page::all(&LIST_COMMAND_INVOCATIONS, async |page: Page| {
            let request = self.ssm().list_command_invocations().instance_id(instance_id.as_str());
            let request = request.filters(filter.clone());
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&LIST_COMMAND_INVOCATIONS, request.send()).await?;
            let rows = answer.command_invocations().iter();
            let rows = rows.map(|row| (values::text(row.command_id()), values::text(row.comment()))).collect();
            Ok(PageOf::new(rows, answer.next_token))
        })
        .await
    }

    /// Asks AWS to cancel a command on these nodes. Only an attempt: what runs may still end by itself (S 6.4); harmless to
    /// repeat.
    pub async fn cancel_command(&self, command_id: &str, instance_ids: &[InstanceId]) -> Result<()> {
        let ids = instance_ids.iter().map(|id| id.as_str().to_owned()).collect();
        let request = self.ssm().cancel_command().command_id(command_id).set_instance_ids(Some(ids));
        self.ask(&CANCEL_COMMAND, request.send()).await.map(|_| ())
    }

    /// `NotYet`: no such invocation, or not visible yet. `Invalid` (InvalidPluginName): no such step.
    pub async fn step_output(&self, command_id: &str, instance_id: &InstanceId, step: &str) -> Result<StepOutput> {
        let request = self.ssm().get_command_invocation().command_id(command_id).instance_id(instance_id.as_str());
        Ok(step_output(&self.ask(&GET_COMMAND_INVOCATION, request.plugin_name(step).send()).await?))
    }
}

// === impl StepResult ===

impl StepResult {
    /// Whether the step printed more than the list of invocations shows (S 6.3.7).
    pub fn output_is_cut(&self) -> bool {
        CUT.iter().any(|mark| self.output.contains(mark)) || self.output.chars().count() >= LISTED
    }
}

// === impl InvocationStatus ===

impl InvocationStatus {
    pub fn parse(text: &str) -> Self {
        match text {
            "Pending" => Self::Pending,
            "InProgress" => Self::InProgress,
            "Delayed" => Self::Delayed,
            "Success" => Self::Success,
            "Cancelled" => Self::Cancelled,
            "TimedOut" => Self::TimedOut,
            "Failed" => Self::Failed,
            "Cancelling" => Self::Cancelling,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Whether nothing more will happen on the node; a status that we do not know may change.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Success | Self::Cancelled | Self::TimedOut | Self::Failed)
    }
}

// === to the SDK ===

/// A time as the filters of commands take it (S 6.3.9).
fn invoked(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

// === from the SDK ===

fn record(row: &types::Command) -> CommandRecord {
    let values_of = |name: &str| row.parameters().and_then(|all| all.get(name)).map_or(&[][..], Vec::as_slice);
    let parameter = |name: &str| values_of(name).first().cloned().unwrap_or_default();
    let status = row.status().map_or("", |status| status.as_str());
    CommandRecord {
        command_id: values::text(row.command_id()),
        comment: values::text(row.comment()),
        document: values::text(row.document_name()),
        operation: parameter("Operation"),
        reboot_option: parameter("RebootOption"),
        snapshot_id: reboot::snapshot_id(values_of("commands")).map_or_else(|| parameter("SnapshotId"), str::to_owned),
        association_id: parameter("AssociationId"),
        instance_ids: row.instance_ids().iter().filter_map(|id| values::key(Some(id))).collect(),
        targets: windows::terms(row.targets()),
        requested: values::timestamp(row.requested_date_time()),
        expires_after: values::timestamp(row.expires_after()),
        ended: !matches!(status, "Pending" | "InProgress" | "Delayed" | "Cancelling"),
        status_details: values::text(row.status_details()),
    }
}

fn invocation(row: &types::CommandInvocation) -> Option<Invocation> {
    Some(Invocation {
        instance_id: values::key(row.instance_id())?,
        status: InvocationStatus::parse(row.status().map_or("", |status| status.as_str())),
        status_details: values::text(row.status_details()),
        steps: row.command_plugins().iter().map(step).collect(),
    })
}

fn step(row: &types::CommandPlugin) -> StepResult {
    let status = values::text(row.status().map(|status| status.as_str()));
    let output = values::text(row.output());
    StepResult {
        name: values::text(row.name()),
        skipped_by_platform: status == "Success" && row.response_code() == 0 && output.contains(SKIPPED),
        status,
        status_details: values::text(row.status_details()),
        response_code: row.response_code(),
        started: values::timestamp(row.response_start_date_time()),
        finished: values::timestamp(row.response_finish_date_time()),
        output,
    }
}

fn step_output(answer: &GetCommandInvocationOutput) -> StepOutput {
    let truncated = |text: Option<&str>| text.is_some_and(|text| text.trim_end().ends_with(TRUNCATED));
    StepOutput {
        status: values::text(answer.status().map(|status| status.as_str())),
        status_details: values::text(answer.status_details()),
        response_code: answer.response_code(),
        stdout: values::text(answer.standard_output_content()),
        stderr: values::text(answer.standard_error_content()),
        stdout_truncated: truncated(answer.standard_output_content()),
        stderr_truncated: truncated(answer.standard_error_content()),
        started: values::timestamp_of_text(answer.execution_start_date_time()),
        finished: values::timestamp_of_text(answer.execution_end_date_time()),
        elapsed_s: values::seconds_of_text(answer.execution_elapsed_time()),
        stdout_url: values::text(answer.standard_output_url()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(status: &str, code: i32, output: &str) -> types::CommandPlugin {
        types::CommandPlugin::builder()
            .name("PatchWindows")
            .status(status.into())
            .response_code(code)
            .output(output)
            .build()
    }

    #[test]
    fn steps_of_other_platforms_are_told_by_the_agents_words() {
        // Both texts: S 7.1.4.
        let precondition = "Step execution skipped due to unsatisfied preconditions: \
                            '\"StringEquals\": [platformType, Windows]'. Step name: PatchWindows";
        let plugin_text = "Step execution skipped due to unsupported plugin: aws:runShellScript. Step name: PatchLinux";
        assert!(step(&plugin("Success", 0, precondition)).skipped_by_platform);
        assert!(step(&plugin("Success", 0, plugin_text)).skipped_by_platform);
        assert!(!step(&plugin("Success", 0, "Patch Summary for web-1")).skipped_by_platform);
        assert!(!step(&plugin("Failed", 1, precondition)).skipped_by_platform);
    }

    #[test]
    fn output_of_a_step_that_has_not_started_is_empty_and_without_times() {
        // S 1.8: the three strings are empty, not absent; S 6.3.5: -1.
        let answer = GetCommandInvocationOutput::builder()
            .response_code(-1)
            .execution_start_date_time("")
            .execution_elapsed_time("")
            .execution_end_date_time("")
            .standard_output_content("")
            .build();
        let output = step_output(&answer);
        assert_eq!((output.started, output.finished, output.elapsed_s), (None, None, None));
        assert!(!output.stdout_truncated);
    }

    #[test]
    fn a_list_that_cut_output_is_known_by_its_marks_and_by_its_limit() {
        // S 6.3.7.
        let long = "x".repeat(2_500);
        for (output, cut) in [
            ("whole\n----------ERROR-------\nwhole", false),
            ("a\n---Output truncated---\n----------ERROR-------\nb", true),
            ("a\n----------ERROR-------\nb\n---Error truncated----", true),
            (&long, true),
            (&long[1..], false),
        ] {
            assert_eq!(step(&plugin("Failed", 1, output)).output_is_cut(), cut, "{output}");
        }
    }

    #[test]
    fn cut_output_is_known_by_its_mark() {
        let answer = GetCommandInvocationOutput::builder()
            .standard_output_content("… --output truncated--")
            .standard_error_content("whole")
            .build();
        let output = step_output(&answer);
        assert_eq!((output.stdout_truncated, output.stderr_truncated), (true, false));
    }
}
