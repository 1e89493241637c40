//! What is around instances: networks, profiles, status checks, Regions (S 10.2, 12.4, 12.9–11).

use super::{Answer, Call, admits, bad_filter, strings};
use crate::error::AwsError;
use serde_json::{Value, json};

/// A kind of resource that is listed: its parts of a request and an answer, and where a filter's value stands in a row.
pub(super) struct Kind {
    /// The member of the answer.
    pub(super) member: &'static str,
    /// The member of the request that names ids.
    pub(super) ids: &'static str,
    pub(super) prefix: &'static str,
    /// The errors for an unknown id, and for one that is none.
    pub(super) not_found: &'static str,
    pub(super) malformed: &'static str,
    pub(super) id: &'static str,
    /// A filter's name and the JSON pointer of its value; `*` stands for each item of a list. Tags need not be told.
    pub(super) filters: &'static [(&'static str, &'static str)],
}

const SUBNETS: Kind = Kind {
    member: "Subnets",
    ids: "SubnetIds",
    prefix: "subnet-",
    not_found: "InvalidSubnetID.NotFound",
    malformed: "InvalidSubnetID.Malformed",
    id: "SubnetId",
    filters: &[
        ("subnet-id", "SubnetId"),
        ("vpc-id", "VpcId"),
        ("availability-zone", "AvailabilityZone"),
        ("state", "State"),
        ("cidr-block", "CidrBlock"),
        ("owner-id", "OwnerId"),
    ],
};

const ROUTE_TABLES: Kind = Kind {
    member: "RouteTables",
    ids: "RouteTableIds",
    prefix: "rtb-",
    not_found: "InvalidRouteTableID.NotFound",
    malformed: "InvalidRouteTableID.Malformed",
    id: "RouteTableId",
    filters: &[
        ("route-table-id", "RouteTableId"),
        ("vpc-id", "VpcId"),
        ("owner-id", "OwnerId"),
        ("association.main", "Associations/*/Main"),
        ("association.subnet-id", "Associations/*/SubnetId"),
        ("association.route-table-id", "Associations/*/RouteTableId"),
        ("route.destination-cidr-block", "Routes/*/DestinationCidrBlock"),
        ("route.gateway-id", "Routes/*/GatewayId"),
        ("route.nat-gateway-id", "Routes/*/NatGatewayId"),
        ("route.state", "Routes/*/State"),
    ],
};

const VPC_ENDPOINTS: Kind = Kind {
    member: "VpcEndpoints",
    ids: "VpcEndpointIds",
    prefix: "vpce-",
    not_found: "InvalidVpcEndpointId.NotFound",
    malformed: "InvalidVpcEndpointId.Malformed",
    id: "VpcEndpointId",
    filters: &[
        ("vpc-endpoint-id", "VpcEndpointId"),
        ("vpc-id", "VpcId"),
        ("service-name", "ServiceName"),
        ("vpc-endpoint-state", "State"),
        ("vpc-endpoint-type", "VpcEndpointType"),
    ],
};

const SECURITY_GROUPS: Kind = Kind {
    member: "SecurityGroups",
    ids: "GroupIds",
    prefix: "sg-",
    not_found: "InvalidGroup.NotFound",
    malformed: "InvalidGroupId.Malformed",
    id: "GroupId",
    filters: &[
        ("group-id", "GroupId"),
        ("group-name", "GroupName"),
        ("vpc-id", "VpcId"),
        ("owner-id", "OwnerId"),
        ("description", "Description"),
        ("ip-permission.from-port", "IpPermissions/*/FromPort"),
        ("ip-permission.to-port", "IpPermissions/*/ToPort"),
        ("ip-permission.protocol", "IpPermissions/*/IpProtocol"),
        ("ip-permission.cidr", "IpPermissions/*/IpRanges/*/CidrIp"),
        ("egress.ip-permission.cidr", "IpPermissionsEgress/*/IpRanges/*/CidrIp"),
    ],
};

const VPCS: Kind = Kind {
    member: "Vpcs",
    ids: "VpcIds",
    prefix: "vpc-",
    not_found: "InvalidVpcID.NotFound",
    malformed: "InvalidVpcID.Malformed",
    id: "VpcId",
    filters: &[
        ("vpc-id", "VpcId"),
        ("cidr", "CidrBlock"),
        ("is-default", "IsDefault"),
        ("state", "State"),
        ("owner-id", "OwnerId"),
    ],
};

const INTERNET_GATEWAYS: Kind = Kind {
    member: "InternetGateways",
    ids: "InternetGatewayIds",
    prefix: "igw-",
    not_found: "InvalidInternetGatewayID.NotFound",
    malformed: "InvalidInternetGatewayId.Malformed",
    id: "InternetGatewayId",
    filters: &[
        ("internet-gateway-id", "InternetGatewayId"),
        ("attachment.vpc-id", "Attachments/*/VpcId"),
        ("attachment.state", "Attachments/*/State"),
        ("owner-id", "OwnerId"),
    ],
};

