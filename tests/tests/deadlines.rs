//! A caller's deadline bounds what AWS is asked for it: the answer says what took too long, and what other locations said.

use patchplane_client::api::{GetInstanceRequest, ListInstancesRequest};
use patchplane_sim::{Fault, FaultKind};
use patchplane_tests::{PARENT, World, fault};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

const STALLED: FaultKind = FaultKind::Delay(Duration::from_secs(3600));

fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_aws_ends_before_its_caller_s_deadline_and_is_named() {
    let world = World::showcase().await;
    world.simulation.inject(fault("DescribeInstances", STALLED, u32::MAX));
    let begun = Instant::now();
    let name = format!("{PARENT}/instances/i-0123456789abcdef0");
    let request = within(Duration::from_secs(2), GetInstanceRequest { name });
    let refused = world.client.instances().get_instance(request).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.metadata["aws_action"].as_str()),
        ("DEADLINE_EXCEEDED", "ec2:DescribeInstances")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_location_that_does_not_answer_names_it_and_lists_the_others_in_time() {
    let world = World::showcase().await;
    // The first of two.
    let location = Some(("111122223333".to_owned(), "us-east-1".to_owned()));
    let stalled = Fault { location, ..fault("DescribeInstances", STALLED, u32::MAX) };
    world.simulation.inject(stalled);
    let list =
        ListInstancesRequest { parent: "accounts/-/regions/us-east-1".into(), page_size: 200, ..Default::default() };
    let answer =
        world.client.instances().list_instances(within(Duration::from_secs(3), list)).await.unwrap().into_inner();
    assert!(answer.instances.iter().all(|instance| instance.name.starts_with("accounts/444455556666/")));
    assert!(!answer.instances.is_empty());
    let unreachable: Vec<_> =
        answer.unreachable.iter().map(|place| (place.location.as_str(), place.reason.as_str())).collect();
    assert_eq!(unreachable, [("accounts/111122223333/regions/us-east-1", "DEADLINE_EXCEEDED")]);
}
