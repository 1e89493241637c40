//! `patchctl report`.

use crate::{
    Context,
    failure::{Exit, Failure},
    instances,
};
use clap::Args;
use patchplane_client::{Listing, api};
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
    /// List each instance's patches too.
    #[arg(long)]
    patches: bool,
    /// With --patches: only those in this state, such as Missing.
    #[arg(long, requires = "patches")]
    state: Option<String>,
}

impl Report {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, scope, out } = context;
        let parent = scope.one()?.to_string();
        let patch_group = self.group.unwrap_or_default();
        let request = api::GetComplianceSummaryRequest { parent: parent.clone(), patch_group: patch_group.clone() };
        let summary = client.get_compliance_summary(request).await?.summary.unwrap_or_default();
        let request = api::ListInstancesRequest { parent, patch_group, ..Default::default() };
        let Listing { items, unreachable } = Listing::collect(client.list_instances(request)).await?;
        let exit = out.warn(&unreachable);

        let mut patches = Vec::new();
        for instance in items.iter().filter(|instance| self.patches && instance.patch_state.is_some()) {
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
            let all = api::ListInstancesResponse { instances: items.clone(), unreachable, ..Default::default() };
            let instances = out.json("ListInstancesResponse", &all)?.map(|mut all| all["instances"].take());
            out.write_json(&json!({ "summary": summary, "instances": instances, "patches": details }))?;
            return Ok(exit);
        }
        let mut text = out.view.compliance(&summary) + "\n" + &out.view.instances(&items);
        for (instance, patches) in patches.iter().filter(|(_, patches)| !patches.is_empty()) {
            let title = format!("{} {}", instance.instance_id, instance.display_name);
            text += &format!("\n{}\n{}", out.view.heading(&title), out.view.patches(patches));
        }
        out.write(&text)?;
        Ok(exit)
    }
}
