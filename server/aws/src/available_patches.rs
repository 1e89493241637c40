//! What there is to patch with: AWS's catalogue, the words that describe it, and what a Windows baseline makes of it (S 4.8).

use crate::{
    Aws, Page, PageOf, Result,
    calls::{DESCRIBE_AVAILABLE_PATCHES, DESCRIBE_EFFECTIVE_PATCHES, DESCRIBE_PATCH_PROPERTIES},
    page, values,
};
use aws_sdk_ssm::types;
use jiff::Timestamp;
use patchplane_rules::{AvailablePatch, OperatingSystem, PatchFilter};

/// A patch as a Windows baseline sees it (S 4.8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectivePatch {
    pub patch: AvailablePatch,
    pub status: DeploymentStatus,
    pub compliance_level: String,
    /// When it was approved, or will be.
    pub approval: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentStatus {
    Approved,
    PendingApproval,
    ExplicitApproved,
    ExplicitRejected,
    /// One that this release does not know.
    Unknown,
}

impl Aws {
    /// One page of the values that a filter can have; 1 to 50 rows. `patch_set` is for Windows: `OS` or `APPLICATION`.
    pub async fn patch_properties_page(
        &self,
        os: &OperatingSystem,
        property: &str,
        patch_set: Option<&str>,
        page: Page,
    ) -> Result<PageOf<String>> {
        let request = self
            .ssm()
            .describe_patch_properties()
            .operating_system(os.as_str().into())
            .property(property.into())
            .set_patch_set(patch_set.map(types::PatchSet::from))
            .max_results(page.size_within(1..=50))
            .set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_PATCH_PROPERTIES, request.send()).await?;
        // One-entry maps `{"Name": …}` (S 4.8.5).
        let names = answer.properties().iter().filter_map(|entry| entry.get("Name").cloned());
        Ok(PageOf::new(names.collect(), answer.next_token.clone()))
    }

    pub async fn patch_properties(
        &self,
        os: &OperatingSystem,
        property: &str,
        patch_set: Option<&str>,
    ) -> Result<Vec<String>> {
        page::all(&DESCRIBE_PATCH_PROPERTIES, |page| self.patch_properties_page(os, property, patch_set, page)).await
    }

    /// One page of the catalogue, 1 to 100 rows; Windows, Amazon Linux 1 and 2 only, the latter two with a PRODUCT
    /// (S 4.8.1–2). AWS tells the systems apart by the filters.
    pub async fn available_patches_page(
        &self,
        os: &OperatingSystem,
        filters: &[PatchFilter],
        page: Page,
    ) -> Result<PageOf<AvailablePatch>> {
        let filters = filters.iter().map(|PatchFilter { key, values }| {
            types::PatchOrchestratorFilter::builder().key(key).set_values(Some(values.clone())).build()
        });
        let request = self
            .ssm()
            .describe_available_patches()
            .set_filters(Some(filters.collect()))
            .max_results(page.size_within(1..=100))
            .set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_AVAILABLE_PATCHES, request.send()).await?;
        let items = answer.patches().iter().map(|row| patch(os, row)).collect();
        Ok(PageOf::new(items, answer.next_token))
    }

    /// One page of what an existing Windows baseline makes of the catalogue, 1 to 100 rows; no other system has this
    /// (S 4.8.4).
    pub async fn effective_patches_page(&self, aws_id: &str, page: Page) -> Result<PageOf<EffectivePatch>> {
        let request = self
            .ssm()
            .describe_effective_patches_for_patch_baseline()
            .baseline_id(aws_id)
            .max_results(page.size_within(1..=100))
            .set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_EFFECTIVE_PATCHES, request.send()).await?;
        let items = answer.effective_patches().iter().filter_map(effective).collect();
        Ok(PageOf::new(items, answer.next_token))
    }
}

