//! Whether an instance reaches Systems Manager and S3, as far as route tables, endpoints and security groups tell (S 10.2).

use crate::VirtualMachine;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// What EC2 says of the networks around some instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub route_tables: Vec<RouteTable>,
    pub endpoints: Vec<VpcEndpoint>,
    /// By id.
    pub security_groups: BTreeMap<String, SecurityGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    pub id: String,
    pub vpc_id: String,
    /// The VPC's main table, for subnets without one of their own (S 12.9).
    pub main: bool,
    pub subnet_ids: Vec<String>,
    /// Targets of the active routes to everywhere, such as `igw-…`, `nat-…` or `tgw-…`.
    pub default_routes: Vec<String>,
}

/// An endpoint that is available (S 12.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcEndpoint {
    pub vpc_id: String,
    /// Such as `com.amazonaws.eu-central-1.ssm`.
    pub service: String,
    /// In route tables, and not with addresses of its own.
    pub gateway: bool,
    pub private_dns: bool,
    pub route_table_ids: Vec<String>,
    pub security_group_ids: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    pub ingress: Vec<Permission>,
    pub egress: Vec<Permission>,
}

/// What a security group lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// `tcp`, `6`, or `-1` for everything.
    pub protocol: String,
    /// `None`: every port.
    pub ports: Option<(i32, i32)>,
    pub cidrs: Vec<String>,
    pub group_ids: Vec<String>,
    /// Prefix lists, whose addresses are not looked up: taken to hold what is asked for.
    pub prefix_lists: bool,
}

/// What an instance seems not to reach, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// `ssm`, `ssmmessages` (with `ec2messages` as its older equal) or `s3`.
    pub service: &'static str,
    pub why: String,
}

/// What an instance seems not to reach. Network ACLs, firewalls, proxies and name servers are not looked at. An instance
/// that Systems Manager hears reaches it: then `heard` leaves S3 alone to be judged.
pub fn unreached(vm: &VirtualMachine, network: &Network, heard: bool) -> Vec<Unreached> {
    let mut found = Vec::new();
    if !heard {
        found.extend(unreached_service(vm, network, &["ssm"]));
        // Newer agents prefer the first, older ones know the second (S 10.2.1).
        found.extend(unreached_service(vm, network, &["ssmmessages", "ec2messages"]));
    }
    found.extend(unreached_service(vm, network, &["s3"]));
    found
}

