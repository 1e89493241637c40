//! Instances, whether they can be patched, their patches, and the summary of many.

use super::{View, coloured, command, in_commands, places, word};
use crate::{
    api::{CheckReadinessResponse, ExplainBaselineResponse, Instance, InstancePatch, PatchCounts},
    name,
};
use comfy_table::{Cell, Color};

/// More CVEs than these are counted.
const CVES_SHOWN: usize = 2;

impl View {
    /// One line for each instance.
    pub fn instances(&self, instances: &[Instance]) -> String {
        let mut table =
            self.table(&["Instance", "Name", "EC2", "Agent", "Platform", "Patch group", "Patches", "Location"]);
        let places = places(instances.iter().map(|instance| instance.name.as_str()));
        for (instance, place) in instances.iter().zip(places) {
            let agent = if instance.ping_status.is_empty() { "not managed" } else { &instance.ping_status };
            table.add_row([
                Cell::new(&instance.instance_id),
                Cell::new(&instance.display_name),
                coloured(&instance.power_state),
                coloured(agent),
                Cell::new(&instance.platform),
                Cell::new(&instance.patch_group),
                coloured(patch_state(instance)),
                Cell::new(place),
            ]);
        }
        self.render(table, &[0])
    }

    /// Everything about one instance.
    pub fn instance(&self, instance: &Instance) -> String {
        let group = match instance.patch_group.as_str() {
            "" => String::new(),
            group => format!("{group} (by the tag {:?})", instance.patch_group_tag_key),
        };
        let mut tags: Vec<_> = instance.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        tags.sort();
        let state = instance.patch_state.as_ref();
        self.properties(&[
            ("Instance", instance.name.clone()),
            ("Name", instance.display_name.clone()),
            ("EC2 state", instance.power_state.clone()),
            ("Agent", instance.ping_status.clone()),
            ("Agent version", instance.agent_version.clone()),
            ("Last heard of", self.moment(instance.last_ping_time.as_ref())),
            ("Platform", instance.platform.clone()),
            ("Operating system", instance.operating_system.clone()),
            ("Patch group", group),
            ("Patches", patch_state(instance)),
            ("Last patch run", state.map_or_else(String::new, |state| state.operation.clone())),
            ("… ended", state.map_or_else(String::new, |state| self.moment(state.operation_end_time.as_ref()))),
            ("… baseline", state.map_or_else(String::new, |state| state.baseline_id.clone())),
            ("Tags", tags.join(", ")),
            ("Observed", self.moment(instance.observe_time.as_ref())),
        ])
    }

    /// What stands in the way of patching, a line for each finding; on narrow terminals evidence and fix share a column.
    pub fn readiness(&self, answers: &[CheckReadinessResponse]) -> String {
        let narrow = self.is_narrow();
        let mut table = match narrow {
            true => self.table(&["Instance", "Ready", "Finding", "What was seen → what to do"]),
            false => {
                self.table(&["Instance", "Ready", "Finding", "Weight", "Certainty", "What was seen", "What to do"])
            }
        };
        for answer in answers {
            let own = [name::id(&answer.name), if answer.ready { "yes" } else { "no" }.to_owned()];
            if answer.findings.is_empty() {
                table.add_row([Cell::new(&own[0]), coloured(&own[1]), Cell::new("nothing found")]);
            }
            for (index, finding) in answer.findings.iter().enumerate() {
                let [id, ready] = if index == 0 { own.clone() } else { Default::default() };
                let code = word(finding.code().as_str_name(), "CODE_");
                let weight = if finding.blocking { "blocks" } else { "advice" };
                let certainty = word(finding.certainty().as_str_name(), "CERTAINTY_");
                let mut row = vec![Cell::new(id), coloured(ready)];
                if narrow {
                    row.push(Cell::new(format!("{code}\n{weight}, {certainty}")));
                    row.push(Cell::new(format!("{} → {}", finding.evidence, in_commands(&finding.fix))));
                } else {
                    row.extend([Cell::new(code), coloured(weight), Cell::new(certainty)]);
                    row.extend([Cell::new(&finding.evidence), Cell::new(in_commands(&finding.fix))]);
                }
                table.add_row(row);
            }
        }
        self.render(table, &[0, 2]) + &self.remedies(answers)
    }

