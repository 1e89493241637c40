//! Making, changing and deleting patch baselines of one's own, and choosing defaults (S 4.6).

use super::{
    Answer, Call,
    baseline_content::{MEMBERS, read, whole},
    baselines::does_not_exist,
    tags::tags_of,
};
use crate::{dice::Dice, error::AwsError};
use patchplane_rules::{BaselineId, BaselineOwner, BaselineSummary, OperatingSystem};
use serde_json::{Map, Value, json};

/// Baselines of one's own in an account and Region (S 3.2).
const BASELINES: usize = 50;

impl Call<'_> {
    pub(super) fn create_patch_baseline(&mut self) -> Answer {
        self.once(|call| {
            let place = &mut *call.place;
            if place.own_baselines().count() >= BASELINES {
                let text = format!("Maximum number of patch baselines reached: {BASELINES}.");
                return Err(AwsError::new("ResourceLimitExceededException", text));
            }
            let number = place.baselines_made.to_string();
            let mut dice = Dice::new(place.seed, &["own baseline", &place.account, &place.region, &number]);
            let aws_id = format!("pb-0{}", dice.hex(16));
            let summary = BaselineSummary {
                id: aws_id.parse().map_err(|_| AwsError::bare("InternalServerError").with_status(500))?,
                aws_id: aws_id.clone(),
                owner: BaselineOwner::Account,
                name: String::new(),
                description: String::new(),
                operating_system: OperatingSystem::observed(call.operating_system()),
                default: false,
            };
            let mut baseline = read(call.request, summary)?;
            (baseline.created, baseline.modified) = (Some(call.now), Some(call.now));
            let tags = tags_of(&call.request["Tags"], None)?;
            let place = &mut *call.place;
            place.baselines_made += 1;
            place.baselines.push(baseline);
            place.tags.insert(aws_id.clone(), tags);
            Ok(json!({ "BaselineId": aws_id }))
        })
    }

    /// What is given replaces; with `Replace` what is not given falls back to its default (S 4.6.1).
    pub(super) fn update_patch_baseline(&mut self) -> Answer {
        let (id, replace) = (self.text("BaselineId"), self.request["Replace"] == true);
        let own = self.place.baseline(id).filter(|baseline| baseline.summary.owner == BaselineOwner::Account);
        let before = own.ok_or_else(does_not_exist)?;
        if replace && self.request["Name"].is_null() {
            let text = "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must \
                        not be null";
            return Err(AwsError::validation(text));
        }
        let mut content = if replace { Value::Object(Map::new()) } else { whole(before) };
        for member in MEMBERS {
            if !self.request[member].is_null() {
                content[member] = self.request[member].clone();
            }
        }
        let mut baseline = read(&content, before.summary.clone())?;
        (baseline.created, baseline.modified) = (before.created, Some(self.now));
        let answer = whole(&baseline);
        if let Some(slot) = self.place.baselines.iter_mut().find(|b| b.summary.id == baseline.summary.id) {
            *slot = baseline;
        }
        Ok(answer)
    }

    /// An unknown one counts as deleted (S 4.6.6, unverified); what is in use stays (S 4.6.4–5).
    pub(super) fn delete_patch_baseline(&mut self) -> Answer {
        let id = self.text("BaselineId");
        let answer = Ok(json!({ "BaselineId": id }));
        let Some(baseline) = self.place.baseline(id) else { return answer };
        let BaselineSummary { aws_id, owner, default, operating_system, .. } = baseline.summary.clone();
        if owner == BaselineOwner::Aws {
            return Err(does_not_exist());
        }
        let in_use = |text: String| Err(AwsError::new("ResourceInUseException", text));
        if let Some(((group, _), _)) = self.place.groups.iter().find(|(_, registered)| **registered == aws_id) {
            return in_use(format!("PatchBaseline to be deleted is used for Patch Group: {group}"));
        }
        if default {
            return in_use(format!("PatchBaseline to be deleted is the default for {operating_system}"));
        }
        self.place.baselines.retain(|baseline| baseline.summary.aws_id != aws_id);
        self.place.tags.remove(&aws_id);
        answer
    }

    /// The default of the baseline's own operating system (S 4.6.8); answers the bare id (recorded example).
    pub(super) fn register_default_patch_baseline(&mut self) -> Answer {
        let id = self.text("BaselineId");
        if BaselineId::of_aws_id(id).is_err() {
            return Err(AwsError::bare("InvalidResourceId"));
        }
        let chosen = self.place.baseline(id).ok_or_else(does_not_exist)?.summary.clone();
        for baseline in &mut self.place.baselines {
            if baseline.summary.operating_system == chosen.operating_system {
                baseline.summary.default = baseline.summary.id == chosen.id;
            }
        }
        Ok(json!({ "BaselineId": chosen.id.to_string() }))
    }
}
