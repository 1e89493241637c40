//! Every field of every request: what it refuses, by one table. A method or a field of the protos that the table does not
//! have fails here: give the method a right request in `requests`, and the field its row in `rule`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

mod right;

use patchplane_tests::{
    raw::{call, descriptors, methods},
    refusal,
};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use right::{furnished, requests};
use std::collections::BTreeSet;
use tonic::Code;

// === The table ===

/// What a field does with what is put into it.
enum Rule {
    /// Refuses these values, naming itself, or with lists what is added.
    Refuses(Vec<Value>, &'static str),
    /// Refuses these values, naming what is so many steps above it.
    RefusesAbove(Vec<Value>, usize),
    /// Refuses these in another way than as a wrong argument.
    Answers(&'static str, Code, &'static str, &'static [&'static str]),
    /// Its absence is refused; what is in it has rows of its own.
    Required,
    /// Nothing to refuse in it by itself; what is in it has rows of its own.
    Holds,
    /// Takes everything, or is not looked at in requests; what is in it has no rows.
    Free,
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(values: &[&str]) -> Rule {
    Rule::Refuses(values.iter().map(|value| text(value)).collect(), "")
}

/// Lists of one bad text.
fn entries(values: &[&str]) -> Rule {
    let one = |value: &&str| Value::List(vec![text(value)]);
    Rule::Refuses(values.iter().map(one).collect(), "[0]")
}

fn numbers(values: &[i32]) -> Rule {
    Rule::Refuses(values.iter().map(|&number| Value::I32(number)).collect(), "")
}

fn choices(values: &[i32]) -> Rule {
    Rule::Refuses(values.iter().map(|&number| Value::EnumNumber(number)).collect(), "")
}

/// A message of protobuf's own with this many seconds.
fn seconds(message: &str, seconds: &[i64]) -> Rule {
    let of = |&seconds: &i64| {
        let mut message = DynamicMessage::new(descriptors().get_message_by_name(message).unwrap());
        message.set_field_by_name("seconds", Value::I64(seconds));
        Value::Message(message)
    };
    Rule::Refuses(seconds.iter().map(of).collect(), "")
}

fn mask(path: &str, suffix: &'static str) -> Rule {
    let mut mask = DynamicMessage::new(descriptors().get_message_by_name("google.protobuf.FieldMask").unwrap());
    mask.set_field_by_name("paths", Value::List(vec![Value::String(path.to_owned())]));
    Rule::Refuses(vec![Value::Message(mask)], suffix)
}

/// What a field refuses: `message` is its own, `method` the one that is called.
fn rule(method: &str, message: &str, field: &str) -> Option<Rule> {
    const NO_NAMES: &[&str] =
        &["x", "accounts/1111/regions/us-east-1", "accounts/111122223333/regions/us-east-1/others/1"];
    let long: &str = &"x".repeat(5000);
    let request = message.ends_with("Request");
    Some(match (message, field) {
        // What requests have in common.
        (_, "validate_only" | "replace" | "allow_move" | "allow_diverged" | "differences_only") => Rule::Free,
        (_, "renew_snapshot" | "include_unknown" | "override_freeze") => Rule::Free,
        (_, "page_size" | "max_patches") => numbers(&[-1, i32::MIN]),
        (_, "page_token") => {
            Rule::Answers("AAAAAAAAAAAA", Code::InvalidArgument, "PAGE_TOKEN_INVALID", &["page_token"])
        }
        (_, "resume_token") => Rule::Answers("AAAAAAAAAAAA", Code::OutOfRange, "RESUME_TOKEN_EXPIRED", &[]),
        (_, "expected_plan") => Rule::Answers("x", Code::Aborted, "PLAN_CHANGED", &[]),
        (_, "etag") if request => Rule::Answers("x", Code::Aborted, "ETAG_MISMATCH", &[]),
        (_, "request_id") => texts(&["x", "00000000-0000-0000-0000-000000000000"]),
        (_, "parent" | "name" | "baseline" | "clone_from" | "compare_to")
            if request
                && (message, field) != ("UpdateBaselineRequest", "baseline")
                && (message, field) != ("CreateBaselineRequest", "baseline") =>
        {
            texts(NO_NAMES)
        }
        (_, "patch_group") => texts(&["a,b", "\n"]),
        (_, "patch_groups" | "instance_ids" | "excluded_instance_ids") if message != "Baseline" => {
            entries(&["", "i-1,"])
        }
        (_, "stale_after_days") => numbers(&[-1, 366]),
        // Without a clone there is nothing to mask.
        ("CreateBaselineRequest", "update_mask") => mask("nothing", ""),
        (_, "update_mask") => mask("nothing", ".paths[0]"),
        (_, "operating_system") if request => texts(&["amazon_linux_2", "AMAZON_LINUX_3"]),
        ("CreateBaselineRequest" | "UpdateBaselineRequest", "baseline")
        | ("CreatePatchOperationRequest", "patch_operation")
        | ("CreatePatchScheduleRequest" | "UpdatePatchScheduleRequest", "patch_schedule") => Rule::Required,

        // Single requests.
        ("ListBaselinesRequest", "owner") => choices(&[-1, 3]),
        ("CreateBaselineRequest", "tags") => Rule::Holds,
        ("BaselineTag", "key") => texts(&["", "aws:x", &long[..129]]),
        ("BaselineTag", "value") => texts(&[&long[..257]]),
        ("ListPatchPropertiesRequest", "property") => texts(&["", "COLOUR"]),
        ("ListPatchPropertiesRequest", "patch_set") => texts(&["BOTH"]),
        ("ListAvailablePatchesRequest", "filters") => Rule::Holds,
        ("PreviewBaselineRequest", "draft") => Rule::Holds,
        ("PreviewBaselineRequest", "at") => seconds("google.protobuf.Timestamp", &[i64::MAX, i64::MIN]),
        ("PreviewBaselineRequest", "products") => Rule::Refuses(vec![Value::List(vec![text("")])], ""),
        ("ListInstanceComplianceRequest", "baseline_id") => texts(&["pb-1", NO_NAMES[2]]),
        ("ListInstanceComplianceRequest", "status") => choices(&[-1, 6]),
        ("ListInstanceComplianceRequest", "severity") => texts(&["critical", "MODERATE"]),
        ("ListInstancePatchesRequest", "state") => texts(&["Mising", "MISSING "]),
        ("ListPatchOperationsRequest", "origin") => choices(&[-1, 6]),
        ("ListUpcomingRunsRequest", "days") => numbers(&[-1, 61]),
        ("PreviewScheduleRequest", "count") => numbers(&[-1]),
        ("PreviewScheduleRequest", "after_time") => seconds("google.protobuf.Timestamp", &[i64::MAX, i64::MIN]),
        ("CancelPatchOperationRequest", "mode") => choices(&[-1, 3]),
        ("CancelPatchOperationRequest" | "PausePatchOperationRequest", "note") => texts(&[&long[..501]]),
        ("CreateFreezeRequest", "freeze") => Rule::Required,
        ("WaitPatchOperationRequest", "timeout") => seconds("google.protobuf.Duration", &[-1, 61, i64::MAX]),

        // Baselines.
        ("Baseline", "name") if method == "UpdateBaseline" => texts(NO_NAMES),
        ("Baseline", "display_name") => texts(&["x", "a b", &long[..129]]),
        ("Baseline", "description") => texts(&[&long[..1025]]),
        ("Baseline", "operating_system") => texts(&["amazon_linux_2", "AMAZON_LINUX_3"]),
        ("Baseline", "global_filters" | "approval_rules" | "sources") | ("ApprovalRule", "filters") => Rule::Holds,
        ("Baseline", "approved_patches" | "rejected_patches") => entries(&["", &long[..101]]),
        ("Baseline", "approved_patches_compliance_level") | ("ApprovalRule", "compliance_level") => texts(&["SEVERE"]),
        ("Baseline", "rejected_patches_action") => texts(&["DENY"]),
        ("Baseline", "available_security_updates_compliance_status") => texts(&["MAYBE"]),
        ("Baseline", "approved_patches_enable_non_security") | ("ApprovalRule", "enable_non_security") => Rule::Free,
        // Output only.
        ("Baseline", _) => Rule::Free,
        ("PatchFilter", "key") => texts(&["", "COLOUR"]),
        ("PatchFilter", "values") if method == "ListAvailablePatches" => {
            Rule::Refuses(vec![Value::List(vec![text("")]), Value::List(vec![])], "")
        }
        ("PatchFilter", "values") => entries(&["", &long[..65]]),
        ("ApprovalRule", "approve_after_days") => numbers(&[-1, 361]),
        ("ApprovalRule", "approve_until_date") => texts(&["tomorrow", "2026-02-30"]),
        ("PatchSource", "name") => texts(&["", "x"]),
        ("PatchSource", "products") => entries(&["", &long[..129]]),
        ("PatchSource", "configuration") => texts(&["", &long[..1025]]),

        // Operations.
        // What is unset stays as it is.
        ("PatchSchedule", "kind" | "reboot_option") if method == "UpdatePatchSchedule" => choices(&[-1, 3]),
        ("PatchSchedule", "targets" | "recurrence") if method == "UpdatePatchSchedule" => Rule::Holds,
        ("PatchOperation", "kind") => choices(&[-1, 0, 4]),
        // Reboots have no schedule.
        ("PatchSchedule", "kind") => choices(&[-1, 0, 3, 4]),
        ("PatchOperation" | "PatchSchedule", "reboot_option") => choices(&[-1, 0, 3]),
        ("PatchOperation" | "PatchSchedule", "targets") => Rule::Required,
        ("PatchOperation" | "PatchSchedule", "rollout") => Rule::Holds,
        ("PatchOperation", "max_duration") => seconds("google.protobuf.Duration", &[-1, 0, 604_801]),
        ("PatchOperation", "max_targets") => numbers(&[-1, 5001]),
        ("PatchOperation", "note") => texts(&[&long[..501]]),
        ("PatchOperation", "on_busy") => choices(&[-1, 4]),
        // Output only.
        ("PatchOperation", _) => Rule::Free,
        ("TargetSelection" | "Targets", "tags") => Rule::Holds,
        ("TargetSelection", "all_managed") => Rule::Refuses(vec![Value::Bool(true)], ""),
        ("TagMatch", "key") => texts(&["", "a\nb"]),
        ("TagMatch", "value") => texts(&[&long[..257]]),
        ("Rollout", "concurrency" | "max_failures") | ("InstanceLimit", "percent") => Rule::Holds,
        ("InstanceLimit", "count") => Rule::RefusesAbove([-1, 0, 5001].map(Value::I32).to_vec(), 1),
        ("Percent", "value") => Rule::RefusesAbove([-1, 0, 101].map(Value::I32).to_vec(), 2),

        // Freezes.
        ("Freeze", "scope") => Rule::Required,
        ("Freeze", "start_time" | "end_time") => seconds("google.protobuf.Timestamp", &[i64::MAX, i64::MIN]),
        ("Freeze", "reason") => texts(&["", &long[..501]]),
        // Output only.
        ("Freeze", _) => Rule::Free,
        ("Scope", "location") => texts(NO_NAMES),
        ("Scope", "tag") => Rule::Holds,

        // Schedules.
        ("PatchSchedule", "name") if method == "UpdatePatchSchedule" => texts(NO_NAMES),
        ("PatchSchedule", "display_name") => texts(&["x", "a b", &long[..129]]),
        ("PatchSchedule" | "PreviewScheduleRequest", "recurrence") => Rule::Required,
        ("PatchSchedule" | "PreviewScheduleRequest", "time_zone") => texts(&["Asia/Tokio", "JST-9"]),
        ("PatchSchedule", "duration_hours") => numbers(&[-1, 25]),
        ("PatchSchedule", "cutoff_hours") => numbers(&[-1, 24]),
        ("PatchSchedule", "description") => texts(&[&long[..129]]),
        ("PatchSchedule", "enabled") => Rule::Free,
        // Output only.
        ("PatchSchedule", _) => Rule::Free,
        ("Recurrence", _) => Rule::Holds,
        ("Daily" | "Weekly" | "MonthlyNth", "time") => Rule::Required,
        ("TimeOfDay", "hours") => numbers(&[-1, 24]),
        ("TimeOfDay", "minutes" | "seconds") => numbers(&[-1, 60]),
        ("Weekly", "days") => Rule::Refuses(vec![Value::List(vec![Value::EnumNumber(0)])], "[0]"),
        ("MonthlyNth", "nth") => numbers(&[-2, 0, 6]),
        ("MonthlyNth", "weekday") => choices(&[-1, 0, 8]),
        ("MonthlyNth" | "Expression", "offset_days") => numbers(&[-1, 7]),
        ("Expression", "expression") => texts(&["", "daily", "cron(0 3 * * * *)"]),
        _ => return None,
    })
}

// === The test ===

/// Where a field is: the way from the request's root, as in the names of wrong fields and without the numbers of entries.
#[derive(Clone, Debug, Default)]
struct Place {
    steps: Vec<(FieldDescriptor, Option<usize>)>,
}

impl Place {
    fn then(&self, field: &FieldDescriptor, entry: Option<usize>) -> Self {
        let mut steps = self.steps.clone();
        steps.push((field.clone(), entry));
        Self { steps }
    }

