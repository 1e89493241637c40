//! Maintenance windows as AWS answers in its documentation's recordings, and what AWS is asked to make of them.

use crate::scripted::{Answer, Script};
use jiff::Timestamp;
use patchplane_aws::{ErrorKind, TaskChange};
use patchplane_rules::{
    RateLimit, TargetTerm, TaskCommand, TaskDraft, WindowDraft, WindowId, WindowStatus, WindowTiming,
};
use std::collections::BTreeMap;

const WINDOW: &str = "mw-0c50858d01aaaaaaa";

fn window() -> WindowId {
    WINDOW.parse().unwrap()
}

fn time(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

/// What was asked for, as JSON of each request.
fn bodies(script: &Script, operation: &str) -> Vec<String> {
    script.seen().into_iter().filter(|seen| seen.operation == operation).map(|seen| seen.body).collect()
}

#[tokio::test(start_paused = true)]
async fn windows_are_listed_with_aws_s_odd_times() {
    // CLI example describe-maintenance-windows, with whole ids; the third with the texts of S 9.2.13.
    let script = Script::new(|_| {
        Answer::ok(
            r#"{"WindowIdentities":[
                {"WindowId":"mw-0ecb1226ddaaaaaaa","Name":"MyMaintenanceWindow-1","Enabled":true,"Duration":2,"Cutoff":1,
                 "Schedule":"rate(180 minutes)","NextExecutionTime":"2020-02-12T23:19:20.596Z"},
                {"WindowId":"mw-0ecb1226ddEXAMPLE","Name":"no such id"},
                {"WindowId":"mw-03eb9db428aaaaaaa","Name":"tokyo","Description":"","Enabled":false,"Duration":4,"Cutoff":0,
                 "Schedule":"cron(0 2 ? * THU#3 *)","ScheduleTimezone":"America/Los_Angeles","ScheduleOffset":2,
                 "StartDate":"2021-01-01T00:00:00-08:00","EndDate":"","NextExecutionTime":"2019-02-03T02:00-08:00"}
            ],"NextToken":""}"#,
        )
    });
    let found = script.aws().await.windows().await.unwrap();
    let [first, second] = &found[..] else { unreachable!("one bad row never fails a page: {found:?}") };
    assert_eq!((first.duration_hours, first.cutoff_hours, first.enabled), (2, 1, true));
    assert_eq!(first.next_execution, time("2020-02-12T23:19:20.596Z"));
    assert_eq!(first.timing.time_zone, None);
    assert_eq!(second.next_execution, time("2019-02-03T10:00:00Z"));
    assert_eq!(second.timing.start_time(), time("2021-01-01T08:00:00Z"));
    assert_eq!((second.timing.end_time(), second.timing.offset_days), (None, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_window_is_made_once_for_its_token_and_replaced_whole() {
    let script = Script::new(|seen| match seen.operation.as_str() {
        "CreateMaintenanceWindow" => Answer::ok(&format!(r#"{{"WindowId":"{WINDOW}"}}"#)),
        _ => Answer::ok("{}"),
    });
    let aws = script.aws().await;
    let draft = WindowDraft {
        name: "web-nightly".to_owned(),
        description: String::new(),
        timing: WindowTiming {
            expression: "cron(0 3 ? * * *)".to_owned(),
            time_zone: Some("Asia/Tokyo".to_owned()),
            offset_days: None,
            start: None,
            end: Some("2027-01-01T00:00:00+09:00".to_owned()),
        },
        duration_hours: 4,
        cutoff_hours: 1,
        allow_unassociated_targets: false,
    };
    assert_eq!(aws.create_window(&draft, &[("a:b", "c")], "token").await.unwrap(), window());
    let seen = &bodies(&script, "CreateMaintenanceWindow")[0];
    for part in [
        r#""Name":"web-nightly""#,
        r#""Schedule":"cron(0 3 ? * * *)""#,
        r#""ScheduleTimezone":"Asia/Tokyo""#,
        r#""EndDate":"2027-01-01T00:00:00+09:00""#,
        r#""Duration":4"#,
        r#""Cutoff":1"#,
        r#""AllowUnassociatedTargets":false"#,
        r#""ClientToken":"token""#,
        r#""Tags":[{"Key":"a:b","Value":"c"}]"#,
    ] {
        assert!(seen.contains(part), "{part} is not in {seen}");
    }
    for absent in ["Description", "StartDate", "ScheduleOffset"] {
        assert!(!seen.contains(absent), "{absent} is in {seen}");
    }
    aws.replace_window(&window(), &draft, false).await.unwrap();
    let seen = &bodies(&script, "UpdateMaintenanceWindow")[0];
    assert!(seen.contains(r#""Replace":true"#) && seen.contains(r#""Enabled":false"#), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_need_not_be_taken_away() {
    let script = Script::new(|_| Answer::error(400, "DoesNotExistException"));
    let aws = script.aws().await;
    assert_eq!(aws.window(&window()).await.unwrap(), None);
    aws.delete_window(&window()).await.unwrap();
    aws.deregister_window_target(&window(), "e32eecb2-646c-4f4b-8ed1-205fbaaaaaaa").await.unwrap();
    // S 9.1.5: right after CreateMaintenanceWindow this may pass.
    let terms = [TargetTerm { key: "tag:Patch Group".to_owned(), values: vec!["web".to_owned()] }];
    let refused = aws.register_window_target(&window(), &"web".parse().unwrap(), &terms, "t").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotFound);
    let full = Script::new(|_| Answer::error(400, "ResourceLimitExceededException"));
    let refused = full.aws().await.register_window_target(&window(), &"web".parse().unwrap(), &terms, "t").await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Quota, "S 9.3.4");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_registered_with_its_thresholds_and_changed_without_losing_the_rest() {
    const TASK: &str = "4f7ca192-7e9a-40fe-9192-5cb15aaaaaaa";
    // CLI example get-maintenance-window-task, and the empty texts of S 1.11.
    let script = Script::new(|seen| match seen.operation.as_str() {
        "RegisterTaskWithMaintenanceWindow" => Answer::ok(&format!(r#"{{"WindowTaskId":"{TASK}"}}"#)),
        "GetMaintenanceWindowTask" => Answer::ok(
            r#"{"WindowTaskId":"4f7ca192-7e9a-40fe-9192-5cb15aaaaaaa","TaskArn":"AWS-RunPatchBaseline",
                "TaskType":"RUN_COMMAND","TaskParameters":{},"Priority":1,"MaxConcurrency":"1","MaxErrors":"1",
                "Targets":[{"Key":"WindowTargetIds","Values":["e32eecb2-646c-4f4b-8ed1-205fbaaaaaaa"]}],
                "TaskInvocationParameters":{"RunCommand":{"Comment":"","TimeoutSeconds":600,"DocumentVersion":"",
                    "OutputS3BucketName":"logs","OutputS3KeyPrefix":"",
                    "NotificationConfig":{"NotificationArn":"","NotificationEvents":[],"NotificationType":""},
                    "Parameters":{"Operation":["Scan"]}}}}"#,
        ),
        _ => Answer::ok("{}"),
    });
    let aws = script.aws().await;
    let command = TaskCommand {
        parameters: BTreeMap::from([("Operation".to_owned(), vec!["Install".to_owned()])]),
        timeout_s: Some(600),
    };
    let draft = TaskDraft {
        name: "patch".parse().unwrap(),
        document: "AWS-RunPatchBaseline".to_owned(),
        command: command.clone(),
        max_concurrency: RateLimit::Percent(10),
        max_errors: RateLimit::Percent(5),
    };
    let targets = ["e32eecb2-646c-4f4b-8ed1-205fbaaaaaaa".to_owned()];
    assert_eq!(aws.register_window_task(&window(), &draft, &targets, "t").await.unwrap(), TASK);
    let seen = &bodies(&script, "RegisterTaskWithMaintenanceWindow")[0];
    for part in [
        r#""Targets":[{"Key":"WindowTargetIds","Values":["e32eecb2-646c-4f4b-8ed1-205fbaaaaaaa"]}]"#,
        r#""TaskArn":"AWS-RunPatchBaseline""#,
        r#""TaskType":"RUN_COMMAND""#,
        r#""MaxConcurrency":"10%""#,
        r#""MaxErrors":"5%""#,
        r#""Operation":["Install"]"#,
        r#""TimeoutSeconds":600"#,
        r#""ClientToken":"t""#,
    ] {
        assert!(seen.contains(part), "{part} is not in {seen}");
    }
    assert!(!seen.contains("ServiceRoleArn"), "S 9.4.7: the service-linked role");

    let task = aws.window_task(&window(), TASK).await.unwrap();
    assert_eq!(task.command.unwrap().parameters["Operation"], ["Scan"]);
    let change = TaskChange {
        target_ids: targets.to_vec(),
        parameters: command.parameters,
        max_concurrency: RateLimit::Count(5),
        max_errors: RateLimit::Count(1),
    };
    aws.change_window_task(&window(), TASK, &change).await.unwrap();
    let seen = &bodies(&script, "UpdateMaintenanceWindowTask")[0];
    for part in [
        r#""OutputS3BucketName":"logs""#,
        r#""TimeoutSeconds":600"#,
        r#""Operation":["Install"]"#,
        r#""MaxErrors":"1""#,
    ] {
        assert!(seen.contains(part), "{part} is not in {seen}");
    }
    for absent in [r#""DocumentVersion""#, r#""OutputS3KeyPrefix""#, r#""NotificationType""#, r#""Replace""#] {
        assert!(!seen.contains(absent), "{absent} is in {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_read_as_a_tree_down_to_its_commands() {
    // CLI examples describe-maintenance-window-executions, get-maintenance-window-execution and the user guide's
    // mw-cli-tutorial-task-info, with whole ids.
    let script = Script::new(|seen| {
        Answer::ok(match seen.operation.as_str() {
            "DescribeMaintenanceWindowExecutions" => {
                r#"{"WindowExecutions":[
                    {"WindowId":"mw-0c50858d01aaaaaaa","WindowExecutionId":"6027b513-64fe-4cf0-be7d-1191aaaaaaaa",
                     "Status":"IN_PROGRESS","StartTime":1628100000},
                    {"WindowId":"mw-0c50858d01aaaaaaa","WindowExecutionId":"9fac7dd9-ff21-42a5-96ad-bbc4baaaaaaa",
                     "Status":"FAILED","StatusDetails":"One or more tasks in the orchestration failed.",
                     "StartTime":1627927200,"EndTime":1627928556.19}]}"#
            }
            "GetMaintenanceWindowExecution" => {
                r#"{"Status":"SUCCESS","TaskIds":["c9b05aba-197f-4d8d-be34-e73fbaaaaaaa"],"StartTime":1557593493.096,
                    "EndTime":1557593498.611,"WindowExecutionId":"14bea65d-5ccc-462d-a2f3-e99c8aaaaaaa"}"#
            }
            "DescribeMaintenanceWindowExecutionTasks" => {
                r#"{"WindowExecutionTaskIdentities":[{"Status":"SUCCESS","TaskArn":"AWS-RunShellScript",
                    "StartTime":1557593493.162,"EndTime":1557593498.57,"TaskType":"RUN_COMMAND",
                    "TaskExecutionId":"c9b05aba-197f-4d8d-be34-e73fbaaaaaaa",
                    "WindowExecutionId":"14bea65d-5ccc-462d-a2f3-e99c8aaaaaaa"}]}"#
            }
            _ => {
                r#"{"WindowExecutionTaskInvocationIdentities":[{
                    "WindowExecutionId":"14bea65d-5ccc-462d-a2f3-e99c8aaaaaaa",
                    "TaskExecutionId":"c9b05aba-197f-4d8d-be34-e73fbaaaaaaa",
                    "InvocationId":"c336d2ab-09de-44ba-8f6a-6136caaaaaaa",
                    "ExecutionId":"76a5a04f-caf6-490c-b448-92c02aaaaaaa","TaskType":"RUN_COMMAND",
                    "Parameters":"{\"documentName\":\"AWS-RunShellScript\"}","Status":"SUCCESS",
                    "StatusDetails":"Success","StartTime":1557593493.222,"EndTime":1557593498.466}]}"#
            }
        })
    });
    let aws = script.aws().await;
    let runs = aws.window_executions(&window(), time("2021-08-02T00:00:00Z"), None).await.unwrap();
    assert_eq!(runs[0].progress.status, WindowStatus::InProgress);
    assert_eq!(runs[0].progress.ended, None);
    assert_eq!(runs[1].progress.details, "One or more tasks in the orchestration failed.");
    let seen = &bodies(&script, "DescribeMaintenanceWindowExecutions")[0];
    assert!(seen.contains(r#""Filters":[{"Key":"ExecutedAfter","Values":["2021-08-02T00:00:00Z"]}]"#), "{seen}");

    let id = "14bea65d-5ccc-462d-a2f3-e99c8aaaaaaa".parse().unwrap();
    let run = aws.window_execution(&id).await.unwrap().unwrap();
    assert_eq!(run.progress.started.unwrap().as_second(), 1_557_593_493);
    let tasks = aws.execution_tasks(&id).await.unwrap();
    assert_eq!((tasks.len(), tasks[0].invocations.len()), (1, 1));
    assert_eq!(tasks[0].invocations[0].execution_id, "76a5a04f-caf6-490c-b448-92c02aaaaaaa", "the command (S 9.5.3)");
}

#[tokio::test(start_paused = true)]
async fn foreseen_runs_are_read_to_the_number_asked_for() {
    // CLI example describe-maintenance-window-schedule.
    let script = Script::new(|seen| {
        let next = if seen.body.contains("NextToken") { "" } else { r#","NextToken":"1""# };
        Answer::ok(&format!(
            r#"{{"ScheduledWindowExecutions":[
                {{"WindowId":"{WINDOW}","Name":"My-First-Maintenance-Window","ExecutionTime":"2020-02-19T16:00Z"}},
                {{"WindowId":"{WINDOW}","Name":"My-First-Maintenance-Window","ExecutionTime":"2020-02-26T16:00Z"}}]{next}}}"#
        ))
    });
    let aws = script.aws().await;
    let runs = aws.foreseen_runs(Some(&window()), 3).await.unwrap();
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[1].time, time("2020-02-26T16:00:00Z"));
    assert_eq!(aws.foreseen_runs(None, 10).await.unwrap().len(), 4);
}
