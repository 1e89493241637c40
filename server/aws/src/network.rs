//! The networks around instances: route tables, endpoints and security groups, many at a time.

use crate::{
    Aws, Page, PageOf, Result,
    calls::{DESCRIBE_ROUTE_TABLES, DESCRIBE_SECURITY_GROUPS, DESCRIBE_VPC_ENDPOINTS},
    page, values,
};
use aws_sdk_ec2::types as ec2;
use patchplane_rules::{Network, Permission, RouteTable, SecurityGroup, VirtualMachine, VpcEndpoint};
use std::collections::{BTreeMap, BTreeSet};

/// EC2 takes 200 values for one filter.
const VALUES_A_FILTER: usize = 200;

impl Aws {
    /// What decides how these instances reach AWS: three kinds of calls, whatever their number.
    pub async fn network(&self, vms: &[&VirtualMachine]) -> Result<Network> {
        let vpcs: BTreeSet<&str> = vms.iter().map(|vm| vm.vpc_id.as_str()).filter(|id| !id.is_empty()).collect();
        let mut network = Network::default();
        for filter in filters("vpc-id", &vpcs) {
            network
                .route_tables
                .extend(page::all(&DESCRIBE_ROUTE_TABLES, |page| self.route_tables(&filter, page)).await?);
            network.endpoints.extend(page::all(&DESCRIBE_VPC_ENDPOINTS, |page| self.endpoints(&filter, page)).await?);
        }
        let of_nodes = vms.iter().flat_map(|vm| &vm.security_group_ids);
        let of_endpoints = network.endpoints.iter().flat_map(|endpoint| &endpoint.security_group_ids);
        let groups: BTreeSet<&str> = of_nodes.chain(of_endpoints).map(String::as_str).collect();
        let mut found = BTreeMap::new();
        for filter in filters("group-id", &groups) {
            found.extend(page::all(&DESCRIBE_SECURITY_GROUPS, |page| self.security_groups(&filter, page)).await?);
        }
        network.security_groups = found;
        Ok(network)
    }

    async fn route_tables(&self, filter: &ec2::Filter, page: Page) -> Result<PageOf<RouteTable>> {
        let request = self.ec2().describe_route_tables().filters(filter.clone());
        let request = request.max_results(page.size_within(5..=100)).set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_ROUTE_TABLES, request.send()).await?;
        Ok(PageOf::new(answer.route_tables().iter().map(route_table).collect(), answer.next_token))
    }

    /// Those that are available. In pages of EC2's own size: a smaller one is not asked for.
    async fn endpoints(&self, filter: &ec2::Filter, page: Page) -> Result<PageOf<VpcEndpoint>> {
        let request = self.ec2().describe_vpc_endpoints().filters(filter.clone()).set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_VPC_ENDPOINTS, request.send()).await?;
        Ok(PageOf::new(answer.vpc_endpoints().iter().filter_map(endpoint).collect(), answer.next_token))
    }

    async fn security_groups(&self, filter: &ec2::Filter, page: Page) -> Result<PageOf<(String, SecurityGroup)>> {
        let request = self.ec2().describe_security_groups().filters(filter.clone());
        let request = request.max_results(page.size_within(5..=1000)).set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_SECURITY_GROUPS, request.send()).await?;
        let group = |row: &ec2::SecurityGroup| {
            let permissions = |rows: &[ec2::IpPermission]| rows.iter().map(permission).collect();
            let (ingress, egress) = (permissions(row.ip_permissions()), permissions(row.ip_permissions_egress()));
            (values::text(row.group_id()), SecurityGroup { ingress, egress })
        };
        Ok(PageOf::new(answer.security_groups().iter().map(group).collect(), answer.next_token))
    }
}

fn filters(name: &str, wanted: &BTreeSet<&str>) -> Vec<ec2::Filter> {
    let wanted: Vec<String> = wanted.iter().map(|&value| value.to_owned()).collect();
    let filter = |chunk: &[String]| ec2::Filter::builder().name(name).set_values(Some(chunk.to_vec())).build();
    wanted.chunks(VALUES_A_FILTER).map(filter).collect()
}

fn route_table(row: &ec2::RouteTable) -> RouteTable {
    let active = |route: &&ec2::Route| route.state() != Some(&ec2::RouteState::Blackhole);
    let everywhere = row.routes().iter().filter(active).filter(|r| r.destination_cidr_block() == Some("0.0.0.0/0"));
    RouteTable {
        id: values::text(row.route_table_id()),
        vpc_id: values::text(row.vpc_id()),
        main: row.associations().iter().any(|association| association.main() == Some(true)),
        subnet_ids: row.associations().iter().filter_map(|a| a.subnet_id()).map(str::to_owned).collect(),
        default_routes: everywhere.map(target).collect(),
    }
}

/// A route has one target, in a member of its own for each kind.
fn target(route: &ec2::Route) -> String {
    let kinds = [
        route.gateway_id(),
        route.nat_gateway_id(),
        route.transit_gateway_id(),
        route.vpc_peering_connection_id(),
        route.network_interface_id(),
        route.instance_id(),
        route.local_gateway_id(),
        route.carrier_gateway_id(),
    ];
    values::text(kinds.into_iter().flatten().find(|id| !id.is_empty()))
}

/// `None`: it is not available (S 12.10; capitalised or not).
fn endpoint(row: &ec2::VpcEndpoint) -> Option<VpcEndpoint> {
    let available = row.state().is_some_and(|state| state.as_str().eq_ignore_ascii_case("available"));
    available.then(|| VpcEndpoint {
        vpc_id: values::text(row.vpc_id()),
        service: values::text(row.service_name()),
        gateway: row.vpc_endpoint_type() == Some(&ec2::VpcEndpointType::Gateway),
        private_dns: row.private_dns_enabled() == Some(true),
        route_table_ids: row.route_table_ids().to_vec(),
        security_group_ids: row.groups().iter().filter_map(|group| group.group_id()).map(str::to_owned).collect(),
    })
}

fn permission(row: &ec2::IpPermission) -> Permission {
    Permission {
        protocol: values::text(row.ip_protocol()),
        ports: row.from_port().zip(row.to_port()),
        cidrs: row.ip_ranges().iter().filter_map(|range| range.cidr_ip()).map(str::to_owned).collect(),
        group_ids: row.user_id_group_pairs().iter().filter_map(|pair| pair.group_id()).map(str::to_owned).collect(),
        prefix_lists: !row.prefix_list_ids().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blackhole_is_no_way_out_and_a_pending_endpoint_is_none() {
        let route = |state, nat: &str| {
            ec2::Route::builder().destination_cidr_block("0.0.0.0/0").nat_gateway_id(nat).state(state).build()
        };
        let main = ec2::RouteTableAssociation::builder().main(true).build();
        let row = ec2::RouteTable::builder().route_table_id("rtb-1").associations(main);
        let row =
            row.routes(route(ec2::RouteState::Blackhole, "nat-1")).routes(route(ec2::RouteState::Active, "nat-2"));
        let table = route_table(&row.build());
        assert!(table.main);
        assert_eq!(table.default_routes, ["nat-2"]);
        // S 12.10: `available` on the wire, capitalised in the SDK.
        let row = |state: &str| ec2::VpcEndpoint::builder().state(state.into()).build();
        assert!(endpoint(&row("available")).is_some() && endpoint(&row("Available")).is_some());
        assert!(endpoint(&row("pending")).is_none());
    }
}