    fn name(&self) -> String {
        let step = |(field, entry): &(FieldDescriptor, Option<usize>)| match entry {
            Some(entry) => format!("{}[{entry}]", field.name()),
            None => field.name().to_owned(),
        };
        self.steps.iter().map(step).collect::<Vec<_>>().join(".")
    }

    fn way(&self) -> String {
        self.steps.iter().map(|(field, _)| field.name()).collect::<Vec<_>>().join(".")
    }

    /// The request with something else here; `None`: with nothing.
    fn put(&self, request: &DynamicMessage, value: Option<Value>) -> DynamicMessage {
        let mut request = request.clone();
        let ((last, _), way) = self.steps.split_last().unwrap();
        let mut message = &mut request;
        for (field, entry) in way {
            let value = message.get_field_mut(field);
            let value = match entry {
                Some(entry) => &mut value.as_list_mut().unwrap()[*entry],
                None => value,
            };
            message = value.as_message_mut().unwrap();
        }
        match value {
            Some(value) => message.set_field(last, value),
            None => message.clear_field(last),
        }
        request
    }
}

fn own_message(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner) if !inner.full_name().starts_with("google.protobuf.") => Some(inner),
        _ => None,
    }
}

/// Every field of a message and of those in it, by its way; those below a field that is free left out.
fn ways(method: &str, message: &MessageDescriptor, above: &str, found: &mut BTreeSet<String>) {
    for field in message.fields() {
        let way = format!("{above}{}", field.name());
        let free = matches!(rule(method, message.name(), field.name()), Some(Rule::Free));
        if let Some(inner) = own_message(&field).filter(|_| !free) {
            ways(method, &inner, &format!("{way}."), found);
        }
        found.insert(way);
    }
}

