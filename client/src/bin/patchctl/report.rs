//! `patchctl report`.

use crate::{
    Context,
    failure::{Exit, Failure},
    instances,
};
use clap::{Args, ValueEnum};
use patchplane_client::{
    Listing,
    api::{self, instance_compliance::Status},
    name,
};
use serde_json::json;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl report                                   the whole location
  patchctl report --group web --patches --state Missing")]
pub(crate) struct Report {
    /// Only instances of this patch group.
    #[arg(long)]
    group: Option<String>,
    /// List only instances whose last report was judged by this baseline: pb-….
    #[arg(long, value_name = "ID")]
    baseline: Option<String>,
    /// List only instances with this operating system, such as AMAZON_LINUX_2.
    #[arg(long, value_name = "SYSTEM")]
    os: Option<String>,
    /// List only instances that stand so.
    #[arg(long, value_enum)]
    status: Option<Standing>,
    /// List only instances with a patch that does not comply at this level: CRITICAL … UNSPECIFIED.
    #[arg(long, value_name = "LEVEL")]
    severity: Option<String>,
    /// After how many days a report is stale, and neither compliant nor not.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=365))]
    stale_after: u16,
    /// List each instance's patches too.
    #[arg(long)]
    patches: bool,
    /// With --patches: only those in this state, such as Missing.
    #[arg(long, requires = "patches")]
    state: Option<String>,
}

/// Where an instance stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Standing {
    Compliant,
    NonCompliant,
    Stale,
    NeverReported,
    NotManaged,
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Compliant => Self::Compliant,
            Standing::NonCompliant => Self::NonCompliant,
            Standing::Stale => Self::Stale,
            Standing::NeverReported => Self::NeverReported,
            Standing::NotManaged => Self::NotManaged,
        }
    }
}

impl Report {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, scope, out } = context;
        let parent = scope.one()?.to_string();
        let patch_group = self.group.unwrap_or_default();
        let stale_after_days = self.stale_after.into();
        let request = api::GetComplianceSummaryRequest {
            parent: parent.clone(),
            patch_group: patch_group.clone(),
            stale_after_days,
        };
        let summary = client.get_compliance_summary(request).await?.summary.unwrap_or_default();
        let request = api::ListInstanceComplianceRequest {
            parent,
            patch_group,
            baseline_id: self.baseline.as_deref().map(name::id).unwrap_or_default(),
            operating_system: self.os.unwrap_or_default(),
            status: self.status.map_or(Status::Unspecified, Status::from).into(),
            stale_after_days,
            severity: self.severity.unwrap_or_default(),
            ..Default::default()
        };
        let Listing { items, unreachable } = Listing::collect(client.list_instance_compliance(request)).await?;
        let exit = out.warn(&unreachable);

        let mut patches = Vec::new();
        for instance in items.iter().filter(|instance| self.patches && instance.counts.is_some()) {
            let state = self.state.clone().unwrap_or_default();
            patches.push((instance, instances::patches(context, instance.name.clone(), state).await?));
        }

        if let Some(summary) = out.json("ComplianceSummary", &summary)? {
            let mut details = Vec::new();
            for (instance, patches) in &patches {
                let all = api::ListInstancePatchesResponse { patches: patches.clone(), ..Default::default() };
                let patches = out.json("ListInstancePatchesResponse", &all)?.map(|mut all| all["patches"].take());
                details.push(json!({ "instance": instance.name, "patches": patches }));
            }
            let all =
                api::ListInstanceComplianceResponse { instances: items.clone(), unreachable, ..Default::default() };
            let instances = out.json("ListInstanceComplianceResponse", &all)?.map(|mut all| all["instances"].take());
            out.write_json(&json!({ "summary": summary, "instances": instances, "patches": details }))?;
            return Ok(exit);
        }
        let mut text = out.view.compliance(&summary) + "\n" + &out.view.instance_compliance(&items);
        for (instance, patches) in patches.iter().filter(|(_, patches)| !patches.is_empty()) {
            let title = format!("{} {}", instance.instance_id, instance.display_name);
            text += &format!("\n{}\n{}", out.view.heading(&title), out.view.patches(patches));
        }
        out.write(&text)?;
        Ok(exit)
    }
}
