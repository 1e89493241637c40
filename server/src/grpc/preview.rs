//! Previews and AWS's catalogue, between messages and values.

use super::{
    baseline_changes::{edit, filter},
    convert::{count, paging, time},
};
use crate::{
    app::{
        available_patches::{ListAvailablePatches, ListPatchProperties},
        preview::{GroupImpact, Preview, PreviewBaseline, Subject},
    },
    domain::{
        name::{BaselineName, parse_location},
        page::PageSize,
        preview::{Basis, Counts, InstanceImpact, Row},
    },
};
use jiff::Timestamp;
use patchplane_proto::v1::{self as pb, previewed_patch as pp};
use patchplane_rules::{
    AvailablePatch, Explanation, Invalid, Location, OperatingSystem, Verdict, catalogue_keys, listable_properties,
    suggest,
};

/// The most products that a preview can be narrowed to.
const MOST_PRODUCTS: usize = 20;

impl TryFrom<pb::ListPatchPropertiesRequest> for ListPatchProperties {
    type Error = Invalid;

    fn try_from(request: pb::ListPatchPropertiesRequest) -> Result<Self, Invalid> {
        let pb::ListPatchPropertiesRequest { parent, operating_system, property, patch_set, page_size, page_token } =
            request;
        let location = parse_location("parent", &parent)?;
        let operating_system = OperatingSystem::parse(&operating_system)?;
        let known = listable_properties(&operating_system);
        if !known.contains(&property.as_str()) {
            let hint = suggest(&property, &known);
            return Err(Invalid::new("property", format!("is not one that AWS lists for {operating_system}; {hint}")));
        }
        match (patch_set.as_str(), operating_system.as_str()) {
            ("", _) | ("OS" | "APPLICATION", "WINDOWS") => {}
            (_, "WINDOWS") => return Err(Invalid::new("patch_set", "must be OS or APPLICATION")),
            _ => return Err(Invalid::new("patch_set", "is for WINDOWS only: leave it empty")),
        }
        Ok(Self {
            location,
            operating_system,
            property,
            patch_set: Some(patch_set).filter(|set| !set.is_empty()),
            paging: paging(page_size, page_token, 50, 50)?,
        })
    }
}

impl TryFrom<pb::ListAvailablePatchesRequest> for ListAvailablePatches {
    type Error = Invalid;

    fn try_from(request: pb::ListAvailablePatchesRequest) -> Result<Self, Invalid> {
        let pb::ListAvailablePatchesRequest { parent, operating_system, filters, page_size, page_token } = request;
        let location = parse_location("parent", &parent)?;
        let operating_system = OperatingSystem::parse(&operating_system)?;
        let keys = catalogue_keys(&operating_system);
        if keys.is_empty() {
            let rule = "has no catalogue at AWS: only WINDOWS, AMAZON_LINUX and AMAZON_LINUX_2 have one";
            return Err(Invalid::new("operating_system", rule));
        }
        if filters.len() > 5 {
            return Err(Invalid::new("filters", "must hold at most 5 filters"));
        }
        for (i, pb::PatchFilter { key, values }) in filters.iter().enumerate() {
            if !keys.contains(&key.as_str()) {
                let hint = suggest(key, keys);
                return Err(Invalid::new(
                    format!("filters[{i}].key"),
                    format!("is not one for {operating_system}; {hint}"),
                ));
            }
            let good = |value: &String| (1..=256).contains(&value.chars().count());
            if !(1..=20).contains(&values.len()) || !values.iter().all(good) {
                let rule = "must hold 1 to 20 values of 1 to 256 characters";
                return Err(Invalid::new(format!("filters[{i}].values"), rule));
            }
        }
        let linux = operating_system.as_str() != "WINDOWS";
        if linux && !filters.iter().any(|filter| filter.key == "PRODUCT") {
            let rule = format!(
                "must name a PRODUCT of {operating_system}: AWS lists nothing without; ListPatchProperties has them"
            );
            return Err(Invalid::new("filters", rule));
        }
        let filters = filters.into_iter().map(filter).collect();
        Ok(Self { location, operating_system, filters, paging: paging(page_size, page_token, 50, 100)? })
    }
}

impl TryFrom<pb::PreviewBaselineRequest> for PreviewBaseline {
    type Error = Invalid;

