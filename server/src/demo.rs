//! An operator's first day, walked through the public client: what `patchplane demo` shows, and checks at every step.

mod baselines;
mod operations;
mod schedule;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use patchplane_client::{
    Client, Listing, Location,
    api::{
        self, Baseline, CheckReadinessResponse, ComplianceSummary, Instance, InstancePatch, instance_result,
        readiness_finding::Code,
    },
    name::id,
    view::View,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

/// The group that the walk makes.
const GROUP: &str = "web";
/// What the baselines are for.
const OS: &str = "AMAZON_LINUX_2";
/// Used where no terminal says how wide it is.
const WIDTH: u16 = 140;
/// Patches shown of each instance, and of a preview; more are counted.
const PATCHES_SHOWN: usize = 6;

/// Walks through patching the group `web` of one location (`accounts/{account}/regions/{region}`). Writes what it asks
/// and what is answered to `out`; `pass` lets the account's clock pass to a moment. Fails at the first answer that is not
/// as it should be.
pub async fn run(client: &Client, location: &Location, pass: impl Fn(Timestamp), out: &mut impl Write) -> Result<()> {
    let walk = &mut Walk { client, location, out, view: View::for_stdout().or_width(WIDTH) };

    walk.step("1. Which instances are there, and can they be patched?")?;
    let instances = walk.instances().await?;
    walk.readiness(&instances).await?;

    walk.step("2. What does the predefined baseline approve, and what would a copy with one change?")?;
    let baseline = walk.predefined().await?;
    walk.customise(&baseline).await?;

    walk.step("3. Attach the predefined baseline to the patch group \"web\"")?;
    walk.attach(&baseline).await?;

    walk.step("4. Put the Amazon Linux 2 instances without a group into it")?;
    let members = walk.add(&instances).await?;

    walk.step("5. Scan the group now")?;
    let scan = walk.scan(&members).await?;

    walk.step("6. The report: what is missing?")?;
    let before = walk.report(&members).await?;
    ensure!(missing(&before) > 0, "the scan should have found missing patches");

    walk.step("7. Install what is missing, and reboot where needed")?;
    walk.refused_without_reboot_option().await?;
    let install = walk.install(&members).await?;
    let after = walk.summary().await?;
    ensure!(missing(&after) == 0, "nothing should be missing after the installation, but {} are", missing(&after));
    ensure!(after.compliant_count == count(&members)?, "all members should comply after the installation");

    walk.step("8. Scan and install every night at 03:00 in Tokyo")?;
    let (schedule, next) = walk.schedule().await?;

    walk.step("The history, before and after the account's clock passes 03:00 in Tokyo")?;
    walk.history(&[scan, install]).await?;
    walk.night(&schedule, next, &members, &pass).await
}

/// What every step works with.
struct Walk<'a, W> {
    client: &'a Client,
    location: &'a Location,
    out: &'a mut W,
    view: View,
}

