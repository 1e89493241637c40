//! Maintenance windows with their targets, tasks and tags.

use crate::{
    Aws, ErrorKind, Page, PageOf, Result,
    calls::{
        CREATE_WINDOW, DELETE_WINDOW, DEREGISTER_WINDOW_TARGET, DESCRIBE_WINDOW_TARGETS, DESCRIBE_WINDOW_TASKS,
        DESCRIBE_WINDOWS, GET_WINDOW, GET_WINDOW_TASK, LIST_TAGS_FOR_RESOURCE, REGISTER_WINDOW_TARGET,
        REGISTER_WINDOW_TASK, REMOVE_TAGS_FROM_RESOURCE, UPDATE_WINDOW, UPDATE_WINDOW_TASK,
    },
    page,
    values::{self, count},
};
use aws_sdk_ssm::{
    operation::{get_maintenance_window::GetMaintenanceWindowOutput, get_maintenance_window_task as get_task},
    types,
};
use patchplane_rules::{
    RateLimit, TargetTerm, TaskCommand, TaskDraft, Window, WindowDraft, WindowId, WindowName, WindowSummary,
    WindowTarget, WindowTask, WindowTiming, window_time,
};
use std::collections::{BTreeMap, HashMap};

/// What to make of a RUN_COMMAND task. Whatever else the task has stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskChange {
    /// Targets of the window.
    pub target_ids: Vec<String>,
    pub parameters: BTreeMap<String, Vec<String>>,
    pub max_concurrency: RateLimit,
    pub max_errors: RateLimit,
}

/// A task's target that names targets of its window (S 9.4.1).
const WINDOW_TARGET_IDS: &str = "WindowTargetIds";

impl Aws {
    /// One page of the windows here; 10 to 100 rows.
    pub async fn windows_page(&self, page: Page) -> Result<PageOf<WindowSummary>> {
        let request = self.ssm().describe_maintenance_windows().max_results(page.size_within(10..=100));
        let answer = self.ask(&DESCRIBE_WINDOWS, request.set_next_token(page.token).send()).await?;
        Ok(PageOf::new(answer.window_identities().iter().filter_map(summary).collect(), answer.next_token))
    }

    pub async fn windows(&self) -> Result<Vec<WindowSummary>> {
        page::all(&DESCRIBE_WINDOWS, |page| self.windows_page(page)).await
    }