/// `None` if one of the services is reached.
fn unreached_service(vm: &VirtualMachine, network: &Network, services: &[&'static str]) -> Option<Unreached> {
    let mut reasons = Vec::new();
    for service in services {
        match reaches(vm, network, service) {
            Ok(()) => return None,
            Err(why) if reasons.contains(&why) => {}
            Err(why) => reasons.push(why),
        }
    }
    Some(Unreached { service: services.first()?, why: reasons.join("; ") })
}

fn reaches(vm: &VirtualMachine, network: &Network, service: &str) -> Result<(), String> {
    let table = network.route_table(vm);
    let suffix = format!(".{service}");
    let endpoints = network.endpoints.iter().filter(|e| e.vpc_id == vm.vpc_id && e.service.ends_with(&suffix));
    let (gateways, interfaces): (Vec<&VpcEndpoint>, Vec<&VpcEndpoint>) = endpoints.partition(|e| e.gateway);
    let out = network.groups(&vm.security_group_ids).any(|group| group.egress.iter().any(Permission::admits_https));
    if !out {
        return Err("no security group of it lets port 443 out".to_owned());
    }
    if table.is_some_and(|table| gateways.iter().any(|gateway| gateway.route_table_ids.contains(&table.id))) {
        return Ok(());
    }
    // With private DNS the service's name leads to the endpoint, whatever the routes are.
    if let Some(endpoint) = interfaces.iter().find(|endpoint| endpoint.private_dns) {
        let admits = |permission: &Permission| permission.admits_https() && permission.comes_from(vm);
        if network.groups(&endpoint.security_group_ids).any(|group| group.ingress.iter().any(admits)) {
            return Ok(());
        }
        return Err(format!("no security group of the endpoint {} lets it in on port 443", endpoint.service));
    }
    let Some(table) = table else { return Err(format!("no route table of {} was found", vm.subnet_id)) };
    let to_internet = |target: &String| !target.starts_with("igw-") || vm.public_ip.is_some();
    if table.default_routes.iter().any(to_internet) {
        return Ok(());
    }
    let routes = match table.default_routes.first() {
        Some(gateway) => format!("its route to everywhere is {gateway}, and it has no public address"),
        None => format!("{} has no route to everywhere", table.id),
    };
    let wanted = match (interfaces.is_empty(), service) {
        (false, _) => format!("the endpoint of {service} has no private DNS"),
        (true, "s3") => "there is no endpoint of s3 in its route table".to_owned(),
        (true, _) => format!("there is no endpoint of {service}"),
    };
    Err(format!("{routes}, and {wanted}"))
}

// === impl Network ===

impl Network {
    fn route_table(&self, vm: &VirtualMachine) -> Option<&RouteTable> {
        let own = self.route_tables.iter().find(|table| table.subnet_ids.contains(&vm.subnet_id));
        own.or_else(|| self.route_tables.iter().find(|table| table.main && table.vpc_id == vm.vpc_id))
    }

    fn groups<'a>(&'a self, ids: &'a [String]) -> impl Iterator<Item = &'a SecurityGroup> {
        ids.iter().filter_map(|id| self.security_groups.get(id))
    }
}

// === impl Permission ===

impl Permission {
    fn admits_https(&self) -> bool {
        match self.protocol.as_str() {
            "-1" => true,
            "tcp" | "6" => self.ports.is_none_or(|(from, to)| (from..=to).contains(&443)),
            _ => false,
        }
    }

    fn comes_from(&self, vm: &VirtualMachine) -> bool {
        let address = vm.private_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        let in_cidr = |cidr: &String| address.is_some_and(|address| contains(cidr, address));
        self.prefix_lists
            || self.group_ids.iter().any(|id| vm.security_group_ids.contains(id))
            || self.cidrs.iter().any(in_cidr)
    }
}

/// Whether an IPv4 range such as `10.0.0.0/16` holds an address.
fn contains(cidr: &str, address: Ipv4Addr) -> bool {
    let Some((base, length)) = cidr.split_once('/') else { return false };
    let (Ok(base), Ok(length @ 0..=32)) = (base.parse::<Ipv4Addr>(), length.parse::<u32>()) else { return false };
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    base.to_bits() & mask == address.to_bits() & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PowerState;

    fn permission(ports: Option<(i32, i32)>, cidr: &str) -> Permission {
        let protocol = if ports.is_some() { "tcp" } else { "-1" }.to_owned();
        Permission { protocol, ports, cidrs: vec![cidr.to_owned()], group_ids: vec![], prefix_lists: false }
    }

    fn vm(public_ip: Option<&str>) -> VirtualMachine {
        VirtualMachine {
            subnet_id: "subnet-1".into(),
            vpc_id: "vpc-1".into(),
            security_group_ids: vec!["sg-node".into()],
            private_ip: Some("10.0.1.5".into()),
            public_ip: public_ip.map(str::to_owned),
            ..VirtualMachine::new("i-0123456789abcdef0".parse().unwrap(), PowerState::Running)
        }
    }

    fn endpoint(service: &str) -> VpcEndpoint {
        VpcEndpoint {
            vpc_id: "vpc-1".into(),
            service: format!("com.amazonaws.us-east-1.{service}"),
            gateway: service == "s3",
            private_dns: service != "s3",
            route_table_ids: vec!["rtb-1".into()],
            security_group_ids: vec!["sg-endpoint".into()],
        }
    }

    fn network(default_route: Option<&str>, services: &[&str]) -> Network {
        let groups = [
            ("sg-node", SecurityGroup { ingress: vec![], egress: vec![permission(None, "0.0.0.0/0")] }),
            (
                "sg-endpoint",
                SecurityGroup { ingress: vec![permission(Some((443, 443)), "10.0.0.0/16")], egress: vec![] },
            ),
        ];
        Network {
            route_tables: vec![RouteTable {
                id: "rtb-1".into(),
                vpc_id: "vpc-1".into(),
                main: true,
                subnet_ids: vec![],
                default_routes: default_route.map(str::to_owned).into_iter().collect(),
            }],
            endpoints: services.iter().map(|service| endpoint(service)).collect(),
            security_groups: groups.into_iter().map(|(id, group)| (id.to_owned(), group)).collect(),
        }
    }

    fn services(vm: &VirtualMachine, network: &Network) -> Vec<&'static str> {
        unreached(vm, network, false).into_iter().map(|gap| gap.service).collect()
    }

    const ALL: [&str; 3] = ["ssm", "ssmmessages", "s3"];

    #[test]
    fn a_default_route_or_endpoints_make_the_services_reachable() {
        // S 10.2, rows 5 to 7, and 10.2.1.
        let (inside, public) = (vm(None), vm(Some("203.0.113.7")));
        for (vm, route, endpoints, missing) in [
            (&inside, Some("nat-1"), &[][..], &[][..]),
            (&inside, Some("tgw-1"), &[], &[]),
            (&public, Some("igw-1"), &[], &[]),
            (&inside, Some("igw-1"), &[], &ALL),
            (&inside, None, &[], &ALL),
            (&inside, None, &["ssm", "ssmmessages", "s3"], &[]),
            (&inside, None, &["ssm", "ec2messages", "s3"], &[]),
            (&inside, None, &["ssm", "ssmmessages"], &["s3"]),
            (&inside, None, &["ssm", "s3"], &["ssmmessages"]),
        ] {
            assert_eq!(services(vm, &network(route, endpoints)), missing, "{route:?} {endpoints:?}");
        }
        let heard: Vec<_> = unreached(&inside, &network(None, &[]), true).iter().map(|gap| gap.service).collect();
        assert_eq!(heard, ["s3"], "who is heard reaches Systems Manager");
    }

    #[test]
    fn security_groups_and_name_resolution_can_stand_in_the_way() {
        // S 10.2, rows 5 and 6.
        let endpoints = ["ssm", "ssmmessages", "s3"];
        let mut closed = network(Some("nat-1"), &endpoints);
        closed.security_groups.get_mut("sg-node").unwrap().egress = vec![permission(Some((22, 22)), "0.0.0.0/0")];
        assert_eq!(services(&vm(None), &closed), ALL);

        let mut refused = network(Some("nat-1"), &endpoints);
        refused.security_groups.get_mut("sg-endpoint").unwrap().ingress = vec![permission(None, "192.168.0.0/16")];
        // The name of the first leads to the endpoint whatever the route is; `ec2messages` has none, and goes by the route.
        assert_eq!(services(&vm(None), &refused), ["ssm"]);

        let mut nameless = network(None, &endpoints);
        nameless.endpoints.iter_mut().for_each(|endpoint| endpoint.private_dns = false);
        assert_eq!(services(&vm(None), &nameless), ["ssm", "ssmmessages"]);

        let mut by_group = network(None, &endpoints);
        let ingress = &mut by_group.security_groups.get_mut("sg-endpoint").unwrap().ingress;
        ingress[0].cidrs.clear();
        ingress[0].group_ids.push("sg-node".into());
        assert_eq!(services(&vm(None), &by_group), [""; 0]);
    }

    #[test]
    fn a_subnet_has_its_own_table_or_the_main_one() {
        // S 12.9.
        let mut network = network(Some("nat-1"), &[]);
        let own = RouteTable {
            id: "rtb-2".into(),
            main: false,
            subnet_ids: vec!["subnet-1".into()],
            default_routes: vec![],
            ..network.route_tables[0].clone()
        };
        network.route_tables.push(own);
        assert_eq!(services(&vm(None), &network), ALL);
    }

    #[test]
    fn ranges_hold_their_addresses() {
        let address = "10.0.1.5".parse().unwrap();
        for (cidr, holds) in [
            ("10.0.0.0/16", true),
            ("0.0.0.0/0", true),
            ("10.0.1.5/32", true),
            ("10.0.2.0/24", false),
            ("10.0.0.0/33", false),
            ("::/0", false),
        ] {
            assert_eq!(contains(cidr, address), holds, "{cidr}");
        }
    }
}