impl<W: Write> Walk<'_, W> {
    fn step(&mut self, title: &str) -> Result<()> {
        let title = self.view.heading(title);
        Ok(writeln!(self.out, "\n{title}\n")?)
    }

    /// Shows a request in one line.
    fn ask(&mut self, request: &str) -> Result<()> {
        let request = self.view.aside(&format!("> {request}"));
        Ok(writeln!(self.out, "{request}")?)
    }

    fn answer(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.out, "{text}")?)
    }

    // === step 1 ===

    async fn instances(&mut self) -> Result<Vec<Instance>> {
        self.ask(&format!("InstanceService.ListInstances(parent: {})", self.location))?;
        let request = api::ListInstancesRequest { parent: self.location.to_string(), ..Default::default() };
        let listing = Listing::collect(self.client.list_instances(request)).await?;
        self.answer(&self.view.instances(&listing.items))?;
        ensure!(listing.unreachable.is_empty(), "the location should be reachable");
        ensure!(!listing.items.is_empty(), "there should be instances");
        Ok(listing.items)
    }

    /// Checks a telling instance of each sort, and one that does not exist.
    async fn readiness(&mut self, instances: &[Instance]) -> Result<()> {
        let find = |what: &str, is: &dyn Fn(&Instance) -> bool| {
            let found = instances.iter().find(|instance| is(instance));
            found.map(|instance| instance.name.clone()).with_context(|| format!("there should be an instance {what}"))
        };
        let running = |instance: &Instance| instance.power_state == "running";
        let online = |instance: &Instance| running(instance) && instance.ping_status == "Online";
        let expected = [
            (find("that can be patched", &|i| is_free(i) && !has_misspelt_tag(i))?, Code::NoPatchGroup, true),
            (
                find("in a group without baseline", &|i| online(i) && !i.patch_group.is_empty())?,
                Code::GroupWithoutBaseline,
                true,
            ),
            (find("with a misspelt tag", &|i| online(i) && has_misspelt_tag(i))?, Code::TagKeyWrong, true),
            (find("that is stopped", &|i| i.power_state == "stopped")?, Code::NotRunning, false),
            (find("that is not managed", &|i| running(i) && i.ping_status.is_empty())?, Code::NotManaged, false),
            (
                find("whose agent is offline", &|i| running(i) && i.ping_status == "ConnectionLost")?,
                Code::AgentOffline,
                false,
            ),
            (self.location.instance("i-00000000000000000"), Code::NotFound, false),
        ];
        let mut answers: Vec<CheckReadinessResponse> = Vec::new();
        for (name, ..) in &expected {
            self.ask(&format!("InstanceService.CheckReadiness(name: …/instances/{})", id(name)))?;
            let request = api::CheckReadinessRequest { name: name.clone(), ..Default::default() };
            answers.push(self.client.check_readiness(request).await?);
        }
        self.answer(&self.view.readiness(&answers))?;
        for ((name, code, ready), answer) in expected.iter().zip(&answers) {
            let finding = answer.findings.iter().find(|finding| finding.code() == *code);
            let finding = finding.with_context(|| format!("{name} should have the finding {}", code.as_str_name()))?;
            ensure!(finding.blocking != *ready, "{} should block exactly if {name} is not ready", code.as_str_name());
            ensure!(answer.ready == *ready, "{name} should{} be ready", if *ready { "" } else { " not" });
            ensure!(!finding.evidence.is_empty() && !finding.fix.is_empty(), "{name}: evidence and fix should be told");
        }
        Ok(())
    }

    // === steps 3 and 4 ===

    async fn attach(&mut self, baseline: &Baseline) -> Result<()> {
        let name = self.location.patch_group(GROUP);
        self.ask(&format!("PatchGroupService.AttachBaseline(name: {name}, baseline: …/{})", id(&baseline.name)))?;
        let request =
            api::AttachBaselineRequest { name: name.clone(), baseline: baseline.name.clone(), ..Default::default() };
        let plan = self.client.attach_baseline(request).await?.plan.context("a plan should be answered")?;
        self.answer(&self.view.plan(&plan))?;

        self.ask(&format!("PatchGroupService.GetPatchGroup(name: {name})"))?;
        let answer = self.client.get_patch_group(api::GetPatchGroupRequest { name }).await?;
        let group = answer.patch_group.context("a group should be answered")?;
        self.answer(&self.view.group(&group))?;
        let attached = |attached: &api::patch_group::AttachedBaseline| attached.baseline == baseline.name;
        ensure!(group.baselines.iter().any(attached), "the group should have the baseline attached");
        Ok(())
    }

    async fn add(&mut self, instances: &[Instance]) -> Result<BTreeSet<String>> {
        let free = instances.iter().filter(|instance| is_free(instance));
        let members: BTreeSet<String> = free.map(|instance| instance.instance_id.clone()).collect();
        let name = self.location.patch_group(GROUP);
        self.ask(&format!("PatchGroupService.AddInstances(name: {name}, instance_ids: {} of them)", members.len()))?;
        let request =
            api::AddInstancesRequest { name, instance_ids: members.iter().cloned().collect(), ..Default::default() };
        let answer = self.client.add_instances(request).await?;
        self.answer(&self.view.instance_results(&answer.results))?;
        ensure!(answer.results.len() == members.len(), "each instance should have a result");
        for result in &answer.results {
            let good =
                matches!(result.outcome(), instance_result::Outcome::Added | instance_result::Outcome::Unchanged);
            ensure!(good, "{} should have been added: {}", result.instance_id, result.message);
            let key = result.tag_key.as_str();
            ensure!(["Patch Group", "PatchGroup"].contains(&key), "{} got the tag key {key:?}", result.instance_id);
        }
        let unspaced = answer.results.iter().any(|result| result.tag_key == "PatchGroup");
        ensure!(unspaced, "where instance metadata shows tags, the key should be `PatchGroup`");
        Ok(members)
    }

    // === step 6 ===

    async fn report(&mut self, members: &BTreeSet<String>) -> Result<ComplianceSummary> {
        for member in members {
            let parent = self.location.instance(member);
            self.ask(&format!("InstanceService.ListInstancePatches(parent: …/instances/{member})"))?;
            let request = api::ListInstancePatchesRequest { parent, ..Default::default() };
            let mut patches: Vec<InstancePatch> = self.client.list_instance_patches(request).try_collect().await?;
            ensure!(!patches.is_empty(), "{member} should report patches after the scan");
            patches.sort_by_key(|patch| patch.state != "Missing");
            let (shown, more) = patches.split_at(patches.len().min(PATCHES_SHOWN));
            let mut text = self.view.patches(shown);
            if !more.is_empty() {
                text += &format!("… and {} more: {}\n", more.len(), states(more));
            }
            self.answer(&text)?;
        }
        self.summary().await
    }

    async fn summary(&mut self) -> Result<ComplianceSummary> {
        let (parent, patch_group) = (self.location.to_string(), GROUP.to_owned());
        self.ask(&format!("ComplianceService.GetComplianceSummary(parent: {parent}, patch_group: {patch_group})"))?;
        let request = api::GetComplianceSummaryRequest { parent, patch_group, ..Default::default() };
        let answer = self.client.get_compliance_summary(request).await?;
        let summary = answer.summary.context("a summary should be answered")?;
        self.answer(&self.view.compliance(&summary))?;
        Ok(summary)
    }
}