/// Every field of a request as it is, also those that are not set, within messages that are.
fn places(method: &str, message: &DynamicMessage, above: &Place, found: &mut Vec<(Place, Rule)>) {
    for field in message.descriptor().fields() {
        let place = above.then(&field, None);
        let name = message.descriptor().name().to_owned();
        let rule = rule(method, &name, field.name());
        let rule = rule.unwrap_or_else(|| panic!("{method}: {name}.{} is not in the table `rule`", field.name()));
        if own_message(&field).is_some() && !matches!(rule, Rule::Free) && message.has_field(&field) {
            let value = message.get_field(&field);
            match value.as_list() {
                Some(entries) => {
                    for (entry, inner) in entries.iter().enumerate() {
                        places(method, inner.as_message().unwrap(), &above.then(&field, Some(entry)), found);
                    }
                }
                None => places(method, value.as_message().unwrap(), &place, found),
            }
        }
        found.push((place, rule));
    }
}

#[tokio::test]
async fn every_field_of_every_request_refuses_what_is_wrong_and_changes_nothing() {
    let (world, names) = furnished().await;
    let pool: DescriptorPool = descriptors();
    let (channel, _connection) = world.channel().await;
    let mut requests = requests(&names);
    let (mut refused, mut wrongs) = (0, Vec::new());
    for method in methods(&pool) {
        let name = method.name().to_owned();
        let right =
            requests.remove(name.as_str()).unwrap_or_else(|| panic!("{name} has no right request in `requests`"));
        let mut lacking = BTreeSet::new();
        ways(&name, &method.input(), "", &mut lacking);
        let before = world.fingerprint();
        for right in right {
            let right = DynamicMessage::decode(method.input(), right.as_slice()).unwrap();
            let mut found = Vec::new();
            places(&name, &right, &Place::default(), &mut found);
            for (place, rule) in found {
                lacking.remove(&place.way());
                let argument =
                    |suffix: &str| (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned(), vec![place.name() + suffix]);
                let (values, expected) = match rule {
                    Rule::Refuses(values, suffix) => (values.into_iter().map(Some).collect(), argument(suffix)),
                    Rule::RefusesAbove(values, steps) => {
                        let name = place.name().rsplitn(steps + 1, '.').last().unwrap().to_owned();
                        let expected = (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned(), vec![name]);
                        (values.into_iter().map(Some).collect(), expected)
                    }
                    Rule::Required => (vec![None], argument("")),
                    Rule::Answers(text, code, reason, fields) => {
                        let fields = fields.iter().map(|&field| field.to_owned()).collect();
                        (vec![Some(self::text(text))], (code, reason.to_owned(), fields))
                    }
                    Rule::Holds | Rule::Free => continue,
                };
                for value in values {
                    let told = format!("{name} {}: {value:?}", place.name()).chars().take(100).collect::<String>();
                    let wrong = place.put(&right, value);
                    let answer = call(&channel, &method, &wrong).await.map_err(|status| refusal(&status));
                    if answer.as_ref().err() != Some(&expected) {
                        wrongs.push(format!("{told}: {answer:?} and not {expected:?}"));
                    }
                    refused += 1;
                }
            }
            // It was each time that one field which was refused.
            let mut planned = right;
            if planned.descriptor().get_field_by_name("validate_only").is_some() {
                planned.set_field_by_name("validate_only", Value::Bool(true));
            }
            if let Err(status) = call(&channel, &method, &planned).await {
                wrongs.push(format!("the right request of {name} is refused: {status:?}"));
            }
        }
        if !lacking.is_empty() {
            wrongs.push(format!("{name}: no right request here reaches {lacking:?}"));
        }
        if world.fingerprint() != before {
            wrongs.push(format!("{name} changed something"));
        }
    }
    assert!(requests.is_empty(), "no such methods: {:?}", requests.keys());
    assert!(wrongs.is_empty(), "{} of {refused}:\n{}", wrongs.len(), wrongs.join("\n"));
    assert!(refused > 500, "only {refused} refusals");
}
