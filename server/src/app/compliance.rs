//! Compliance, from what instances last reported.

use super::{
    App,
    baselines::Observed,
    instances::{Instance, instance_ids},
    locations::{Chunk, ListPage, Query},
};
use crate::{
    Result,
    auth::{Action, Caller},
    domain::{
        compliance::{LevelTally, Standing, Status, Tally, stand},
        name::Parent,
        page::Paging,
        readiness::StaleAfter,
    },
};
use jiff::Timestamp;
use patchplane_rules::{
    BaselineId, ComplianceLevel, InstanceId, Location, NodeCompliance, OperatingSystem, PatchGroupName, PatchSummary,
};
use std::collections::{BTreeMap, BTreeSet};

/// As many instances as are read at once while looking for those that a filter admits.
const AT_ONCE: usize = 200;

/// A question for the compliance of instances.
pub struct ListInstanceCompliance {
    pub parent: Parent,
    pub paging: Paging,
    pub patch_group: Option<PatchGroupName>,
    /// That the last report was judged by.
    pub baseline: Option<BaselineId>,
    pub operating_system: Option<OperatingSystem>,
    pub status: Option<Status>,
    /// With a patch at this level that does not comply.
    pub severity: Option<ComplianceLevel>,
    pub stale_after: StaleAfter,
}

/// A question for a summary.
pub struct SummariseCompliance {
    pub location: Location,
    pub patch_group: Option<PatchGroupName>,
    pub stale_after: StaleAfter,
}

/// An instance and how it complies.
#[derive(Clone, Debug)]
pub struct InstanceCompliance {
    pub instance: Instance,
    pub standing: Standing,
}

/// How many instances comply, and what the others lack.
#[derive(Clone, Debug)]
pub struct ComplianceSummary {
    pub location: Location,
    pub patch_group: Option<PatchGroupName>,
    pub stale_after: StaleAfter,
    pub total: Tally,
    /// By their group's name now; empty for none.
    pub by_group: BTreeMap<String, Tally>,
    /// By the bare id that their report names; empty for none.
    pub by_baseline: BTreeMap<String, Tally>,
    /// Empty where it is not known.
    pub by_system: BTreeMap<String, Tally>,
    pub by_level: LevelTally,
    /// What managed instances reported.
    pub reports: Vec<PatchSummary>,
    pub observe_time: Timestamp,
}

impl App {
    #[tracing::instrument(name = "app.list_instance_compliance", skip_all, fields(parent = %list.parent))]
    pub async fn list_instance_compliance(
        &self,
        who: &Caller,
        list: ListInstanceCompliance,
    ) -> Result<ListPage<Observed<InstanceCompliance>>> {
        let ListInstanceCompliance {
            parent,
            paging,
            patch_group,
            baseline,
            operating_system,
            status,
            severity,
            stale_after,
        } = list;
        let filter =
            format!("{patch_group:?} {baseline:?} {operating_system:?} {status:?} {severity:?} {stale_after:?}");
        let query = Query { action: Action::ListInstanceCompliance, parent: &parent, filter };
        let admits = |row: &InstanceCompliance| {
            let judged_by = row.instance.summary.as_ref().map(|summary| summary.baseline_id.as_str());
            baseline.as_ref().is_none_or(|wanted| judged_by == Some(wanted.as_str()))
                && operating_system.as_ref().is_none_or(|wanted| row.standing.os.as_ref() == Some(wanted))
                && status.is_none_or(|wanted| row.standing.status == wanted)
        };
        let (group, admits) = (patch_group.as_ref(), &admits);
        self.list(who, query, &paging, |location, room, inner| async move {
            let aws = self.aws(&location)?;
            let mut ids = instance_ids(aws, group).await?;
            if let Some(level) = severity {
                let reported = aws.patch_compliance().await?.into_iter();
                let lacking = reported.filter(|node| node.non_compliant.of(level) > 0).map(|node| node.id);
                let lacking: BTreeSet<InstanceId> = lacking.collect();
                ids.retain(|id| lacking.contains(id));
            }
            let rest = ids.into_iter().filter(|id| inner.as_ref().is_none_or(|after| id.as_str() > after.as_str()));
            let rest: Vec<InstanceId> = rest.collect();
            let mut items: Vec<Observed<InstanceCompliance>> = Vec::new();
            for (at, ids) in rest.chunks(AT_ONCE).enumerate() {
                for row in self.standings(&location, ids, stale_after).await? {
                    if !admits(&row.value) {
                        continue;
                    }
                    if items.len() == room {
                        let next = items.last().map(|last| last.value.instance.id.to_string());
                        return Ok(Chunk { items, next });
                    }
                    items.push(row);
                }
                let more = (at + 1) * AT_ONCE < rest.len();
                if items.len() == room && more {
                    let next = ids.last().map(ToString::to_string);
                    return Ok(Chunk { items, next });
                }
            }
            Ok(Chunk { items, next: None })
        })
        .await
    }

    #[tracing::instrument(name = "app.get_compliance_summary", skip_all, fields(location = %asked.location))]
    pub async fn get_compliance_summary(&self, who: &Caller, asked: SummariseCompliance) -> Result<ComplianceSummary> {
        let SummariseCompliance { location, patch_group, stale_after } = asked;
        who.may(Action::GetComplianceSummary, &location)?;
        let aws = self.aws(&location)?;
        let ids: Vec<InstanceId> = instance_ids(aws, patch_group.as_ref()).await?.into_iter().collect();
        let mut levels: BTreeMap<InstanceId, NodeCompliance> =
            aws.patch_compliance().await?.into_iter().map(|node| (node.id.clone(), node)).collect();
        let mut summary = ComplianceSummary {
            patch_group,
            stale_after,
            total: Tally::default(),
            by_group: BTreeMap::new(),
            by_baseline: BTreeMap::new(),
            by_system: BTreeMap::new(),
            by_level: LevelTally::default(),
            reports: Vec::new(),
            observe_time: self.clock.now(),
            location: location.clone(),
        };
        for row in self.standings(&location, &ids, stale_after).await? {
            let InstanceCompliance { instance, standing } = row.value;
            let Standing { status, group, os } = standing;
            let report = instance.summary.filter(|_| status != Status::NotManaged);
            if let Some(levels) = levels.remove(&instance.id).filter(|_| report.is_some()) {
                summary.by_level.add(&levels);
            }
            let judged_by = report.as_ref().map(|report| report.baseline_id.clone()).unwrap_or_default();
            let system = os.map(|os| os.to_string()).unwrap_or_default();
            summary.total.add(status, report.as_ref());
            summary.by_group.entry(group.unwrap_or_default()).or_default().add(status, report.as_ref());
            summary.by_baseline.entry(judged_by).or_default().add(status, report.as_ref());
            summary.by_system.entry(system).or_default().add(status, report.as_ref());
            summary.reports.extend(report);
        }
        Ok(summary)
    }

    /// How these instances stand, by id.
    async fn standings(
        &self,
        location: &Location,
        ids: &[InstanceId],
        stale_after: StaleAfter,
    ) -> Result<Vec<Observed<InstanceCompliance>>> {
        let found = self.observe(location, ids).await?.into_iter();
        Ok(found
            .map(|Observed { location, time, value: instance }| {
                let standing = stand(&instance.seen, instance.summary.as_ref(), stale_after, time);
                Observed { location, time, value: InstanceCompliance { instance, standing } }
            })
            .collect())
    }
}
