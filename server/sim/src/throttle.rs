//! AWS's published request rates, as token buckets for each account and Region (S 3.2, 3.3).

use crate::wire::Service;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Of an operation or a class of them: so many at once, and so many more a second.
type Rate = (&'static str, f64, f64);

/// What no rate is published for is not throttled. That a bucket holds the requests of one second is unverified.
const SSM: [(&str, f64); 21] = [
    ("StartAutomationExecution", 1.0),
    ("StopAutomationExecution", 1.0),
    ("GetAutomationExecution", 3.0),
    ("DescribeAutomationExecutions", 3.0),
    ("DescribeAutomationStepExecutions", 3.0),
    ("SendAutomationSignal", 3.0),
    ("GetConnectionStatus", 50.0),
    ("DescribeSessions", 6.0),
    ("CreateAssociation", 3.0),
    ("CreateAssociationBatch", 1.0),
    ("UpdateAssociation", 3.0),
    ("UpdateAssociationStatus", 3.0),
    ("DeleteAssociation", 2.0),
    ("DescribeAssociation", 2.0),
    ("DescribeAssociationExecutions", 4.0),
    ("DescribeAssociationExecutionTargets", 4.0),
    ("ListAssociations", 4.0),
    ("ListAssociationVersions", 4.0),
    ("DescribeInstanceAssociationsStatus", 2.0),
    ("StartAssociationsOnce", 2.0),
    ("DescribeEffectiveInstanceAssociations", 1.0),
];

/// Whether the rates bind, and what is left of each.
#[derive(Default)]
pub(crate) struct Throttle {
    pub(crate) on: bool,
    buckets: BTreeMap<(String, String, &'static str), (f64, Timestamp)>,
}

impl Throttle {
    /// All buckets are full.
    pub(crate) fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    /// Takes one request; whether it is too many.
    pub(crate) fn refuses(&mut self, account: &str, region: &str, rate: Option<Rate>, now: Timestamp) -> bool {
        let Some((class, capacity, refill)) = rate.filter(|_| self.on) else { return false };
        let key = (account.to_owned(), region.to_owned(), class);
        let (left, at) = self.buckets.entry(key).or_insert((capacity, now));
        let passed = now.duration_since(*at).as_secs_f64().max(0.0);
        (*left, *at) = ((*left + passed * refill).min(capacity), now);
        let refused = *left < 1.0;
        if !refused {
            *left -= 1.0;
        }
        refused
    }
}

/// The bucket that a request takes from. `unbounded`: a list without filters and page size.
pub(crate) fn rate(service: Service, operation: &str, unbounded: bool) -> Option<Rate> {
    match service {
        Service::Ssm => SSM.into_iter().find(|(name, _)| *name == operation).map(|(name, rate)| (name, rate, rate)),
        Service::Sts => None,
        Service::Ec2 => Some(match operation {
            "DescribeInstances"
            | "DescribeInstanceStatus"
            | "DescribeSecurityGroups"
            | "DescribeSnapshots"
            | "DescribeVolumes"
                if unbounded =>
            {
                ("unfiltered", 50.0, 10.0)
            }
            "CreateTags" | "DeleteTags" => ("tags", 100.0, 10.0),
            "CreateSnapshot" | "CreateSnapshots" => ("snapshots", 100.0, 5.0),
            _ if operation.starts_with("Describe") => ("non-mutating", 100.0, 20.0),
            _ => ("mutating", 50.0, 5.0),
        }),
    }
}

/// Whether a form asks for all there is at once (S 3.3).
pub(crate) fn is_unbounded(parameters: &BTreeMap<String, String>) -> bool {
    let bounds = |name: &String| {
        name == "MaxResults" || name.starts_with("Filter.") || name.contains("Id.") || name == "NextToken"
    };
    !parameters.keys().any(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_bucket_holds_its_capacity_and_fills_at_its_rate() {
        // S 3.3: unfiltered DescribeInstances has 50 and 10 a second.
        let mut throttle = Throttle::new(true);
        let now: Timestamp = "2025-11-24T00:00:00Z".parse().unwrap();
        let unfiltered = rate(Service::Ec2, "DescribeInstances", true);
        let mut passed = |at: Timestamp| (0..200).filter(|_| !throttle.refuses("1", "r", unfiltered, at)).count();
        assert_eq!(passed(now), 50);
        assert_eq!(passed(now + SignedDuration::from_secs(1)), 10);
        assert_eq!(passed(now + SignedDuration::from_secs(60)), 50);
        assert_eq!(rate(Service::Ec2, "DescribeInstances", false), Some(("non-mutating", 100.0, 20.0)));
        assert_eq!(rate(Service::Ssm, "DescribeEffectiveInstanceAssociations", true).unwrap().1, 1.0);
        assert_eq!(rate(Service::Ssm, "ListCommands", true), None);
    }
}
