//! How instances comply: each by itself, and summed up.

use super::{
    View, bad_if_some, coloured, count,
    instances::{counts, lacking},
    places, word,
};
use crate::{
    api::{ComplianceBreakdown, ComplianceSeverity, ComplianceSummary, InstanceCompliance},
    name,
};
use comfy_table::{Cell, Color};

impl View {
    /// How far a location or a group is from what its baselines approve.
    pub fn compliance(&self, summary: &ComplianceSummary) -> String {
        let scope = match summary.patch_group.as_str() {
            "" => summary.location.clone(),
            group => format!("patch group {group} in {}", summary.location),
        };
        let unmanaged = match summary.unmanaged_count {
            0 => String::new(),
            number => format!("{}, of which nothing is known", count(number, "instance")),
        };
        let mut table = self.table(&[
            "Instances",
            "Compliant",
            "Not compliant",
            "Stale",
            "Never reported",
            "With missing",
            "With failed",
            "Pending reboot",
        ]);
        table.add_row([
            Cell::new(summary.instance_count),
            Cell::new(summary.compliant_count).fg(Color::Green),
            bad_if_some(summary.non_compliant_count),
            bad_if_some(summary.stale_count),
            Cell::new(summary.unreported_count),
            bad_if_some(summary.with_missing_count),
            bad_if_some(summary.with_failed_count),
            bad_if_some(summary.with_pending_reboot_count),
        ]);
        let patches = summary.patches.as_ref().map(counts).unwrap_or_default();
        self.properties(&[
            ("Scope", scope),
            ("Patches", patches),
            ("Not managed", unmanaged),
            ("Oldest report", self.moment(summary.oldest_report_time.as_ref())),
        ]) + "\n"
            + &self.render(table, &[])
            + &format!(
                "Stale is a report older than {}; an instance can be in several of the last three columns.\n",
                count(summary.stale_after_days, "day")
            )
            + &self.breakdown("Patch group", "none", &summary.by_patch_group)
            + &self.breakdown("Baseline", "never judged", &summary.by_baseline)
            + &self.breakdown("Operating system", "unknown", &summary.by_operating_system)
            + &self.severities(&summary.by_severity)
    }

    /// A line for each level; nothing where all patches have one, as with AWS's own baselines.
    fn severities(&self, levels: &[ComplianceSeverity]) -> String {
        let used = |level: &&ComplianceSeverity| level.non_compliant_patch_count + level.compliant_patch_count > 0;
        if levels.iter().filter(used).count() < 2 {
            return String::new();
        }
        let mut table = self.table(&["Severity", "Patches that comply", "That do not", "Worst of so many instances"]);
        for level in levels {
            table.add_row([
                Cell::new(level.severity.to_lowercase()),
                Cell::new(level.compliant_patch_count).fg(Color::Green),
                bad_if_some(level.non_compliant_patch_count),
                bad_if_some(level.non_compliant_instance_count),
            ]);
        }
        format!("\n{}", self.render(table, &[0]))
    }

    /// A line for each part of a summary; nothing where there is one part only.
    fn breakdown(&self, what: &str, none: &str, parts: &[ComplianceBreakdown]) -> String {
        if parts.len() < 2 {
            return String::new();
        }
        let mut table = self.table(&[
            what,
            "Instances",
            "Compliant",
            "Not compliant",
            "Stale",
            "Never reported",
            "Not managed",
            "With critical",
            "With security",
        ]);
        for part in parts {
            let tally = part.tally.unwrap_or_default();
            let key = if part.key.is_empty() { none.to_owned() } else { name::id(&part.key) };
            table.add_row([
                Cell::new(key),
                Cell::new(tally.instance_count),
                Cell::new(tally.compliant_count).fg(Color::Green),
                bad_if_some(tally.non_compliant_count),
                bad_if_some(tally.stale_count),
                Cell::new(tally.unreported_count),
                Cell::new(tally.unmanaged_count),
                bad_if_some(tally.with_critical_count),
                bad_if_some(tally.with_security_count),
            ]);
        }
        format!("\n{}", self.render(table, &[0]))
    }

    /// One line for each instance.
    pub fn instance_compliance(&self, instances: &[InstanceCompliance]) -> String {
        let last = self.zoned("Last report");
        let mut table = self.table(&[
            "Instance",
            "Name",
            "Status",
            "Patches",
            "Patch group",
            "Operating system",
            "Baseline",
            &last,
            "Location",
        ]);
        let places = places(instances.iter().map(|instance| instance.name.as_str()));
        for (instance, place) in instances.iter().zip(places) {
            let status = word(instance.status().as_str_name(), "STATUS_").to_lowercase().replace('_', " ");
            table.add_row([
                Cell::new(&instance.instance_id),
                Cell::new(&instance.display_name),
                coloured(status),
                Cell::new(instance.counts.as_ref().map(lacking).unwrap_or_default()),
                Cell::new(&instance.patch_group),
                Cell::new(&instance.operating_system),
                Cell::new(name::id(&instance.baseline)),
                Cell::new(self.time(instance.last_report_time.as_ref())),
                Cell::new(place),
            ]);
        }
        self.render(table, &[0])
    }
}