    fn try_from(request: pb::PreviewBaselineRequest) -> Result<Self, Invalid> {
        use pb::preview_baseline_request::Subject as Asked;
        let pb::PreviewBaselineRequest {
            parent,
            subject,
            at,
            compare_to,
            patch_group,
            products,
            max_patches,
            differences_only,
        } = request;
        let location = parse_location("parent", &parent)?;
        let subject = match subject {
            None => return Err(Invalid::new("subject", "is required: baseline or draft")),
            Some(Asked::Baseline(name)) => Subject::Existing(of(&location, "baseline", &name)?),
            Some(Asked::Draft(draft)) => Subject::Draft(Box::new(edit("draft", draft, None)?)),
        };
        let at = match at {
            None => None,
            Some(at) => Some(
                Timestamp::new(at.seconds, at.nanos)
                    .ok()
                    .filter(|_| at.nanos >= 0)
                    .ok_or_else(|| Invalid::new("at", "must be a time between the years 1 and 9999"))?,
            ),
        };
        let compare_to = match compare_to.as_str() {
            "" => None,
            name => Some(of(&location, "compare_to", name)?),
        };
        if differences_only && compare_to.is_none() {
            return Err(Invalid::new("differences_only", "needs another baseline: set compare_to"));
        }
        let group = match patch_group.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|bad: Invalid| Invalid::new("patch_group", bad.rule))?),
        };
        let good = |product: &String| (1..=128).contains(&product.chars().count());
        if products.len() > MOST_PRODUCTS || !products.iter().all(good) {
            return Err(Invalid::new("products", "must hold at most 20 products of 1 to 128 characters"));
        }
        let max_patches =
            PageSize::parse(max_patches, 200, 1000).map_err(|invalid| Invalid::new("max_patches", invalid.rule))?.get();
        Ok(Self { location, subject, at, compare_to, group, products, max_patches, differences_only })
    }
}

/// A baseline of this location.
fn of(location: &Location, field: &str, name: &str) -> Result<BaselineName, Invalid> {
    let name = BaselineName::parse(field, name)?;
    if name.location != *location {
        return Err(Invalid::new(field, "must be of the parent's account and Region"));
    }
    Ok(name)
}

pub(super) fn available_patch(patch: AvailablePatch) -> pb::AvailablePatch {
    let AvailablePatch {
        kb_id,
        title,
        name: _,
        epoch: _,
        version: _,
        release: _,
        arch: _,
        product,
        product_family,
        patch_set: _,
        classification,
        severity,
        priority: _,
        section: _,
        repository,
        advisory_ids,
        cve_ids,
        bugzilla_ids,
        released,
        from_security_source: _,
    } = patch;
    pb::AvailablePatch {
        kb_id,
        title,
        product,
        product_family,
        classification,
        severity,
        advisory_ids,
        cve_ids,
        bugzilla_ids,
        repository,
        release_time: released.map(time),
    }
}

impl From<Preview> for pb::PreviewBaselineResponse {
    fn from(preview: Preview) -> Self {
        let Preview { rows, counts, compared_counts, differences, left_out, impact, limits, notices, at, observe_time } =
            preview;
        Self {
            patches: rows.into_iter().map(pb::PreviewedPatch::from).collect(),
            counts: Some(counts.into()),
            compared_counts: compared_counts.map(pb::PreviewCounts::from),
            difference_count: count(differences),
            left_out_count: count(left_out),
            impact: impact.map(pb::GroupImpact::from),
            limits,
            notices: notices.into_iter().map(pb::Notice::from).collect(),
            at: Some(time(at)),
            observe_time: Some(time(observe_time)),
        }
    }
}

impl From<Row> for pb::PreviewedPatch {
    fn from(row: Row) -> Self {
        let differs = row.differs();
        let Row { patch, basis, found, approval, compared } = row;
        let basis = match basis {
            Basis::AwsEffective => pp::Basis::AwsEffective,
            Basis::Catalogue => pp::Basis::Catalogue,
            Basis::AdvisoryFeed => pp::Basis::AdvisoryFeed,
            Basis::Fleet => pp::Basis::Fleet,
        };
        let Explanation { verdict, decider, compliance_level, why } = found;
        Self {
            patch: Some(available_patch(patch)),
            state: state(verdict).into(),
            approve_time: approval.map(time),
            decided_by: decider.to_string(),
            compliance_level,
            why,
            basis: basis.into(),
            compared_state: compared.as_ref().map_or(pp::State::Unspecified, |other| state(other.verdict)).into(),
            compared_why: compared.map(|other| other.why).unwrap_or_default(),
            differs,
        }
    }
}

fn state(verdict: Verdict) -> pp::State {
    match verdict {
        Verdict::Approved => pp::State::Approved,
        Verdict::Pending(_) => pp::State::Pending,
        Verdict::Undated => pp::State::Undated,
        Verdict::Rejected => pp::State::Rejected,
        Verdict::Never => pp::State::Never,
    }
}

impl From<Counts> for pb::PreviewCounts {
    fn from(counts: Counts) -> Self {
        let Counts { approved, pending, undated, rejected, never } = counts;
        Self {
            approved: count(approved),
            pending: count(pending),
            undated: count(undated),
            rejected: count(rejected),
            never: count(never),
        }
    }
}

impl From<GroupImpact> for pb::GroupImpact {
    fn from(impact: GroupImpact) -> Self {
        let GroupImpact { examined, changed, current } = impact;
        let instances = changed.into_iter().map(|(name, impact)| {
            let InstanceImpact { newly_missing, no_longer_missing } = impact;
            pb::group_impact::InstanceImpact { instance: name.to_string(), newly_missing, no_longer_missing }
        });
        let instances: Vec<_> = instances.collect();
        Self {
            instances_examined: count(examined),
            instances_changed: count(instances.len()),
            instances,
            current_baseline: current.to_string(),
        }
    }
}