const NAT_GATEWAYS: Kind = Kind {
    member: "NatGateways",
    ids: "NatGatewayIds",
    prefix: "nat-",
    not_found: "NatGatewayNotFound",
    malformed: "NatGatewayMalformed",
    id: "NatGatewayId",
    filters: &[("nat-gateway-id", "NatGatewayId"), ("state", "State"), ("subnet-id", "SubnetId"), ("vpc-id", "VpcId")],
};

const STATUSES: Kind = Kind {
    member: "InstanceStatuses",
    ids: "InstanceIds",
    prefix: "i-",
    not_found: "InvalidInstanceID.NotFound",
    malformed: "InvalidInstanceID.Malformed",
    id: "InstanceId",
    filters: &[
        ("availability-zone", "AvailabilityZone"),
        ("instance-state-code", "InstanceState/Code"),
        ("instance-state-name", "InstanceState/Name"),
        ("instance-status.status", "InstanceStatus/Status"),
        ("instance-status.reachability", "InstanceStatus/Details/*/Status"),
        ("system-status.status", "SystemStatus/Status"),
        ("system-status.reachability", "SystemStatus/Details/*/Status"),
    ],
};

const PROFILES: Kind = Kind {
    member: "IamInstanceProfileAssociations",
    ids: "AssociationIds",
    prefix: "iip-assoc-",
    not_found: "InvalidAssociationID.NotFound",
    malformed: "InvalidAssociationID.Malformed",
    id: "AssociationId",
    filters: &[("instance-id", "InstanceId"), ("state", "State")],
};

