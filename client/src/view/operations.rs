//! Operations and their targets, with the steps of each.

use super::{View, colour, coloured, instances::lacking, place, places, progress::state, times::took, word};
use crate::{
    Location,
    api::{PatchOperation, PatchOperationEvent, PatchOperationTarget, TargetSelection, instance_limit::Amount},
    name,
};
use comfy_table::Cell;

impl View {
    /// One line for each operation; on narrow terminals without notes.
    pub fn operations(&self, operations: &[PatchOperation]) -> String {
        let narrow = self.is_narrow();
        let created = self.zoned("Created");
        let mut table = match narrow {
            true => self.table(&["Operation", "What", "State", &created, "Took", "Location"]),
            false => {
                self.table(&["Operation", "Kind", "Targets", "State", "Outcome", &created, "Took", "Location", "Note"])
            }
        };
        let places = places(operations.iter().map(|operation| operation.name.as_str()));
        for (operation, place) in operations.iter().zip(places) {
            let kind = word(operation.kind().as_str_name(), "KIND_");
            let targets = operation.targets.as_ref().map(selection).unwrap_or_default();
            let state = state(operation);
            // What others started says so.
            let kind = match word(operation.origin().as_str_name(), "ORIGIN_") {
                "PATCHPLANE" | "UNSPECIFIED" => kind.to_owned(),
                origin => format!("{kind} ({origin})"),
            };
            let mut row = vec![Cell::new(name::id(&operation.name))];
            if narrow {
                row.extend([
                    Cell::new(format!("{kind} {targets}")),
                    Cell::new(format!("{state}\n{}", counts(operation))),
                ]);
            } else {
                row.extend([Cell::new(kind), Cell::new(targets), state_cell(operation), Cell::new(counts(operation))]);
            }
            row.push(Cell::new(self.minute(operation.create_time.as_ref())));
            row.push(Cell::new(took(operation.create_time.as_ref(), operation.end_time.as_ref())));
            row.push(Cell::new(place));
            if !narrow {
                row.push(Cell::new(&operation.note));
            }
            table.add_row(row);
        }
        self.render(table, if narrow { &[0] } else { &[0, 1, 3] })
    }

    /// Everything about one operation.
    pub fn operation(&self, operation: &PatchOperation) -> String {
        let reboot = match word(operation.reboot_option().as_str_name(), "REBOOT_OPTION_") {
            "UNSPECIFIED" => "",
            option => option,
        };
        self.properties(&[
            ("Operation", operation.name.clone()),
            ("Kind", word(operation.kind().as_str_name(), "KIND_").to_owned()),
            ("Targets", operation.targets.as_ref().map(selection).unwrap_or_default()),
            ("Reboot", reboot.to_owned()),
            ("Rollout", rollout(operation)),
            ("If busy", word(operation.on_busy().as_str_name(), "ON_BUSY_").replace("UNSPECIFIED", "")),
            ("Freezes", if operation.override_freeze { "overridden" } else { "" }.to_owned()),
            ("Retry of", name::id(&operation.retry_of)),
            ("State", word(operation.state().as_str_name(), "STATE_").to_owned()),
            ("Reason", operation.state_reason.clone()),
            ("Explanation", operation.explanation.clone()),
            ("Outcome", counts(operation)),
            ("Drift", drift(operation)),
            ("Created", self.moment(operation.create_time.as_ref())),
            ("Ended", self.moment(operation.end_time.as_ref())),
            (
                "Ends at the latest",
                if operation.end_time.is_none() {
                    self.moment(operation.deadline_time.as_ref())
                } else {
                    String::new()
                },
            ),
            ("Created by", operation.creator.clone()),
            (
                "Origin",
                [word(operation.origin().as_str_name(), "ORIGIN_"), &operation.source].join(" ").trim().to_owned(),
            ),
            ("Note", operation.note.clone()),
            ("Snapshot", operation.snapshot_id.clone()),
            ("AWS commands", operation.command_ids.join(", ")),
        ])
    }