    /// Commands to be copied, each on a line of its own however long it is, below what it mends and where.
    fn remedies(&self, answers: &[CheckReadinessResponse]) -> String {
        let mut commands: Vec<(String, &str, Vec<String>)> = Vec::new();
        for answer in answers {
            for finding in &answer.findings {
                let Some(command) = finding.remedy.as_ref().and_then(command) else { continue };
                let code = word(finding.code().as_str_name(), "CODE_");
                match commands.iter_mut().find(|(known, ..)| *known == command) {
                    Some((.., instances)) => instances.push(name::id(&answer.name)),
                    None => commands.push((command, code, vec![name::id(&answer.name)])),
                }
            }
        }
        let lines = commands.into_iter().map(|(command, code, instances)| {
            let title = self.heading(&format!("{code} of {}", instances.join(", ")));
            format!("\n{title}\n  {command}\n")
        });
        lines.collect()
    }

    /// Which baseline an instance gets, why, and what would give it another.
    pub fn baseline_choice(&self, answer: &ExplainBaselineResponse) -> String {
        let baseline = match answer.baseline.as_str() {
            "" => "nobody can say".to_owned(),
            baseline => format!("{} ({})", answer.display_name, name::id(baseline)),
        };
        let last = match answer.last_report_baseline.as_str() {
            "" => String::new(),
            last => format!("{}, {}", name::id(last), self.moment(answer.last_report_time.as_ref())),
        };
        let mut text = self.properties(&[
            ("Instance", answer.name.clone()),
            ("Baseline", baseline),
            ("Decided by", word(answer.source().as_str_name(), "SOURCE_").replace("UNSPECIFIED", "")),
            ("Because", answer.reasons.join("; ")),
            ("Last judged by", last),
        ]);
        for other in &answer.alternatives {
            let baseline = format!("{} ({})", other.display_name, name::id(&other.baseline));
            text += &format!("\nInstead {baseline}: {}\n", other.effect);
            if let Some(command) = other.remedy.as_ref().and_then(command) {
                text += &format!("  {command}\n");
            }
        }
        text
    }

    /// One line for each patch.
    pub fn patches(&self, patches: &[InstancePatch]) -> String {
        let installed = self.zoned("Installed");
        let mut table = self.table(&["Patch", "State", "Classification", "Severity", "CVEs", &installed]);
        for patch in patches {
            let severity = match patch.severity.as_str() {
                "Critical" => Cell::new("Critical").fg(Color::Red),
                severity => Cell::new(severity),
            };
            table.add_row([
                Cell::new(if patch.title.is_empty() { &patch.kb_id } else { &patch.title }),
                coloured(&patch.state),
                Cell::new(&patch.classification),
                severity,
                Cell::new(cves(&patch.cve_ids)),
                Cell::new(self.time(patch.installed_time.as_ref())),
            ]);
        }
        self.render(table, &[1])
    }
}

/// An instance's patches in a few words.
fn patch_state(instance: &Instance) -> String {
    match instance.patch_state.as_ref() {
        None if instance.ping_status.is_empty() => String::new(),
        None => "never scanned".to_owned(),
        Some(state) if state.compliant => "compliant".to_owned(),
        Some(state) => {
            let lacking = state.counts.as_ref().map(lacking).unwrap_or_default();
            if lacking.is_empty() { "not compliant".to_owned() } else { lacking }
        }
    }
}

/// What keeps these from being compliant, such as `3 missing, 1 failed`.
pub(super) fn lacking(counts: &PatchCounts) -> String {
    join(&[
        (counts.missing, "missing"),
        (counts.failed, "failed"),
        (counts.installed_pending_reboot, "pending reboot"),
        (counts.installed_rejected, "rejected but installed"),
    ])
}

pub(super) fn counts(counts: &PatchCounts) -> String {
    let good = join(&[(counts.installed, "installed"), (counts.installed_other, "installed besides the baseline")]);
    let security = join(&[(counts.available_security_updates, "available security updates")]);
    [format!("{} missing", counts.missing), lacking(&PatchCounts { missing: 0, ..*counts }), good, security]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

fn join(parts: &[(i32, &str)]) -> String {
    let some = parts.iter().filter(|(number, _)| *number > 0);
    some.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

fn cves(ids: &[String]) -> String {
    match ids.get(..CVES_SHOWN) {
        Some(first) if ids.len() > CVES_SHOWN => format!("{} +{}", first.join(", "), ids.len() - CVES_SHOWN),
        _ => ids.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cves_are_counted() {
        let ids: Vec<String> = (1..=4).map(|n| format!("CVE-2099-000{n}")).collect();
        assert_eq!(cves(&ids), "CVE-2099-0001, CVE-2099-0002 +2");
        assert_eq!(cves(&ids[..2]), "CVE-2099-0001, CVE-2099-0002");
        assert_eq!(cves(&[]), "");
    }

    #[test]
    fn the_summary_says_zero_missing_aloud() {
        assert_eq!(
            counts(&PatchCounts { installed: 3, failed: 1, ..Default::default() }),
            "0 missing, 1 failed, 3 installed"
        );
    }
}
