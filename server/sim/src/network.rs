//! The networks of a location. Every location has the same two: one that reaches the internet through a NAT gateway,
//! with a subnet that does not, and one that reaches AWS through endpoints only (S 10.2.5–7, 12.9–10).

use crate::{account::Place, dice::Dice};
use serde::Serialize;
use serde_json::{Value, json};

/// Where a node's network interface is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) enum Network {
    /// A default route to a NAT gateway, from the VPC's main route table.
    #[default]
    Nat,
    /// A route table of its own without a default route, and no endpoints.
    Isolated,
    /// As `Nat`, but its security group lets nothing out.
    Closed,
    /// No default route; interface endpoints for Systems Manager and a gateway endpoint for S3.
    Endpoints,
}

impl Network {
    /// Whether an agent there reaches Systems Manager.
    pub(crate) fn reaches_aws(self) -> bool {
        matches!(self, Self::Nat | Self::Endpoints)
    }

    pub(crate) fn vpc(self) -> &'static str {
        if self == Self::Endpoints { "vpc-endpoints" } else { "vpc" }
    }

    pub(crate) fn subnet(self) -> &'static str {
        match self {
            Self::Nat | Self::Closed => "subnet",
            Self::Isolated => "subnet-isolated",
            Self::Endpoints => "subnet-endpoints",
        }
    }

    /// The security group and its name.
    pub(crate) fn group(self) -> (&'static str, &'static str) {
        match self {
            Self::Nat | Self::Isolated => ("sg", "default"),
            Self::Closed => ("sg-closed", "closed"),
            Self::Endpoints => ("sg-endpoints", "default"),
        }
    }

    /// The first two numbers of the VPC's addresses.
    pub(crate) fn prefix(self) -> &'static str {
        if self == Self::Endpoints { "10.1" } else { "10.0" }
    }
}

/// An endpoint's policy, unless another is given.
const ALLOW_ALL: &str = r#"{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}"#;

impl Place {
    /// The id of a part of the networks; its prefix is the first word of `part`.
    pub(crate) fn network_id(&self, part: &str) -> String {
        let kind = part.split('-').next().unwrap_or(part);
        format!("{kind}-0{}", Dice::new(self.seed, &[part, &self.account, &self.region]).hex(16))
    }

    pub(crate) fn subnets(&self) -> Vec<Value> {
        let subnet = |network: Network, third: u8| {
            let id = self.network_id(network.subnet());
            json!({
                "SubnetId": id,
                "VpcId": self.network_id(network.vpc()),
                "State": "available",
                "CidrBlock": format!("{}.{third}.0/20", network.prefix()),
                "AvailableIpAddressCount": 4000,
                "AvailabilityZone": format!("{}a", self.region),
                "DefaultForAz": false,
                "MapPublicIpOnLaunch": false,
                "OwnerId": self.account,
                "SubnetArn": format!("arn:aws:ec2:{}:{}:subnet/{id}", self.region, self.account),
                "Tags": [],
            })
        };
        vec![subnet(Network::Nat, 0), subnet(Network::Isolated, 16), subnet(Network::Endpoints, 0)]
    }

    /// The default one, and one whose instances reach AWS through endpoints.
    pub(crate) fn vpcs(&self) -> Vec<Value> {
        let vpc = |network: Network| {
            json!({
                "VpcId": self.network_id(network.vpc()),
                "CidrBlock": format!("{}.0.0/16", network.prefix()),
                "IsDefault": network == Network::Nat,
                "State": "available",
                "InstanceTenancy": "default",
                "DhcpOptionsId": self.network_id("dopt"),
                "OwnerId": self.account,
                "Tags": [],
            })
        };
        vec![vpc(Network::Nat), vpc(Network::Endpoints)]
    }

    /// What the NAT gateway goes through.
    pub(crate) fn internet_gateways(&self) -> Vec<Value> {
        vec![json!({
            "InternetGatewayId": self.network_id("igw"),
            "OwnerId": self.account,
            "Attachments": [{ "State": "available", "VpcId": self.network_id(Network::Nat.vpc()) }],
            "Tags": [],
        })]
    }

    pub(crate) fn nat_gateways(&self) -> Vec<Value> {
        vec![json!({
            "NatGatewayId": self.network_id("nat"),
            "SubnetId": self.network_id(Network::Nat.subnet()),
            "VpcId": self.network_id(Network::Nat.vpc()),
            "State": "available",
            "ConnectivityType": "public",
            "CreateTime": "2025-01-01T00:00:00.000Z",
            "NatGatewayAddresses": [],
            "Tags": [],
        })]
    }

