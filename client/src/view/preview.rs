//! What a baseline would do, and AWS's catalogue: a line for each patch, the reasons, and what cannot be known.

use super::{View, count, in_commands};
use crate::{
    api::{AvailablePatch, PreviewBaselineResponse, PreviewCounts, previewed_patch::State},
    name,
};
use comfy_table::{Cell, Color};
use std::fmt::Write as _;

/// How many titles are shown of one instance.
const MOST_TITLES: usize = 5;

impl View {
    /// One line for each patch of the catalogue.
    pub fn available_patches(&self, patches: &[AvailablePatch]) -> String {
        let mut table = self.table(&[
            "Patch",
            "Title",
            "Product",
            "Classification",
            "Severity",
            &self.zoned("Released"),
            "Advisories",
        ]);
        for patch in patches {
            table.add_row([
                patch.kb_id.clone(),
                title(patch),
                patch.product.clone(),
                patch.classification.clone(),
                patch.severity.clone(),
                self.minute(patch.release_time.as_ref()),
                patch.advisory_ids.join(", "),
            ]);
        }
        self.render(table, &[0])
    }

    /// What a baseline would do.
    pub fn preview(&self, preview: &PreviewBaselineResponse) -> String {
        let compared = preview.compared_counts.is_some();
        let mut headings = vec!["State", "Patch", "Severity", "Why"];
        if compared {
            headings.splice(1..1, ["Other"]);
        }
        let mut table = self.table(&headings);
        for row in &preview.patches {
            let patch = row.patch.clone().unwrap_or_default();
            let mut cells = vec![cell(row.state())];
            if compared {
                cells.push(cell(row.compared_state()));
            }
            let what = if patch.title.starts_with(&patch.kb_id) { patch.title.clone() } else { patch.kb_id.clone() };
            let severity = format!("{} {}", patch.classification, patch.severity);
            cells.extend([Cell::new(what), Cell::new(severity.trim()), Cell::new(&row.why)]);
            table.add_row(cells);
        }
        let mut text = format!("At {}: ", self.moment(preview.at.as_ref()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}.", counts(&preview.counts.unwrap_or_default()));
        if let Some(other) = &preview.compared_counts {
            let _ = writeln!(text, "The other: {}.", counts(other));
            let _ = writeln!(text, "They differ on {}.", patches(preview.difference_count));
        }
        if !preview.patches.is_empty() {
            text += "\n";
            text += &self.render(table, &[0]);
        }
        if preview.left_out_count > 0 {
            let _ = writeln!(text, "… and {} more (--most)", preview.left_out_count);
        }
        if let Some(impact) = &preview.impact {
            let current = name::id(&impact.current_baseline);
            let _ = writeln!(
                text,
                "\nThe group has {current} now. Of {} something changes on {}.",
                count(impact.instances_examined, "instance"),
                impact.instances_changed
            );
            for instance in &impact.instances {
                let _ = writeln!(text, "{}", name::id(&instance.instance));
                for (sign, titles) in [('+', &instance.newly_missing), ('-', &instance.no_longer_missing)] {
                    for title in titles.iter().take(MOST_TITLES) {
                        let _ = writeln!(text, "  {sign} {title}");
                    }
                    if titles.len() > MOST_TITLES {
                        let _ = writeln!(text, "  {sign} … {} more", titles.len() - MOST_TITLES);
                    }
                }
            }
        }
        for notice in &preview.notices {
            let _ = writeln!(text, "Note: {} [{}]", in_commands(&notice.message), notice.code);
        }
        for limit in &preview.limits {
            let _ = writeln!(text, "{}", self.aside(limit));
        }
        text
    }
}

/// The title where it says more than the id.
fn title(patch: &AvailablePatch) -> String {
    if patch.title == patch.kb_id { String::new() } else { patch.title.clone() }
}

fn cell(state: State) -> Cell {
    let (word, colour) = match state {
        State::Unspecified => ("", None),
        State::Approved => ("approved", Some(Color::Green)),
        State::Pending => ("pending", Some(Color::Yellow)),
        State::Undated => ("undated", Some(Color::Yellow)),
        State::Rejected => ("rejected", Some(Color::Red)),
        State::Never => ("never", Some(Color::DarkGrey)),
    };
    let cell = Cell::new(word);
    match colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

fn patches(number: i32) -> String {
    if number == 1 { "1 patch".to_owned() } else { format!("{number} patches") }
}

/// The numbers that are not 0.
fn counts(counts: &PreviewCounts) -> String {
    let PreviewCounts { approved, pending, undated, rejected, never } = *counts;
    let named = [(pending, "pending"), (undated, "undated"), (rejected, "rejected"), (never, "never")];
    let rest = named.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}"));
    [format!("{approved} approved")].into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{GroupImpact, PreviewedPatch, group_impact::InstanceImpact};

    #[test]
    fn a_preview_tells_states_reasons_impact_and_limits() {
        let patch = AvailablePatch {
            kb_id: "curl.x86_64".into(),
            title: "curl.x86_64:0:8.3.0-1.amzn2".into(),
            classification: "Security".into(),
            severity: "Critical".into(),
            ..Default::default()
        };
        let row = PreviewedPatch {
            patch: Some(patch),
            state: State::Pending.into(),
            why: "approval_rules[0] approves it 7 days after its release".into(),
            compared_state: State::Approved.into(),
            differs: true,
            ..Default::default()
        };
        let counts = PreviewCounts { pending: 1, ..Default::default() };
        let instance = InstanceImpact {
            instance: "accounts/1/regions/x/instances/i-1".into(),
            no_longer_missing: (0..7).map(|n| format!("p{n}")).collect(),
            ..Default::default()
        };
        let preview = PreviewBaselineResponse {
            patches: vec![row],
            counts: Some(counts),
            compared_counts: Some(PreviewCounts { approved: 1, ..Default::default() }),
            difference_count: 1,
            left_out_count: 3,
            impact: Some(GroupImpact {
                instances_examined: 2,
                instances_changed: 1,
                instances: vec![instance],
                current_baseline: "accounts/1/regions/x/baselines/pb-1".into(),
            }),
            limits: vec!["Not everything is known.".into()],
            at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        let text = View::plain(Some(160)).preview(&preview);
        for expected in [
            "At 1970-01-01 00:00:00 UTC: 0 approved, 1 pending.",
            "They differ on 1 patch.",
            "pending",
            "7 days after its release",
            "… and 3 more",
            "The group has pb-1 now. Of 2 instances something changes on 1.",
            "  - p0",
            "  - … 2 more",
            "Not everything is known.",
        ] {
            assert!(text.contains(expected), "{expected}:\n{text}");
        }
    }
}
