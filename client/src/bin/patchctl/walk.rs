//! `patchctl walk`: an operator's first day, explained at each step, against the server it is connected to.

mod baselines;
mod schedule;

use crate::{
    Context,
    args::{Change, Consent},
    consent,
    failure::{Exit, Failure},
    instances, operations,
};
use clap::Args;
use patchplane_client::{
    Error, Listing, Location,
    api::{
        self, Instance, PatchOperation, Plan, patch_operation::Kind, patch_operation::RebootOption,
        patch_operation_target::State,
    },
    view::quoted,
};
use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
};

/// The most instances that the walk takes by itself.
const MOST: usize = 3;
/// Patches shown of an instance.
const PATCHES: usize = 8;

#[derive(Debug, Args)]
#[command(after_help = "\
Every step says what happens, shows the command that does the same, and waits for Enter; before each change the plan is
shown and you are asked. Without a yes it only looks.

Examples:
  patchctl walk                                  against `patchplane serve --simulated`, for example
  patchctl walk --group canary --instance i-0123456789abcdef0
  patchctl walk --zone Europe/Berlin             whose clocks the schedule of the last step goes by
  patchctl walk --yes                            runs through, changes included")]
pub(crate) struct Walk {
    /// The patch group to walk with; made if there is none.
    #[arg(long, default_value = "walk")]
    group: String,
    /// Take this instance; unless given, up to three that could be patched and are in no group.
    #[arg(long = "instance", value_name = "ID")]
    instances: Vec<String>,
    /// The operating system whose baseline and instances are taken.
    #[arg(long, value_name = "OS", default_value = "AMAZON_LINUX_2")]
    os: String,
    /// The zone of the nightly schedule; --tz does as well, and unless given this machine's is taken.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Do not ask and do not wait: run through, changes included.
    #[arg(short, long)]
    yes: bool,
}

/// What the steps work with.
struct Tour<'a> {
    context: &'a Context,
    location: Location,
    group: String,
    os: String,
    zone: String,
    yes: bool,
}

impl Walk {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { group, instances, os, zone, yes } = self;
        if context.out.is_json() {
            return Err(Failure::Usage {
                what: "the walk is for people, and speaks in sentences".to_owned(),
                next: "leave -o out (and `output` in the profile), or use the commands that it shows".to_owned(),
            });
        }
        if !yes && !io::stdin().is_terminal() {
            return Err(Failure::Usage {
                what: "the walk waits and asks, and standard input is no terminal to ask on".to_owned(),
                next: "add --yes to run through, changes included".to_owned(),
            });
        }
        let location = location(context, yes).await?;
        let zone = zone.or_else(|| context.out.tz.clone()).unwrap_or_else(|| match context.out.view.zone_name() {
            // Of somebody in UTC there is more to see elsewhere.
            "UTC" | "local" => "Asia/Tokyo".to_owned(),
            zone => zone.to_owned(),
        });
        let tour = Tour { context, location, group, os, zone, yes };
        match tour.walk(instances).await {
            Err(Failure::Declined) => {
                tour.say("Here you ended the walk. `patchctl walk` begins it again; what is done stays done.")?;
                Ok(Exit::Well)
            }
            ended => ended,
        }
    }
}

// === impl Tour ===