fn effective(row: &types::EffectivePatch) -> Option<EffectivePatch> {
    let status = row.patch_status()?;
    Some(EffectivePatch {
        patch: patch(&OperatingSystem::observed("WINDOWS"), row.patch()?),
        status: match status.deployment_status().map(|status| status.as_str()) {
            Some("APPROVED") => DeploymentStatus::Approved,
            Some("PENDING_APPROVAL") => DeploymentStatus::PendingApproval,
            Some("EXPLICIT_APPROVED") => DeploymentStatus::ExplicitApproved,
            Some("EXPLICIT_REJECTED") => DeploymentStatus::ExplicitRejected,
            _ => DeploymentStatus::Unknown,
        },
        compliance_level: status.compliance_level().map_or("", |level| level.as_str()).to_owned(),
        approval: values::timestamp(status.approval_date()),
    })
}

/// S 4.8.3: Windows and Linux fill different members.
fn patch(os: &OperatingSystem, row: &types::Patch) -> AvailablePatch {
    let text = values::text;
    if os.as_str() == "WINDOWS" {
        let kb_id = text(row.kb_number());
        let bulletin = row.msrc_number().filter(|number| !number.is_empty()).map(str::to_owned);
        let product_family = text(row.product_family());
        return AvailablePatch {
            name: kb_id.clone(),
            title: text(row.title()),
            product: text(row.product()),
            // The catalogue does not say; Windows itself is the only family of the set OS (S 4.3.6).
            patch_set: if matches!(product_family.as_str(), "Windows" | "") { "OS" } else { "APPLICATION" }.to_owned(),
            product_family,
            classification: text(row.classification()),
            severity: text(row.msrc_severity()),
            advisory_ids: bulletin.into_iter().collect(),
            released: values::timestamp(row.release_date()),
            from_security_source: true,
            kb_id,
            ..AvailablePatch::default()
        };
    }
    let (name, arch) = (text(row.name()), text(row.arch()));
    let (epoch, version, release) = (row.epoch().to_string(), text(row.version()), text(row.release()));
    AvailablePatch {
        kb_id: format!("{name}.{arch}"),
        title: format!("{name}.{arch}:{epoch}:{version}-{release}"),
        product: text(row.product()),
        classification: text(row.classification()),
        severity: text(row.severity()),
        repository: text(row.repository()),
        from_security_source: !row.advisory_ids().is_empty(),
        advisory_ids: row.advisory_ids().to_vec(),
        cve_ids: row.cve_ids().to_vec(),
        bugzilla_ids: row.bugzilla_ids().to_vec(),
        released: values::timestamp(row.release_date()),
        name,
        arch,
        epoch,
        version,
        release,
        ..AvailablePatch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::DateTime;

    #[test]
    fn a_windows_patch_is_read_as_recorded() {
        // describe-effective-patches-for-patch-baseline.rst, first example.
        let row = types::Patch::builder()
            .id("fe6bd8c2-3752-4c8b-ab3e-1a7ed08767ba")
            .release_date(DateTime::from_secs(1_544_047_205))
            .title("2018-11 Update for Windows Server 2019 for x64-based Systems (KB4470788)")
            .product_family("Windows")
            .product("WindowsServer2019")
            .classification("SecurityUpdates")
            .msrc_severity("Critical")
            .kb_number("KB4470788")
            .msrc_number("")
            .build();
        let patch = patch(&OperatingSystem::observed("WINDOWS"), &row);
        assert_eq!((patch.kb_id.as_str(), patch.patch_set.as_str()), ("KB4470788", "OS"));
        assert_eq!((patch.severity.as_str(), patch.advisory_ids.len()), ("Critical", 0));
        assert_eq!(patch.released, Some("2018-12-05T22:00:05Z".parse().unwrap()));
    }

    #[test]
    fn a_linux_patch_has_no_date_and_the_title_of_a_report() {
        // S 4.8.3; the form of the title: S 8.1.3.
        let row = types::Patch::builder()
            .name("kernel")
            .epoch(0)
            .version("4.14.352")
            .release("267.564.amzn2")
            .arch("x86_64")
            .severity("Important")
            .classification("Security")
            .advisory_ids("ALAS2-2024-2608")
            .build();
        let patch = patch(&OperatingSystem::observed("AMAZON_LINUX_2"), &row);
        assert_eq!(patch.title, "kernel.x86_64:0:4.14.352-267.564.amzn2");
        assert_eq!((patch.released, patch.from_security_source), (None, true));
    }
}