    /// An operation in one line, with when it last changed and where it is.
    pub fn operation_line(&self, operation: &PatchOperation) -> String {
        let parts = [
            self.time(operation.update_time.as_ref()),
            Location::of(&operation.name).map(place).unwrap_or_default(),
            name::id(&operation.name),
            word(operation.kind().as_str_name(), "KIND_").to_owned(),
            operation.targets.as_ref().map(selection).unwrap_or_default(),
            state(operation),
            counts(operation),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ") + "\n"
    }

    /// One line for each thing that happened.
    pub fn events(&self, events: &[PatchOperationEvent]) -> String {
        let when = self.zoned("When");
        let mut table = self.table(&[when.as_str(), "Instance", "State", "Reason", "What happened"]);
        for event in events {
            table.add_row([
                Cell::new(self.time(event.time.as_ref())),
                Cell::new(&event.instance_id),
                coloured(&event.state),
                Cell::new(&event.reason),
                Cell::new(&event.explanation),
            ]);
        }
        self.render(table, &[0, 1, 2])
    }

    /// One line for each target, one column for each step; on narrow terminals the steps stand below each other.
    pub fn targets<'a>(&self, targets: impl IntoIterator<Item = &'a PatchOperationTarget>) -> String {
        let targets: Vec<_> = targets.into_iter().collect();
        let mut steps: Vec<&str> = Vec::new();
        for step in targets.iter().flat_map(|target| &target.steps) {
            if !steps.contains(&step.step.as_str()) {
                steps.push(&step.step);
            }
        }
        let narrow = self.is_narrow();
        let mut header = vec!["Instance", "State", "Reason"];
        if narrow {
            header.push("Steps")
        } else {
            header.extend(&steps)
        }
        header.extend(["Patches", "What happened"]);
        let mut table = self.table(&header);
        for target in targets {
            let state = |name: &&str| {
                let step = target.steps.iter().find(|step| step.step == *name);
                step.map_or("", |step| word(step.state().as_str_name(), "STATE_"))
            };
            let mut row = vec![
                Cell::new(&target.instance_id),
                coloured(word(target.state().as_str_name(), "STATE_")),
                Cell::new(&target.reason),
            ];
            if narrow {
                let lines: Vec<String> = steps.iter().map(|step| format!("{step} {}", state(step))).collect();
                row.push(Cell::new(lines.join("\n")));
            } else {
                row.extend(steps.iter().map(|step| coloured(state(step))));
            }
            row.extend([Cell::new(change(target)), Cell::new(told(target))]);
            table.add_row(row);
        }
        self.render(table, &[0, 1])
    }
}