impl Tour<'_> {
    async fn walk(&self, chosen: Vec<String>) -> Result<Exit, Failure> {
        let members = self.readiness(chosen).await?;
        self.next().await?;
        let predefined = self.baseline().await?;
        let baseline = self.customise(predefined).await?;
        self.next().await?;
        self.attach(&baseline).await?;
        self.next().await?;
        let joined = self.join(&members).await?;
        if joined == 0 {
            self.say("The group has no instance, and the other steps need one. That is all for today.")?;
            return Ok(Exit::Well);
        }
        self.next().await?;
        self.scan().await?;
        self.next().await?;
        self.report(&members).await?;
        self.next().await?;
        self.install().await?;
        self.next().await?;
        let schedule = self.schedule().await?;
        self.next().await?;
        self.history(&baseline, &members, schedule).await?;
        Ok(Exit::Well)
    }

    // === the steps ===

    /// Which instances are there, and can they be patched? Gives those to go on with.
    async fn readiness(&self, chosen: Vec<String>) -> Result<Vec<String>, Failure> {
        self.title("1. Can these instances be patched?")?;
        self.say(
            "Systems Manager patches an instance if EC2 runs it, an agent on it answers, and its operating system is \
             known. When something is in the way, AWS says nothing: the instance is simply left out. Here each obstacle \
             has a name, the evidence, and what to do.",
        )?;
        self.command("instances")?;
        let request = api::ListInstancesRequest { parent: self.location.to_string(), ..Default::default() };
        let all = Listing::collect(self.context.client.list_instances(request)).await?.items;
        self.show(&self.context.out.view.instances(&all))?;

        let mut members: Vec<String> = chosen;
        if members.is_empty() {
            let fit = |instance: &&Instance| {
                let free = instance.patch_group.is_empty() && !has_misspelt_tag(instance);
                let ready = instance.power_state == "running" && instance.ping_status == "Online";
                ready && instance.operating_system == self.os && (free || instance.patch_group == self.group)
            };
            let mut fit: Vec<_> = all.iter().filter(fit).collect();
            fit.sort_by_key(|instance| instance.patch_group.is_empty());
            members = fit.into_iter().take(MOST).map(|instance| instance.instance_id.clone()).collect();
        }
        if members.is_empty() {
            return Err(Failure::Usage {
                what: format!("no running, managed {} instance without a group is at {}", self.os, self.location),
                next: "name instances with --instance, another --os, or another --account and --region".to_owned(),
            });
        }
        let mut asked = members.clone();
        asked.extend(in_the_way(&all));
        self.command(&format!("readiness {}", asked.join(" ")))?;
        let mut answers = Vec::new();
        for id in &asked {
            let name = self.location.instance(id);
            answers.push(
                self.context.client.check_readiness(api::CheckReadinessRequest { name, ..Default::default() }).await?,
            );
        }
        self.show(&self.context.out.view.readiness(&answers))?;
        self.say(&format!("The walk goes on with {}.", members.join(", ")))?;
        Ok(members)
    }

    /// Puts the instances into the group; gives how many are in it.
    async fn join(&self, members: &[String]) -> Result<i32, Failure> {
        self.title("4. Put the instances into the group")?;
        self.say(
            "An instance is in a group by a tag, and its key must be spelt exactly: `Patch Group`, or `PatchGroup` where \
             the instance shows its tags in its metadata, which forbids the space. A misspelt key patches nothing and says \
             nothing, so the key is chosen for you.",
        )?;
        self.command(&format!("groups add {} {}", quoted(&self.group), members.join(" ")))?;
        let name = self.location.patch_group(&self.group);
        let request =
            api::AddInstancesRequest { name: name.clone(), instance_ids: members.to_vec(), ..Default::default() };
        let call = |Change { validate_only, expected_plan, request_id }| {
            let request = api::AddInstancesRequest { validate_only, expected_plan, request_id, ..request.clone() };
            self.context.client.add_instances(request)
        };
        let done = self.change(call, |answer| answer.plan.as_ref(), |_| "Write these tags?".to_owned()).await?;
        if let Some(answer) = done {
            self.show(&self.context.out.view.instance_results(&answer.results))?;
        }
        match self.context.client.get_patch_group(api::GetPatchGroupRequest { name }).await {
            Ok(answer) => Ok(answer.patch_group.unwrap_or_default().instance_count),
            Err(error) if error.reason() == Some("PATCH_GROUP_NOT_FOUND") => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self) -> Result<(), Failure> {
        self.title("5. Scan: compare the instances with their baselines")?;
        self.say(
            "A scan changes nothing on the instances. The command has a step for each platform, PatchWindows, PatchLinux \
             and PatchMacOS; the steps of other platforms are skipped. It is followed to its end; Ctrl-C would stop the \
             watching, not the scan.",
        )?;
        self.command(&format!("scan --group {}", quoted(&self.group)))?;
        self.operate(Kind::Scan, RebootOption::Unspecified, "Scan them?").await
    }

    async fn report(&self, members: &[String]) -> Result<(), Failure> {
        self.title("6. The report: what is missing?")?;
        self.say(
            "Each instance reported each of its patches: missing, installed, installed besides the baseline, waiting for a \
             reboot, failed. The summary counts them for the group.",
        )?;
        self.command(&format!("report --group {}", quoted(&self.group)))?;
        self.summary().await?;
        if let Some(member) = members.first() {
            self.command(&format!("instances patches {member} --state Missing"))?;
            let parent = self.location.instance(member);
            let patches = instances::patches(self.context, parent, "Missing".to_owned()).await?;
            let (shown, more) = patches.split_at(patches.len().min(PATCHES));
            let mut text = match shown {
                [] => "Nothing is missing.\n".to_owned(),
                shown => self.context.out.view.patches(shown),
            };
            if !more.is_empty() {
                text += &format!("… and {} more\n", more.len());
            }
            self.show(&text)?;
        }
        Ok(())
    }

    async fn install(&self) -> Result<(), Failure> {
        self.title("7. Install what is missing, and reboot where needed")?;
        self.say(
            "An installation is careful unless told otherwise: a tenth of the instances at once, and no more are begun when \
             more than 5 % have failed. You must say whether instances may reboot. An instance has succeeded when it has \
             reported under this very operation, and its agent was heard of again.",
        )?;
        self.command(&format!("install --group {} --reboot if-needed", quoted(&self.group)))?;
        self.operate(Kind::Install, RebootOption::RebootIfNeeded, "").await?;
        self.command(&format!("report --group {}", quoted(&self.group)))?;
        self.summary().await
    }

    // === what steps have in common ===

    /// Starts an operation on the group if the user agrees, and follows it to its end.
    async fn operate(&self, kind: Kind, reboot: RebootOption, question: &str) -> Result<(), Failure> {
        let operation = PatchOperation {
            kind: kind.into(),
            targets: Some(api::TargetSelection { patch_groups: vec![self.group.clone()], ..Default::default() }),
            reboot_option: reboot.into(),
            note: "patchctl walk".to_owned(),
            ..Default::default()
        };
        let request = api::CreatePatchOperationRequest {
            parent: self.location.to_string(),
            patch_operation: Some(operation),
            ..Default::default()
        };
        let call = |change| self.context.client.create_patch_operation(operations::framed(request.clone(), change));
        let ask = |created: &api::CreatePatchOperationResponse| match question {
            "" => operations::question(created),
            question => question.to_owned(),
        };
        let Some(created) = self.change(call, |created| created.plan.as_ref(), ask).await? else { return Ok(()) };
        let name = created.patch_operation.unwrap_or_default().name;
        let followed = operations::follow(self.context, &name, |_| Ok(())).await?;
        operations::result(self.context, &followed)?;
        self.show("")?;
        if followed.targets.values().any(|target| target.state() == State::Unknown) {
            self.say("UNKNOWN means that nobody can say what became of an instance; no machine tries it again.")?;
        }
        Ok(())
    }

    async fn summary(&self) -> Result<(), Failure> {
        let request = api::GetComplianceSummaryRequest {
            parent: self.location.to_string(),
            patch_group: self.group.clone(),
            ..Default::default()
        };
        let summary = self.context.client.get_compliance_summary(request).await?.summary.unwrap_or_default();
        self.show(&self.context.out.view.compliance(&summary))
    }

    /// Does a change with the user's consent; none if it was not given.
    async fn change<R, F>(
        &self,
        call: impl Fn(Change) -> F,
        plan: impl Fn(&R) -> Option<&Plan>,
        question: impl Fn(&R) -> String,
    ) -> Result<Option<R>, Failure>
    where
        F: Future<Output = Result<R, Error>>,
    {
        let consent = Consent { yes: self.yes, ..Consent::default() };
        match self.context.with_consent(consent, call, &plan, question).await {
            Ok(done) => {
                if let Some(plan) = plan(&done).filter(|_| self.yes) {
                    self.show(&self.context.out.view.plan(plan))?;
                }
                Ok(Some(done))
            }
            Err(Failure::Declined) => {
                self.say("Left as it is.")?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Waits until the user wants to go on; `q`, the end of input and Ctrl-C end the walk.
    async fn next(&self) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        match consent::line("Enter goes on, q ends the walk: ").await? {
            Some(line) if !line.trim().eq_ignore_ascii_case("q") => Ok(()),
            _ => Err(Failure::Declined),
        }
    }

    fn title(&self, title: &str) -> Result<(), Failure> {
        self.context.out.write(&format!("\n{}\n\n", self.context.out.view.heading(title)))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.context.out.write(&(self.context.out.view.paragraph(text) + "\n"))
    }

    /// The command that does the same.
    fn command(&self, command: &str) -> Result<(), Failure> {
        let location = format!("--account {} --region {}", self.location.account(), self.location.region());
        let place = if self.context.scope.one().is_ok() { String::new() } else { format!("{location} ") };
        self.context.out.write(&format!("{}\n", self.context.out.view.aside(&format!("$ patchctl {place}{command}"))))
    }

    fn show(&self, text: &str) -> Result<(), Failure> {
        self.context.out.write(&format!("{text}\n"))
    }
}

/// The one location to walk in: as was said, the only one there is, or the one that the user picks.
async fn location(context: &Context, yes: bool) -> Result<Location, Failure> {
    let unsaid = match context.scope.one() {
        Ok(location) => return Ok(location),
        Err(unsaid) => unsaid,
    };
    let request = api::ListInstancesRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let all = Listing::collect(context.client.list_instances(request)).await?;
    let found: BTreeSet<Location> = all.items.iter().filter_map(|instance| Location::of(&instance.name)).collect();
    let found: Vec<Location> = found.into_iter().collect();
    match found.as_slice() {
        [one] => return Ok(one.clone()),
        [] => return Err(unsaid),
        _ if yes => return Err(unsaid),
        _ => {}
    }
    for (index, location) in found.iter().enumerate() {
        let instances = all.items.iter().filter(|instance| Location::of(&instance.name).as_ref() == Some(location));
        context.out.write(&format!("{:3}  {location}, {} instances\n", index + 1, instances.count()))?;
    }
    let line = consent::line("Where? Give a number: ").await?.unwrap_or_default();
    let picked = line.trim().parse::<usize>().ok().and_then(|number| found.get(number.checked_sub(1)?));
    picked.cloned().ok_or(unsaid)
}

/// One telling instance of each sort that cannot be patched, or not as somebody meant.
fn in_the_way(all: &[Instance]) -> Vec<String> {
    let running = |instance: &Instance| instance.power_state == "running";
    let sorts: [&dyn Fn(&Instance) -> bool; 4] = [
        &|instance| instance.power_state == "stopped",
        &|instance| running(instance) && instance.ping_status.is_empty(),
        &|instance| running(instance) && instance.ping_status == "ConnectionLost",
        &|instance| running(instance) && has_misspelt_tag(instance),
    ];
    let first = |sort: &&dyn Fn(&Instance) -> bool| all.iter().find(|instance| sort(instance));
    sorts.iter().filter_map(first).map(|instance| instance.instance_id.clone()).collect()
}

/// Whether a tag's key looks like the group tag's and is not.
fn has_misspelt_tag(instance: &Instance) -> bool {
    let alike = |key: &str| key.replace([' ', '-', '_'], "").eq_ignore_ascii_case("patchgroup");
    instance.tags.keys().any(|key| alike(key) && key != "Patch Group" && key != "PatchGroup")
}
