//! What readiness depends on around an instance: subnets, routes, endpoints, security groups, profiles (S 10.2, 12.9–10).

use super::{Answer, Call, admits, bad_filter, strings};
use crate::error::AwsError;
use serde_json::{Value, json};

/// A kind of resource that is listed: its parts of a request and an answer, and where a filter's value stands in a row.
struct Kind {
    /// The member of the answer.
    member: &'static str,
    /// The member of the request that names ids, and the error for an unknown one.
    ids: (&'static str, &'static str),
    id: &'static str,
    /// A filter's name and the JSON pointer of its value; `*` stands for each item of a list.
    filters: &'static [(&'static str, &'static str)],
}

const SUBNETS: Kind = Kind {
    member: "Subnets",
    ids: ("SubnetIds", "InvalidSubnetID.NotFound"),
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
    ids: ("RouteTableIds", "InvalidRouteTableID.NotFound"),
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
    ids: ("VpcEndpointIds", "InvalidVpcEndpointId.NotFound"),
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
    ids: ("GroupIds", "InvalidGroup.NotFound"),
    id: "GroupId",
    filters: &[
        ("group-id", "GroupId"),
        ("group-name", "GroupName"),
        ("vpc-id", "VpcId"),
        ("owner-id", "OwnerId"),
        ("description", "Description"),
    ],
};

const PROFILES: Kind = Kind {
    member: "IamInstanceProfileAssociations",
    ids: ("AssociationIds", "InvalidAssociationID.NotFound"),
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

    pub(super) fn describe_iam_instance_profile_associations(&self) -> Answer {
        let nodes = self.place.nodes.values().filter(|node| node.profile);
        let rows = nodes.map(|node| {
            json!({
                "AssociationId": format!("iip-assoc-{}", node.id.trim_start_matches("i-")),
                "InstanceId": node.id,
                "IamInstanceProfile": self.profile(),
                "State": "associated",
            })
        });
        self.list(&PROFILES, rows.collect())
    }

    fn list(&self, kind: &Kind, rows: Vec<Value>) -> Answer {
        let ids = strings(&self.request[kind.ids.0]);
        if let Some(unknown) = ids.iter().find(|id| !rows.iter().any(|row| row[kind.id] == **id)) {
            return Err(AwsError::new(kind.ids.1, format!("The ID '{unknown}' does not exist")));
        }
        let mut filters = Vec::new();
        for (name, values) in self.filters() {
            let known = kind.filters.iter().find(|(known, _)| *known == name);
            let (_, at) = known.ok_or_else(|| bad_filter(name))?;
            filters.push((*at, values));
        }
        let wanted = |row: &Value| {
            (ids.is_empty() || ids.iter().any(|id| row[kind.id] == **id))
                && filters.iter().all(|(at, values)| found(row, at).iter().any(|text| admits(values, text)))
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