    /// `None`: there is none, or not yet (S 9.1.5).
    pub async fn window(&self, id: &WindowId) -> Result<Option<Window>> {
        let request = self.ssm().get_maintenance_window().window_id(id.as_str());
        match self.ask(&GET_WINDOW, request.send()).await {
            Ok(answer) => Ok(Some(window(id, &answer))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A new window is enabled (S 9.1.3). Under the same token AWS makes one window only (S 3.1.9).
    pub async fn create_window(&self, draft: &WindowDraft, tags: &[(&str, &str)], token: &str) -> Result<WindowId> {
        let WindowDraft { name, description, timing, duration_hours, cutoff_hours, allow_unassociated_targets } = draft;
        let WindowTiming { expression, time_zone, offset_days, start, end } = timing;
        let tag =
            |(key, value): &(&str, &str)| CREATE_WINDOW.built(types::Tag::builder().key(*key).value(*value).build());
        let request = self
            .ssm()
            .create_maintenance_window()
            .name(name)
            .set_description(Some(description.clone()).filter(|text| !text.is_empty()))
            .schedule(expression)
            .set_schedule_timezone(time_zone.clone())
            .set_schedule_offset(offset_days.map(i32::from))
            .set_start_date(start.clone())
            .set_end_date(end.clone())
            .duration(i32::from(*duration_hours))
            .cutoff(i32::from(*cutoff_hours))
            .allow_unassociated_targets(*allow_unassociated_targets)
            .client_token(token)
            .set_tags(Some(tags.iter().map(tag).collect::<Result<_>>()?));
        let answer = self.ask(&CREATE_WINDOW, request.send()).await?;
        values::key(answer.window_id()).ok_or_else(|| CREATE_WINDOW.refuse("AWS answered without a window's id"))
    }

    /// Makes the window exactly this: what the draft leaves out is taken away (S 9.1.3). Safe to repeat.
    pub async fn replace_window(&self, id: &WindowId, draft: &WindowDraft, enabled: bool) -> Result<()> {
        let WindowDraft { name, description, timing, duration_hours, cutoff_hours, allow_unassociated_targets } = draft;
        let WindowTiming { expression, time_zone, offset_days, start, end } = timing;
        let request = self
            .ssm()
            .update_maintenance_window()
            .window_id(id.as_str())
            .name(name)
            .set_description(Some(description.clone()).filter(|text| !text.is_empty()))
            .schedule(expression)
            .set_schedule_timezone(time_zone.clone())
            .set_schedule_offset(offset_days.map(i32::from))
            .set_start_date(start.clone())
            .set_end_date(end.clone())
            .duration(i32::from(*duration_hours))
            .cutoff(i32::from(*cutoff_hours))
            .allow_unassociated_targets(*allow_unassociated_targets)
            .enabled(enabled)
            .replace(true);
        self.ask(&UPDATE_WINDOW, request.send()).await?;
        Ok(())
    }

    /// With its targets and tasks; well also when there is none (S 9.1.4).
    pub async fn delete_window(&self, id: &WindowId) -> Result<()> {
        let request = self.ssm().delete_maintenance_window().window_id(id.as_str());
        gone_is_well(self.ask(&DELETE_WINDOW, request.send()).await.map(drop))
    }

    pub async fn window_tags(&self, id: &WindowId) -> Result<BTreeMap<String, String>> {
        let kind = types::ResourceTypeForTagging::MaintenanceWindow;
        let request = self.ssm().list_tags_for_resource().resource_type(kind).resource_id(id.as_str());
        let answer = self.ask(&LIST_TAGS_FOR_RESOURCE, request.send()).await?;
        Ok(answer.tag_list().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    /// Safe to repeat.
    pub async fn remove_window_tag(&self, id: &WindowId, key: &str) -> Result<()> {
        let kind = types::ResourceTypeForTagging::MaintenanceWindow;
        let request = self.ssm().remove_tags_from_resource().resource_type(kind).resource_id(id.as_str());
        self.ask(&REMOVE_TAGS_FROM_RESOURCE, request.tag_keys(key).send()).await?;
        Ok(())
    }

    // === Targets ===

    /// `NotFound`: no such window.
    pub async fn window_targets(&self, id: &WindowId) -> Result<Vec<WindowTarget>> {
        page::all(&DESCRIBE_WINDOW_TARGETS, async |page: Page| {
            let request = self.ssm().describe_maintenance_window_targets().window_id(id.as_str());
            let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_WINDOW_TARGETS, request.send()).await?;
            Ok(PageOf::new(answer.targets().iter().map(target).collect(), answer.next_token))
        })
        .await
    }

    /// Registers nodes and answers with the target's id. `NotFound`: no such window, or not yet (S 9.1.5).
    pub async fn register_window_target(
        &self,
        id: &WindowId,
        name: &WindowName,
        terms: &[TargetTerm],
        token: &str,
    ) -> Result<String> {
        let request = self
            .ssm()
            .register_target_with_maintenance_window()
            .window_id(id.as_str())
            .resource_type(types::MaintenanceWindowResourceType::Instance)
            .set_targets(Some(terms.iter().map(term).collect()))
            .name(name.as_str())
            .client_token(token);
        let answer = self.ask(&REGISTER_WINDOW_TARGET, request.send()).await?;
        Ok(values::text(answer.window_target_id()))
    }

    /// `InUse`: a task still names it. Well also when it is gone.
    pub async fn deregister_window_target(&self, id: &WindowId, target_id: &str) -> Result<()> {
        let request = self.ssm().deregister_target_from_maintenance_window().window_id(id.as_str()).safe(true);
        gone_is_well(self.ask(&DEREGISTER_WINDOW_TARGET, request.window_target_id(target_id).send()).await.map(drop))
    }

    // === Tasks ===

    /// Without what they run: that is read task by task. `NotFound`: no such window.
    pub async fn window_tasks(&self, id: &WindowId) -> Result<Vec<WindowTask>> {
        page::all(&DESCRIBE_WINDOW_TASKS, async |page: Page| {
            let request = self.ssm().describe_maintenance_window_tasks().window_id(id.as_str());
            let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_WINDOW_TASKS, request.send()).await?;
            Ok(PageOf::new(answer.tasks().iter().map(task_row).collect(), answer.next_token))
        })
        .await
    }

    /// `NotFound`: no such task, or no such window.
    pub async fn window_task(&self, id: &WindowId, task_id: &str) -> Result<WindowTask> {
        let request = self.ssm().get_maintenance_window_task().window_id(id.as_str()).window_task_id(task_id);
        Ok(task(&self.ask(&GET_WINDOW_TASK, request.send()).await?))
    }

    /// Registers a RUN_COMMAND task on targets of the window, and answers with its id. Without a service role, as Systems
    /// Manager's service-linked one (S 9.4.7). `NotFound`: no such window, or not yet.
    pub async fn register_window_task(
        &self,
        id: &WindowId,
        draft: &TaskDraft,
        target_ids: &[String],
        token: &str,
    ) -> Result<String> {
        let TaskDraft { name, document, command, max_concurrency, max_errors } = draft;
        let mut run = types::MaintenanceWindowRunCommandParameters::builder().build();
        run.parameters = Some(command.parameters.clone().into_iter().collect());
        run.timeout_seconds = command.timeout_s.and_then(|seconds| i32::try_from(seconds).ok());
        let request = self
            .ssm()
            .register_task_with_maintenance_window()
            .window_id(id.as_str())
            .task_type(types::MaintenanceWindowTaskType::RunCommand)
            .task_arn(document)
            .targets(window_targets(target_ids))
            .task_invocation_parameters(invocation_parameters(run))
            .priority(1)
            .max_concurrency(max_concurrency.to_string())
            .max_errors(max_errors.to_string())
            .name(name.as_str())
            .client_token(token);
        let answer = self.ask(&REGISTER_WINDOW_TASK, request.send()).await?;
        Ok(values::text(answer.window_task_id()))
    }

    /// Changes a RUN_COMMAND task. What it runs is replaced whole by AWS (S 9.4.8), so it is read first. Safe to repeat.
    pub async fn change_window_task(&self, id: &WindowId, task_id: &str, change: &TaskChange) -> Result<()> {
        let TaskChange { target_ids, parameters, max_concurrency, max_errors } = change;
        let request = self.ssm().get_maintenance_window_task().window_id(id.as_str()).window_task_id(task_id);
        let now = self.ask(&GET_WINDOW_TASK, request.send()).await?;
        let mut run = now
            .task_invocation_parameters
            .and_then(|found| found.run_command)
            .unwrap_or_else(|| types::MaintenanceWindowRunCommandParameters::builder().build());
        without_empty_texts(&mut run);
        run.parameters = Some(parameters.clone().into_iter().collect());
        let request = self
            .ssm()
            .update_maintenance_window_task()
            .window_id(id.as_str())
            .window_task_id(task_id)
            .targets(window_targets(target_ids))
            .task_invocation_parameters(invocation_parameters(run))
            .max_concurrency(max_concurrency.to_string())
            .max_errors(max_errors.to_string());
        self.ask(&UPDATE_WINDOW_TASK, request.send()).await?;
        Ok(())
    }
}

fn gone_is_well(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

// === to the SDK ===

fn term(term: &TargetTerm) -> types::Target {
    types::Target::builder().key(&term.key).set_values(Some(term.values.clone())).build()
}

fn window_targets(ids: &[String]) -> types::Target {
    types::Target::builder().key(WINDOW_TARGET_IDS).set_values(Some(ids.to_vec())).build()
}

fn invocation_parameters(
    run: types::MaintenanceWindowRunCommandParameters,
) -> types::MaintenanceWindowTaskInvocationParameters {
    types::MaintenanceWindowTaskInvocationParameters::builder().run_command(run).build()
}

/// AWS answers with empty texts where its model forbids them in requests (S 1.11).
fn without_empty_texts(run: &mut types::MaintenanceWindowRunCommandParameters) {
    let texts = [
        &mut run.document_hash,
        &mut run.document_version,
        &mut run.output_s3_bucket_name,
        &mut run.output_s3_key_prefix,
        &mut run.service_role_arn,
    ];
    for text in texts {
        text.take_if(|text| text.is_empty());
    }
    run.document_hash_type.take_if(|kind| kind.as_str().is_empty());
    if let Some(notification) = &mut run.notification_config {
        notification.notification_type.take_if(|kind| kind.as_str().is_empty());
        notification.notification_arn.take_if(|arn| arn.is_empty());
    }
}

// === from the SDK ===

fn timing(
    expression: Option<&str>,
    time_zone: Option<&str>,
    offset: Option<i32>,
    start: Option<&str>,
    end: Option<&str>,
) -> WindowTiming {
    let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    WindowTiming {
        expression: values::text(expression),
        time_zone: some(time_zone),
        offset_days: offset.and_then(|days| u8::try_from(days).ok()).filter(|days| *days > 0),
        start: some(start),
        end: some(end),
    }
}

fn hours(hours: impl Into<Option<i32>>) -> u8 {
    u8::try_from(count(hours)).unwrap_or(u8::MAX)
}

fn summary(row: &types::MaintenanceWindowIdentity) -> Option<WindowSummary> {
    Some(WindowSummary {
        id: values::key(row.window_id())?,
        name: values::text(row.name()),
        description: values::text(row.description()),
        enabled: row.enabled(),
        timing: timing(
            row.schedule(),
            row.schedule_timezone(),
            row.schedule_offset(),
            row.start_date(),
            row.end_date(),
        ),
        duration_hours: hours(row.duration()),
        cutoff_hours: hours(row.cutoff()),
        next_execution: row.next_execution_time().and_then(window_time),
    })
}

fn window(id: &WindowId, found: &GetMaintenanceWindowOutput) -> Window {
    Window {
        summary: WindowSummary {
            id: id.clone(),
            name: values::text(found.name()),
            description: values::text(found.description()),
            enabled: found.enabled(),
            timing: timing(
                found.schedule(),
                found.schedule_timezone(),
                found.schedule_offset(),
                found.start_date(),
                found.end_date(),
            ),
            duration_hours: hours(found.duration()),
            cutoff_hours: hours(found.cutoff()),
            next_execution: found.next_execution_time().and_then(window_time),
        },
        allow_unassociated_targets: found.allow_unassociated_targets(),
        created: values::timestamp(found.created_date()),
        modified: values::timestamp(found.modified_date()),
    }
}

pub(crate) fn terms(found: &[types::Target]) -> Vec<TargetTerm> {
    found.iter().map(|term| TargetTerm { key: values::text(term.key()), values: term.values().to_vec() }).collect()
}

fn target(row: &types::MaintenanceWindowTarget) -> WindowTarget {
    WindowTarget {
        id: values::text(row.window_target_id()),
        resource_type: values::text(row.resource_type().map(|kind| kind.as_str())),
        terms: terms(row.targets()),
        name: values::text(row.name()),
        description: values::text(row.description()),
        owner_information: values::text(row.owner_information()),
    }
}

fn task_row(row: &types::MaintenanceWindowTask) -> WindowTask {
    WindowTask {
        id: values::text(row.window_task_id()),
        task_type: values::text(row.r#type().map(|kind| kind.as_str())),
        task_arn: values::text(row.task_arn()),
        targets: terms(row.targets()),
        priority: count(row.priority()),
        max_concurrency: values::text(row.max_concurrency()),
        max_errors: values::text(row.max_errors()),
        service_role_arn: values::text(row.service_role_arn()),
        cutoff_behavior: values::text(row.cutoff_behavior().map(|behavior| behavior.as_str())),
        name: values::text(row.name()),
        description: values::text(row.description()),
        command: None,
    }
}

fn task(found: &get_task::GetMaintenanceWindowTaskOutput) -> WindowTask {
    let run = found.task_invocation_parameters().and_then(|parameters| parameters.run_command());
    let mut parameters: BTreeMap<String, Vec<String>> =
        run.and_then(|run| run.parameters()).cloned().unwrap_or_default().into_iter().collect();
    if parameters.is_empty() {
        // The older form, used where the newer one says nothing (S 9.4.8).
        let empty = HashMap::new();
        let older = found.task_parameters().unwrap_or(&empty).iter();
        parameters = older.map(|(key, value)| (key.clone(), value.values().to_vec())).collect();
    }
    let is_command = found.task_type() == Some(&types::MaintenanceWindowTaskType::RunCommand);
    WindowTask {
        id: values::text(found.window_task_id()),
        task_type: values::text(found.task_type().map(|kind| kind.as_str())),
        task_arn: values::text(found.task_arn()),
        targets: terms(found.targets()),
        priority: count(found.priority()),
        max_concurrency: values::text(found.max_concurrency()),
        max_errors: values::text(found.max_errors()),
        service_role_arn: values::text(found.service_role_arn()),
        cutoff_behavior: values::text(found.cutoff_behavior().map(|behavior| behavior.as_str())),
        name: values::text(found.name()),
        description: values::text(found.description()),
        command: is_command
            .then(|| TaskCommand { parameters, timeout_s: run.and_then(|run| run.timeout_seconds()).map(count) }),
    }
}