/// Whether it can be patched by the baseline, and is in no group.
fn is_free(instance: &Instance) -> bool {
    let online = instance.power_state == "running" && instance.ping_status == "Online";
    online && instance.operating_system == OS && instance.patch_group.is_empty()
}

/// Whether a tag's key looks like the group tag's and is not (S 5.1).
fn has_misspelt_tag(instance: &Instance) -> bool {
    let looks_alike = |key: &str| key.replace([' ', '-', '_'], "").eq_ignore_ascii_case("patchgroup");
    instance.tags.keys().any(|key| looks_alike(key) && key != "Patch Group" && key != "PatchGroup")
}

fn missing(summary: &ComplianceSummary) -> i32 {
    summary.patches.as_ref().map_or(0, |patches| patches.missing)
}

fn count(members: &BTreeSet<String>) -> Result<i32> {
    Ok(i32::try_from(members.len())?)
}

/// How many patches are in which state, such as `12 Installed, 1 Missing`.
fn states(patches: &[InstancePatch]) -> String {
    let mut numbers = BTreeMap::<&str, usize>::new();
    for patch in patches {
        *numbers.entry(&patch.state).or_default() += 1;
    }
    numbers.iter().map(|(state, number)| format!("{number} {state}")).collect::<Vec<_>>().join(", ")
}
