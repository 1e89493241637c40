//! Patch groups and what became of instances that were put into one or taken out.

use super::{View, coloured, command, count, in_commands, places, word};
use crate::{
    api::{InstanceResult, PatchGroup, TagFinding},
    name,
};
use comfy_table::Cell;

/// More instances than these are only counted.
const IDS_SHOWN: usize = 4;

impl View {
    /// One line for each group, or for each of its baselines.
    pub fn groups(&self, groups: &[PatchGroup]) -> String {
        let mut table = self.table(&["Patch group", "Instances", "Operating system", "Baseline", "Name", "Location"]);
        let places = places(groups.iter().map(|group| group.name.as_str()));
        for (group, place) in groups.iter().zip(places) {
            let own = [group.patch_group.clone(), group.instance_count.to_string()];
            if group.baselines.is_empty() {
                let [group, instances] = own.clone();
                table.add_row([
                    group,
                    instances,
                    "all".into(),
                    String::new(),
                    "the default applies".into(),
                    place.clone(),
                ]);
            }
            for (index, attached) in group.baselines.iter().enumerate() {
                let [group, instances] = if index == 0 { own.clone() } else { Default::default() };
                table.add_row([
                    group,
                    instances,
                    attached.operating_system.clone(),
                    name::id(&attached.baseline),
                    attached.display_name.clone(),
                    place.clone(),
                ]);
            }
        }
        self.render(table, &[1])
    }

    /// One group.
    pub fn group(&self, group: &PatchGroup) -> String {
        self.groups(std::slice::from_ref(group))
    }

    /// One line for each instance of the request.
    pub fn instance_results(&self, results: &[InstanceResult]) -> String {
        let mut table = self.table(&["Instance", "Outcome", "Tag key", "Reason", "Message"]);
        for result in results {
            table.add_row([
                Cell::new(&result.instance_id),
                coloured(word(result.outcome().as_str_name(), "OUTCOME_")),
                Cell::new(&result.tag_key),
                Cell::new(&result.reason),
                Cell::new(in_commands(&result.message)),
            ]);
        }
        self.render(table, &[0])
    }

    /// A paragraph for each finding, with the command that mends it on a line of its own, to be copied.
    pub fn tag_findings(&self, findings: &[TagFinding]) -> String {
        if findings.is_empty() {
            return "Every tag that looks like a patch group is effective.\n".to_owned();
        }
        let mut text = String::new();
        for finding in findings {
            let code = word(finding.code().as_str_name(), "CODE_");
            let instances = count(i32::try_from(finding.instance_ids.len()).unwrap_or(i32::MAX), "instance");
            text += &self.heading(&format!("{code}  {instances} in {}", finding.location));
            let shown = finding.instance_ids.iter().take(IDS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = if finding.instance_ids.len() > IDS_SHOWN { ", …" } else { "" };
            text +=
                &format!("\n  {shown}{more}\n  seen: {}\n  do:   {}\n", finding.evidence, in_commands(&finding.fix));
            if let Some(command) = finding.remedy.as_ref().and_then(command) {
                text += &format!("  {command}\n");
            }
            text += "\n";
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}