    /// A main table for each VPC, and one of the isolated subnet's own (S 12.9).
    pub(crate) fn route_tables(&self) -> Vec<Value> {
        let table = |part: &str, network: Network, subnet: Option<&str>, nat: bool| {
            let id = self.network_id(part);
            let cidr = format!("{}.0.0/16", network.prefix());
            let mut routes = vec![json!({
                "DestinationCidrBlock": cidr, "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active",
            })];
            if nat {
                routes.push(json!({
                    "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": self.network_id("nat"),
                    "Origin": "CreateRoute", "State": "active",
                }));
            }
            if network == Network::Endpoints {
                routes.push(json!({
                    "DestinationPrefixListId": "pl-63a5400a", "GatewayId": self.network_id("vpce-s3"),
                    "Origin": "CreateRoute", "State": "active",
                }));
            }
            let association = json!({
                "Main": subnet.is_none(),
                "RouteTableAssociationId": id.replace("rtb-", "rtbassoc-"),
                "RouteTableId": id,
                "SubnetId": subnet.map(|subnet| self.network_id(subnet)),
                "AssociationState": { "State": "associated" },
            });
            json!({
                "RouteTableId": id,
                "VpcId": self.network_id(network.vpc()),
                "OwnerId": self.account,
                "Associations": [association],
                "Routes": routes,
                "PropagatingVgws": [],
                "Tags": [],
            })
        };
        vec![
            table("rtb", Network::Nat, None, true),
            table("rtb-isolated", Network::Isolated, Some(Network::Isolated.subnet()), false),
            table("rtb-endpoints", Network::Endpoints, None, false),
        ]
    }

    pub(crate) fn vpc_endpoints(&self) -> Vec<Value> {
        let endpoint = |service: &str| {
            let gateway = service == "s3";
            let group = json!({ "GroupId": self.network_id("sg-endpoints"), "GroupName": "default" });
            let dns = json!({
                "DnsName": format!("{service}.{}.amazonaws.com", self.region),
                "HostedZoneId": Dice::new(self.seed, &["zone", &self.account]).hex(13).to_uppercase(),
            });
            json!({
                "VpcEndpointId": self.network_id(&format!("vpce-{service}")),
                "VpcEndpointType": if gateway { "Gateway" } else { "Interface" },
                "VpcId": self.network_id(Network::Endpoints.vpc()),
                "ServiceName": format!("com.amazonaws.{}.{service}", self.region),
                "State": "available",
                "RouteTableIds": if gateway { vec![self.network_id("rtb-endpoints")] } else { vec![] },
                "SubnetIds": if gateway { vec![] } else { vec![self.network_id(Network::Endpoints.subnet())] },
                "Groups": if gateway { vec![] } else { vec![group] },
                "PrivateDnsEnabled": !gateway,
                "RequesterManaged": false,
                "NetworkInterfaceIds": if gateway { vec![] } else { vec![self.network_id(&format!("eni-{service}"))] },
                "DnsEntries": if gateway { vec![] } else { vec![dns] },
                "PolicyDocument": ALLOW_ALL,
                "CreationTimestamp": "2025-01-01T00:00:00.000Z",
                "OwnerId": self.account,
                "Tags": [],
            })
        };
        ["ssm", "ssmmessages", "ec2messages", "s3"].map(endpoint).into()
    }

    pub(crate) fn security_groups(&self) -> Vec<Value> {
        let group = |network: Network, description: &str| {
            let (part, name) = network.group();
            let all = json!({ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] });
            let https = json!({
                "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
                "IpRanges": [{ "CidrIp": format!("{}.0.0/16", network.prefix()) }],
            });
            json!({
                "GroupId": self.network_id(part),
                "GroupName": name,
                "Description": description,
                "VpcId": self.network_id(network.vpc()),
                "OwnerId": self.account,
                "IpPermissions": if network == Network::Endpoints { vec![https] } else { vec![] },
                "IpPermissionsEgress": if network == Network::Closed { vec![] } else { vec![all] },
                "Tags": [],
            })
        };
        vec![
            group(Network::Nat, "default VPC security group"),
            group(Network::Closed, "lets nothing out"),
            group(Network::Endpoints, "default VPC security group"),
        ]
    }
}
