//! Patch groups and what became of instances that were put into one or taken out.

use super::{View, coloured, places, word};
use crate::{
    api::{InstanceResult, PatchGroup},
    name,
};
use comfy_table::Cell;

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
                Cell::new(&result.message),
            ]);
        }
        self.render(table, &[0])
    }
}
