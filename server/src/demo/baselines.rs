//! Step 2: AWS's own baseline, and a copy with one change, seen before it is made.

use super::{OS, PATCHES_SHOWN, Walk};
use anyhow::{Context as _, Result, ensure};
use patchplane_client::{
    Listing,
    api::{
        self, ApprovalRule, Baseline, PatchFilter, approval_rule::Approval, preview_baseline_request::Subject,
        previewed_patch::State,
    },
    name::id,
};
use std::{collections::BTreeSet, io::Write};

const BASELINE: &str = "AWS-AmazonLinux2DefaultPatchBaseline";
/// The copy's name.
const CLONE: &str = "critical-after-a-day";
/// A group that is there, whose instances the copy would concern.
const OTHER_GROUP: &str = "db";

impl<W: Write> Walk<'_, W> {
    /// Looks at AWS's own baseline.
    pub(super) async fn predefined(&mut self) -> Result<Baseline> {
        let (parent, os) = (self.location.to_string(), OS.to_owned());
        self.ask(&format!(
            "BaselineService.ListBaselines(parent: {parent}, operating_system: {os}, owner: OWNER_AWS)"
        ))?;
        let owner = api::baseline::Owner::Aws.into();
        let request = api::ListBaselinesRequest { parent, operating_system: os, owner, ..Default::default() };
        let listing = Listing::collect(self.client.list_baselines(request)).await?;
        self.answer(&self.view.baselines(&listing.items))?;
        let listed = listing.items.into_iter().find(|baseline| baseline.display_name == BASELINE);
        let name = listed.with_context(|| format!("{BASELINE} should be listed"))?.name;

        self.ask(&format!("BaselineService.GetBaseline(name: {name})"))?;
        let answer = self.client.get_baseline(api::GetBaselineRequest { name }).await?;
        let baseline = answer.baseline.context("a baseline should be answered")?;
        self.answer(&self.view.baseline(&baseline))?;
        ensure!(
            approves(&baseline, 7, &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical", "Important"])])
                && approves(&baseline, 7, &[("CLASSIFICATION", &["Bugfix"])]),
            "it should approve critical and important Security, and Bugfix, each after 7 days"
        );
        Ok(baseline)
    }

    /// Shows what a copy that approves critical security patches alone, after one day, would approve; then makes it.
    pub(super) async fn customise(&mut self, predefined: &Baseline) -> Result<()> {
        let filter = |key: &str, value: &str| PatchFilter { key: key.to_owned(), values: vec![value.to_owned()] };
        let rule = ApprovalRule {
            filters: vec![filter("CLASSIFICATION", "Security"), filter("SEVERITY", "Critical")],
            approval: Some(Approval::ApproveAfterDays(1)),
            ..Default::default()
        };
        let (display_name, approval_rules) = (CLONE.to_owned(), vec![rule]);
        let changes = Baseline { display_name, approval_rules, ..Default::default() };

        self.ask(&format!(
            "BaselineService.PreviewBaseline(draft: a copy that approves only critical Security patches, after 1 day, \
             compare_to: …/{}, patch_group: {OTHER_GROUP})",
            id(&predefined.name)
        ))?;
        let draft = Baseline { operating_system: OS.to_owned(), ..changes.clone() };
        let request = api::PreviewBaselineRequest {
            parent: self.location.to_string(),
            subject: Some(Subject::Draft(draft)),
            compare_to: predefined.name.clone(),
            patch_group: OTHER_GROUP.to_owned(),
            max_patches: i32::try_from(PATCHES_SHOWN)?,
            differences_only: true,
            ..Default::default()
        };
        let preview = self.client.preview_baseline(request).await?;
        self.answer(&self.view.preview(&preview))?;
        let admitted = |counts: Option<api::PreviewCounts>| {
            let counts = counts.unwrap_or_default();
            counts.approved + counts.pending + counts.undated
        };
        let (fewer, all) = (admitted(preview.counts), admitted(preview.compared_counts));
        ensure!(0 < fewer && fewer < all, "the copy should admit some of the {all} patches, not {fewer}");
        ensure!(preview.difference_count == all - fewer, "they should differ on what the copy leaves out");
        ensure!(!preview.patches.is_empty(), "the preview should name patches");
        for row in &preview.patches {
            let patch = row.patch.clone().unwrap_or_default();
            let critical = patch.classification == "Security" && patch.severity == "Critical";
            ensure!(!critical && row.state() == State::Never, "the copy should admit {}", patch.kb_id);
            ensure!(!row.why.is_empty(), "it should be told why {} is not approved", patch.kb_id);
        }
        let impact = preview.impact.context("it should be told what would change in the group")?;
        ensure!(impact.instances_changed > 0, "something should change on the instances of the group");
        ensure!(!preview.limits.is_empty(), "what a preview cannot know should be told");

        self.ask(&format!("BaselineService.CreateBaseline(clone_from: …/{}, …)", id(&predefined.name)))?;
        let request = api::CreateBaselineRequest {
            parent: self.location.to_string(),
            baseline: Some(changes),
            clone_from: predefined.name.clone(),
            ..Default::default()
        };
        let created = self.client.create_baseline(request).await?;
        let clone = created.baseline.context("the copy should be answered")?;
        self.answer(&self.view.baseline_change(created.plan.as_ref(), Some(&clone), false))?;
        let name = clone.name.clone();
        let answer = self.client.get_baseline(api::GetBaselineRequest { name }).await?;
        let clone = answer.baseline.context("the copy should be there")?;
        ensure!(clone.owner() == api::baseline::Owner::Self_, "the copy should be the account's own");
        ensure!(clone.operating_system == OS, "the copy should be for the same operating system");
        ensure!(
            clone.approval_rules.len() == 1
                && approves(&clone, 1, &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical"])]),
            "the copy should approve critical Security patches after 1 day, and nothing else"
        );
        Ok(())
    }
}

/// Whether a rule approves after so many days what has exactly these values.
fn approves(baseline: &Baseline, days: i32, filters: &[(&str, &[&str])]) -> bool {
    let after = Some(Approval::ApproveAfterDays(days));
    let is =
        |rule: &ApprovalRule| rule.approval == after && filters.iter().all(|&(key, values)| has(rule, key, values));
    baseline.approval_rules.iter().any(is)
}

/// Whether a rule has exactly these values under the key, in any order.
fn has(rule: &ApprovalRule, key: &str, values: &[&str]) -> bool {
    let values: BTreeSet<&str> = values.iter().copied().collect();
    rule.filters.iter().any(|f| f.key == key && f.values.iter().map(String::as_str).collect::<BTreeSet<_>>() == values)
}