impl Call<'_> {
    pub(super) fn describe_subnets(&self) -> Answer {
        self.list(&SUBNETS, self.place.subnets())
    }

    pub(super) fn describe_route_tables(&self) -> Answer {
        self.list(&ROUTE_TABLES, self.place.route_tables())
    }

    pub(super) fn describe_vpc_endpoints(&self) -> Answer {
        self.list(&VPC_ENDPOINTS, self.place.vpc_endpoints())
    }

    pub(super) fn describe_security_groups(&self) -> Answer {
        self.list(&SECURITY_GROUPS, self.place.security_groups())
    }

    pub(super) fn describe_vpcs(&self) -> Answer {
        self.list(&VPCS, self.place.vpcs())
    }

    pub(super) fn describe_internet_gateways(&self) -> Answer {
        self.list(&INTERNET_GATEWAYS, self.place.internet_gateways())
    }

    pub(super) fn describe_nat_gateways(&self) -> Answer {
        self.list(&NAT_GATEWAYS, self.place.nat_gateways())
    }

    pub(super) fn describe_iam_instance_profile_associations(&self) -> Answer {
        let nodes = self.place.instances().filter(|node| node.profile);
        let rows = nodes.map(|node| {
            json!({
                "AssociationId": format!("iip-assoc-{}", node.id.trim_start_matches("i-")),
                "InstanceId": node.id,
                "IamInstanceProfile": self.profile(node),
                "State": "associated",
            })
        });
        self.list(&PROFILES, rows.collect())
    }

    /// Of running instances, unless all are asked for (S 12.4). The checks pass a minute after the launch.
    pub(super) fn describe_instance_status(&self) -> Answer {
        self.no_page_of_ids(&STATUSES)?;
        let ids = strings(&self.request["InstanceIds"]);
        self.known_instances(&ids)?;
        let all = self.request["IncludeAllInstances"] == true;
        let rows = self.place.instances().filter(|node| all || node.running()).map(|node| {
            let up = self.now.duration_since(node.launched).as_secs() >= 60;
            let (status, passed) = match (node.running(), up) {
                (true, true) => ("ok", "passed"),
                (true, false) => ("initializing", "initializing"),
                (false, _) => ("not-applicable", ""),
            };
            let details = json!([{ "Name": "reachability", "Status": passed }]);
            let check = json!({ "Status": status, "Details": if node.running() { details } else { json!([]) } });
            json!({
                "InstanceId": node.id,
                "AvailabilityZone": format!("{}a", self.place.region),
                "InstanceState": { "Code": node.power.code(), "Name": node.power.name() },
                "InstanceStatus": check,
                "SystemStatus": check,
                "Events": [],
            })
        });
        let rows = rows.filter(|row| ids.is_empty() || ids.iter().any(|id| row["InstanceId"] == *id)).collect();
        self.list(&Kind { ids: "", ..STATUSES }, rows)
    }

    /// All that an account has without opting in (S 12.11).
    pub(super) fn describe_regions(&self) -> Answer {
        const OPTED_IN: [&str; 17] = [
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-southeast-1",
            "ap-southeast-2",
            "ca-central-1",
            "eu-central-1",
            "eu-north-1",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "sa-east-1",
            "us-east-1",
            "us-east-2",
            "us-west-1",
            "us-west-2",
        ];
        const NOT_OPTED_IN: [&str; 4] = ["af-south-1", "ap-east-1", "eu-south-1", "me-south-1"];
        let region = |(name, status): (&str, &str)| json!({ "RegionName": name, "Endpoint": format!("ec2.{name}.amazonaws.com"), "OptInStatus": status });
        let mut rows: Vec<Value> = OPTED_IN.map(|name| region((name, "opt-in-not-required"))).into();
        if self.request["AllRegions"] == true {
            rows.extend(NOT_OPTED_IN.map(|name| region((name, "not-opted-in"))));
        }
        let names = strings(&self.request["RegionNames"]);
        if let Some(unknown) = names.iter().find(|name| !rows.iter().any(|row| row["RegionName"] == **name)) {
            return Err(AwsError::new("InvalidParameterValue", format!("Invalid region names: [{unknown}]")));
        }
        let kind = Kind {
            member: "Regions",
            ids: "",
            id: "RegionName",
            filters: &[("endpoint", "Endpoint"), ("region-name", "RegionName"), ("opt-in-status", "OptInStatus")],
            ..VPCS
        };
        rows.retain(|row| names.is_empty() || names.iter().any(|name| row["RegionName"] == *name));
        self.list(&kind, rows)
    }

    /// Volumes and statuses cannot be paged by ids.
    pub(super) fn no_page_of_ids(&self, kind: &Kind) -> Result<(), AwsError> {
        if self.request[kind.ids].is_null() || self.request["MaxResults"].is_null() {
            return Ok(());
        }
        let text = format!("The parameter {} cannot be used with the parameter maxResults", kind.ids);
        Err(AwsError::new("InvalidParameterCombination", text))
    }

    pub(super) fn list(&self, kind: &Kind, mut rows: Vec<Value>) -> Answer {
        let ids = strings(&self.request[kind.ids]);
        if let Some(odd) = ids.iter().find(|id| super::well_formed(kind.prefix, id).is_err()) {
            return Err(AwsError::new(kind.malformed, format!("Invalid id: \"{odd}\"")));
        }
        if let Some(unknown) = ids.iter().find(|id| !rows.iter().any(|row| row[kind.id] == **id)) {
            return Err(AwsError::new(kind.not_found, format!("The ID '{unknown}' does not exist")));
        }
        for row in &mut rows {
            let tagged = row[kind.id].as_str().map(|id| self.tags_of(id));
            if let Some(tags) = tagged.filter(|_| !row["Tags"].is_null()) {
                row["Tags"] = tags;
            }
        }
        let mut filters = Vec::new();
        for (name, values) in self.filters() {
            let known = kind.filters.iter().find(|(known, _)| *known == name).map(|(_, at)| *at);
            let tag = name.starts_with("tag:") || name == "tag-key" || name == "tag-value";
            if known.is_none() && !tag {
                return Err(bad_filter(name));
            }
            filters.push((name, known, values));
        }
        let tagged = |row: &Value, name: &str, values: &[&str]| {
            row["Tags"].as_array().into_iter().flatten().any(|tag| {
                let (key, value) = (tag["Key"].as_str().unwrap_or_default(), tag["Value"].as_str().unwrap_or_default());
                match name.strip_prefix("tag:") {
                    Some(wanted) => wanted == key && admits(values, value),
                    None => admits(values, if name == "tag-key" { key } else { value }),
                }
            })
        };
        let wanted = |row: &Value| {
            (ids.is_empty() || ids.iter().any(|id| row[kind.id] == **id))
                && filters.iter().all(|(name, at, values)| match at {
                    Some(at) => found(row, at).iter().any(|text| admits(values, text)),
                    None => tagged(row, name, values),
                })
        };
        let rows = rows.into_iter().filter(wanted).map(|row| (row[kind.id].to_string(), row)).collect();
        let (page, token) = self.page(rows)?;
        Ok(json!({ kind.member: page, "NextToken": token }))
    }
}

/// The texts at a path.
fn found(value: &Value, at: &str) -> Vec<String> {
    let (step, rest) = at.split_once('/').map_or((at, None), |(step, rest)| (step, Some(rest)));
    let next: Vec<&Value> = match (step, value) {
        ("*", Value::Array(items)) => items.iter().collect(),
        _ => vec![&value[step]],
    };
    let texts = next.into_iter().flat_map(|value| match (rest, value) {
        (Some(rest), value) => found(value, rest),
        (None, Value::String(text)) => vec![text.clone()],
        (None, Value::Null) => Vec::new(),
        (None, other) => vec![other.to_string()],
    });
    texts.collect()
}