/// How far it is, with what it waits for, in the colour of the state.
fn state_cell(operation: &PatchOperation) -> Cell {
    let cell = Cell::new(state(operation));
    match colour(word(operation.state().as_str_name(), "STATE_")) {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

/// What happened, and what to do about it.
fn told(target: &PatchOperationTarget) -> String {
    [target.explanation.as_str(), &target.hint]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// What later batches got and earlier ones could not have, such as `AMAZON_LINUX_2: curl-… since batch 2`.
fn drift(operation: &PatchOperation) -> String {
    let lines = operation
        .drift
        .iter()
        .map(|drift| format!("{}: {} since batch {}", drift.operating_system, drift.titles.join(", "), drift.batch));
    lines.collect::<Vec<_>>().join("\n")
}

/// What became of the target's patches, such as `3 missing → compliant, rebooted`.
fn change(target: &PatchOperationTarget) -> String {
    let patches = |state: Option<&crate::api::PatchStateSummary>| {
        let lacking = state.and_then(|state| state.counts.as_ref()).map(lacking)?;
        Some(if lacking.is_empty() { "compliant".to_owned() } else { lacking })
    };
    let mut text = match (patches(target.before.as_ref()), patches(target.after.as_ref())) {
        (Some(before), Some(after)) if before != after => format!("{before} → {after}"),
        (_, Some(after)) => after,
        (_, None) => String::new(),
    };
    if target.rebooted {
        text += if text.is_empty() { "rebooted" } else { ", rebooted" };
    }
    text
}

/// The selection in a few words, such as `group web, i-1, tag env=test, without i-2`.
fn selection(targets: &TargetSelection) -> String {
    let mut parts: Vec<String> = targets.patch_groups.iter().map(|group| format!("group {group}")).collect();
    parts.extend(targets.tags.iter().map(|tag| format!("tag {}={}", tag.key, tag.value)));
    match targets.instance_ids.as_slice() {
        ids @ ([] | [_] | [_, _]) => parts.extend(ids.iter().cloned()),
        ids => parts.push(format!("{} instances", ids.len())),
    }
    if targets.all_managed {
        parts.push("all managed".to_owned());
    }
    match targets.excluded_instance_ids.as_slice() {
        [] => {}
        [one] => parts.push(format!("without {one}")),
        more => parts.push(format!("without {} instances", more.len())),
    }
    parts.join(", ")
}

fn rollout(operation: &PatchOperation) -> String {
    let amount = |limit: &crate::api::InstanceLimit| match &limit.amount {
        Some(Amount::Count(count)) => count.to_string(),
        Some(Amount::Percent(percent)) => format!("{} %", percent.value),
        None => "the default".to_owned(),
    };
    let Some(rollout) = &operation.rollout else { return String::new() };
    let at_once = rollout.concurrency.as_ref().map(|limit| format!("{} at once", amount(limit)));
    let failures = rollout.max_failures.as_ref().map(|limit| format!("stops after {} failed", amount(limit)));
    [at_once, failures].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The targets by state, such as `4 succeeded, 1 skipped`.
pub(super) fn counts(operation: &PatchOperation) -> String {
    let counts = operation.counts.unwrap_or_default();
    let parts = [
        (counts.pending, "pending"),
        (counts.dispatched, "dispatched"),
        (counts.running, "running"),
        (counts.rebooting, "rebooting"),
        (counts.verifying, "verifying"),
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.timed_out, "timed out"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "skipped"),
        (counts.unknown, "unknown"),
    ];
    let some = parts.iter().filter(|(number, _)| *number > 0);
    some.map(|(number, state)| format!("{number} {state}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        PatchDrift, PatchOperationStep, TagMatch, patch_operation_step::State as StepState,
        patch_operation_target::State,
    };

    #[test]
    fn each_step_has_its_column() {
        let step = |step: &str, state: StepState| PatchOperationStep {
            step: step.to_owned(),
            state: state.into(),
            ..Default::default()
        };
        let target = PatchOperationTarget {
            instance_id: "i-0123456789abcdef0".to_owned(),
            state: State::Succeeded.into(),
            steps: vec![step("PatchWindows", StepState::Skipped), step("PatchLinux", StepState::Succeeded)],
            ..Default::default()
        };
        assert_eq!(
            View::plain(None).targets([&target]),
            "Instance             State      PatchWindows  PatchLinux\n\
             ─────────────────────────────────────────────────────────\n\
             i-0123456789abcdef0  SUCCEEDED  SKIPPED       SUCCEEDED\n"
        );
    }

    #[test]
    fn the_hint_stands_below_what_happened() {
        let target = PatchOperationTarget {
            instance_id: "i-0123456789abcdef0".to_owned(),
            state: State::Failed.into(),
            reason: "LOCK_HELD".to_owned(),
            explanation: "the command failed".to_owned(),
            hint: "Wait.".to_owned(),
            ..Default::default()
        };
        let shown = View::plain(None).targets([&target]);
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(lines.len(), 2, "{shown}");
        assert!(lines[0].ends_with("the command failed") && lines[1].ends_with("Wait."), "{shown}");
    }

    #[test]
    fn drift_is_told_with_the_first_batch_that_got_it() {
        let operation = PatchOperation {
            drift: vec![PatchDrift {
                operating_system: "AMAZON_LINUX_2".to_owned(),
                titles: vec!["curl.x86_64:0:8.3.0-1".to_owned()],
                batch: 2,
                ..Default::default()
            }],
            ..Default::default()
        };
        let told = "AMAZON_LINUX_2: curl.x86_64:0:8.3.0-1 since batch 2";
        assert!(View::plain(None).operation(&operation).contains(told));
    }

    #[test]
    fn selections_are_told_in_a_few_words() {
        let targets = TargetSelection {
            patch_groups: vec!["web".to_owned()],
            tags: vec![TagMatch { key: "env".to_owned(), value: "test".to_owned() }],
            excluded_instance_ids: vec!["i-2".to_owned()],
            ..Default::default()
        };
        assert_eq!(selection(&targets), "group web, tag env=test, without i-2");
    }
}
