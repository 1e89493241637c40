//! Readiness and the choice of baselines as messages.

use super::{
    convert::{count, instance_ids, time},
    patch_groups::remedy,
};
use crate::{
    app::{
        baselines::Observed,
        readiness::{BatchCheckReadiness, Explained, Readiness, ReadinessOfMany, Subjects},
    },
    domain::{
        baseline_choice::{Alternative, Choice, Source},
        name::{BaselineName, parse_location},
        readiness::{Certainty, Code, Finding, StaleAfter, Unread},
    },
    error::Error,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{Invalid, Location};

impl TryFrom<pb::BatchCheckReadinessRequest> for BatchCheckReadiness {
    type Error = Error;

    fn try_from(request: pb::BatchCheckReadinessRequest) -> Result<Self, Error> {
        let pb::BatchCheckReadinessRequest { parent, instance_ids: ids, patch_group, stale_after_days } = request;
        let location = parse_location("parent", &parent)?;
        let subjects = match (ids.is_empty(), patch_group.as_str()) {
            (true, "") => return Err(Invalid::new("instance_ids", "is required, or else patch_group").into()),
            (false, "") => Subjects::Ids(instance_ids("instance_ids", ids, true)?),
            (true, group) => Subjects::Group(group.parse()?),
            (false, _) => return Err(Invalid::new("patch_group", "must be empty where instance_ids is set").into()),
        };
        Ok(Self { location, subjects, stale_after: StaleAfter::parse("stale_after_days", stale_after_days)? })
    }
}

impl From<ReadinessOfMany> for pb::BatchCheckReadinessResponse {
    fn from(many: ReadinessOfMany) -> Self {
        let ReadinessOfMany { results, counts, unread, observe_time } = many;
        let ready = results.iter().filter(|readiness| readiness.ready()).count();
        let of_code = |((code, certainty), number)| pb::FindingCount {
            code: wire_code(code).into(),
            certainty: wire_certainty(certainty).into(),
            instance_count: count(number),
        };
        let unmade = |(codes, unread): (&[Code], Unread)| pb::UnmadeCheck {
            codes: codes.iter().map(|&code| wire_code(code).into()).collect(),
            aws_action: unread.action.to_owned(),
            reason: unread.reason.to_owned(),
            message: unread.message,
        };
        Self {
            ready_count: count(ready),
            not_ready_count: count(results.len() - ready),
            results: results.into_iter().map(pb::CheckReadinessResponse::from).collect(),
            counts: counts.into_iter().map(of_code).collect(),
            unmade_checks: unread.into_iter().map(unmade).collect(),
            observe_time: Some(time(observe_time)),
        }
    }
}

impl From<Readiness> for pb::CheckReadinessResponse {
    fn from(readiness: Readiness) -> Self {
        let ready = readiness.ready();
        let Readiness { name, findings, baseline, patch_group, observe_time } = readiness;
        Self {
            name: name.to_string(),
            ready,
            findings: findings.into_iter().map(|found| finding(&name.location, found)).collect(),
            baseline: baseline.map(|baseline| baseline.to_string()).unwrap_or_default(),
            patch_group: patch_group.unwrap_or_default(),
            observe_time: Some(time(observe_time)),
        }
    }
}

fn finding(location: &Location, finding: Finding) -> pb::ReadinessFinding {
    let Finding { code, certainty, evidence, fix, remedy: mends, blocking } = finding;
    pb::ReadinessFinding {
        code: wire_code(code).into(),
        certainty: wire_certainty(certainty).into(),
        evidence,
        fix,
        blocking,
        remedy: mends.map(|mends| remedy(location, mends)),
    }
}

fn wire_code(code: Code) -> pb::readiness_finding::Code {
    use pb::readiness_finding::Code as Wire;
    match code {
        Code::NotFound => Wire::NotFound,
        Code::NotRunning => Wire::NotRunning,
        Code::NotManaged => Wire::NotManaged,
        Code::AgentOffline => Wire::AgentOffline,
        Code::AgentTooOld => Wire::AgentTooOld,
        Code::PatchGroupAmbiguous => Wire::PatchGroupAmbiguous,
        Code::OsUnsupported => Wire::OsUnsupported,
        Code::NoInstanceProfile => Wire::NoInstanceProfile,
        Code::ProfileRights => Wire::ProfileRights,
        Code::NoRoute => Wire::NoRoute,
        Code::TagKeyWrong => Wire::TagKeyWrong,
        Code::TagKeyBlockedByImds => Wire::TagKeyBlockedByImds,
        Code::NoPatchGroup => Wire::NoPatchGroup,
        Code::GroupWithoutBaseline => Wire::GroupWithoutBaseline,
        Code::InAutoScalingGroup => Wire::InAutoScalingGroup,
        Code::LastRunFailed => Wire::LastRunFailed,
        Code::PendingReboot => Wire::PendingReboot,
        Code::NeverScanned => Wire::NeverScanned,
        Code::StaleScan => Wire::StaleScan,
    }
}

fn wire_certainty(certainty: Certainty) -> pb::readiness_finding::Certainty {
    use pb::readiness_finding::Certainty as Wire;
    match certainty {
        Certainty::Observed => Wire::Observed,
        Certainty::Inferred => Wire::Inferred,
        Certainty::NotVisible => Wire::NotVisible,
    }
}

impl From<Observed<Explained>> for pb::ExplainBaselineResponse {
    fn from(observed: Observed<Explained>) -> Self {
        use pb::explain_baseline_response::Source as Wire;
        let Observed { location, time: observe_time, value } = observed;
        let Explained { name, choice, last_report } = value;
        let Choice { os, group, chosen, reasons, alternatives } = choice;
        let named = |id| BaselineName { location: location.clone(), id }.to_string();
        let (baseline, display_name, source) = match chosen {
            None => (String::new(), String::new(), Wire::Unspecified),
            Some((baseline, source)) => {
                let source = match source {
                    Source::PatchGroup => Wire::PatchGroup,
                    Source::CustomDefault => Wire::CustomDefault,
                    Source::AwsDefault => Wire::AwsDefault,
                };
                (named(baseline.id), baseline.name, source)
            }
        };
        let alternative = |other: Alternative| pb::BaselineAlternative {
            baseline: named(other.baseline.id),
            display_name: other.baseline.name,
            effect: other.effect,
            remedy: Some(remedy(&location, other.remedy)),
        };
        let judged_by = last_report.as_ref().and_then(|report| report.baseline_id.parse().ok());
        Self {
            name: name.to_string(),
            operating_system: os.map(|os| os.to_string()).unwrap_or_default(),
            patch_group: group.map(|group| group.to_string()).unwrap_or_default(),
            baseline,
            display_name,
            source: source.into(),
            reasons,
            alternatives: alternatives.into_iter().map(alternative).collect(),
            last_report_baseline: judged_by.map(named).unwrap_or_default(),
            last_report_time: last_report.and_then(|report| report.operation_end).map(time),
            observe_time: Some(time(observe_time)),
        }
    }
}
