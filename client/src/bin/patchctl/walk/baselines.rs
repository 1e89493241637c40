//! Steps 2 and 3: what would be installed, by AWS's baseline or by a copy of it, and on whom.

use super::{PATCHES, Tour};
use crate::{args::Change, baseline_spec, failure::Failure};
use patchplane_client::{
    Listing,
    api::{self, Baseline, approval_rule::Approval, preview_baseline_request::Subject},
    name::id,
    view::{quoted, rule_sentence},
};

impl Tour<'_> {
    /// What does AWS's own baseline approve?
    pub(super) async fn baseline(&self) -> Result<Baseline, Failure> {
        self.title("2. What would be installed?")?;
        self.say(
            "A patch baseline says which patches are approved: by classification and severity, some days after their \
             release. AWS keeps one for each operating system, which nobody can change; one of your own starts as a copy.",
        )?;
        self.command(&format!("baselines --os {} --owner aws", self.os))?;
        let request = api::ListBaselinesRequest {
            parent: self.location.to_string(),
            operating_system: self.os.clone(),
            owner: api::baseline::Owner::Aws.into(),
            ..Default::default()
        };
        let all = Listing::collect(self.context.client.list_baselines(request)).await?.items;
        self.show(&self.context.out.view.baselines(&all))?;
        let Some(chosen) = all.iter().find(|baseline| baseline.default).or(all.first()) else {
            return Err(Failure::Usage {
                what: format!("AWS has no baseline for {}", self.os),
                next: "`patchctl baselines` lists what there is; give its operating system as --os".to_owned(),
            });
        };
        self.command(&format!("baselines get {}", id(&chosen.name)))?;
        let request = api::GetBaselineRequest { name: chosen.name.clone() };
        let baseline = self.context.client.get_baseline(request).await?.baseline.unwrap_or_default();
        self.show(&self.context.out.view.baseline(&baseline))?;
        Ok(baseline)
    }

    /// Shows what a copy with one change would approve, and makes it if the user likes it; gives the baseline to go on with.
    pub(super) async fn customise(&self, predefined: Baseline) -> Result<Baseline, Failure> {
        let Some(rule) = predefined.approval_rules.first() else { return Ok(predefined) };
        let rule = api::ApprovalRule { approval: Some(Approval::ApproveAfterDays(1)), ..rule.clone() };
        let sentence = rule_sentence(&rule);
        self.say(&format!("A copy could approve other patches, for example only this: {sentence}. Before it is made one can see what it would do."))?;
        let (from, short) = (id(&predefined.name), quoted(&baseline_spec::in_short(&rule)));
        self.command(&format!("baselines preview {from} --rule {short} --compare-to {from} --differences"))?;
        let name = format!("{}-after-a-day", self.group.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let changes = Baseline { display_name: name.clone(), approval_rules: vec![rule], ..Default::default() };
        let draft = Baseline { approval_rules: changes.approval_rules.clone(), ..predefined.clone() };
        let request = api::PreviewBaselineRequest {
            parent: self.location.to_string(),
            subject: Some(Subject::Draft(draft)),
            compare_to: predefined.name.clone(),
            differences_only: true,
            max_patches: i32::try_from(PATCHES).unwrap_or(i32::MAX),
            ..Default::default()
        };
        let preview = self.context.client.preview_baseline(request).await?;
        self.show(&self.context.out.view.preview(&preview))?;

        let request = api::ListBaselinesRequest {
            parent: self.location.to_string(),
            operating_system: self.os.clone(),
            owner: api::baseline::Owner::Self_.into(),
            ..Default::default()
        };
        let own = Listing::collect(self.context.client.list_baselines(request)).await?.items;
        if let Some(copy) = own.into_iter().find(|baseline| baseline.display_name == name) {
            self.say(&format!("The copy {name} is there already, and the walk goes on with it."))?;
            return Ok(copy);
        }
        self.command(&format!("baselines clone {from} {name} --rule {short}"))?;
        let request = api::CreateBaselineRequest {
            parent: self.location.to_string(),
            baseline: Some(changes),
            clone_from: predefined.name.clone(),
            ..Default::default()
        };
        let call = |Change { validate_only, expected_plan, request_id }| {
            let request = api::CreateBaselineRequest { validate_only, expected_plan, request_id, ..request.clone() };
            self.context.client.create_baseline(request)
        };
        let done = self.change(call, |answer| answer.plan.as_ref(), |_| "Make this copy?".to_owned()).await?;
        let Some(copy) = done.and_then(|answer| answer.baseline) else {
            self.say("The walk goes on with AWS's own.")?;
            return Ok(predefined);
        };
        self.show(&self.context.out.view.baseline(&copy))?;
        Ok(copy)
    }

    pub(super) async fn attach(&self, baseline: &Baseline) -> Result<(), Failure> {
        self.title(&format!("3. Attach it to the patch group {:?}", self.group))?;
        self.say(
            "Instances get their baseline through a patch group. A group without one gets the default of each operating \
             system, silently; an attached one is what you decided.",
        )?;
        self.command(&format!("groups attach {} {}", quoted(&self.group), id(&baseline.name)))?;
        let request = api::AttachBaselineRequest {
            name: self.location.patch_group(&self.group),
            baseline: baseline.name.clone(),
            ..Default::default()
        };
        let call = |Change { validate_only, expected_plan, request_id }| {
            let request = api::AttachBaselineRequest { validate_only, expected_plan, request_id, ..request.clone() };
            self.context.client.attach_baseline(request)
        };
        let done = self.change(call, |answer| answer.plan.as_ref(), |_| "Attach it?".to_owned()).await?;
        if let Some(group) = done.and_then(|answer| answer.patch_group) {
            self.show(&self.context.out.view.group(&group))?;
        }
        Ok(())
    }
}
