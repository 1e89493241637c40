//! What `patchplane doctor` asks of AWS: every read that is allowed can be tried, and none other is.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_aws::{
    Access, Aws, Clock, Credentials, ErrorKind, SharedAsyncSleep, SharedTimeSource, calls, iam::Document,
};
use patchplane_rules::Location;
use patchplane_sim::{SimClock, Simulation};

async fn aws(simulation: &Simulation) -> Aws {
    let clock = simulation.clock();
    let clock = Clock::new(SharedTimeSource::new(clock.clone()), SharedAsyncSleep::new(clock.clone()));
    let access = Access { clock, http: Some(simulation.http_client()), endpoint_url: None };
    let keys = Credentials::Static {
        access_key_id: Simulation::access_key("111122223333"),
        secret_access_key: "any".to_owned(),
    };
    Aws::connect(&access, Location::new("111122223333", "us-east-1").unwrap(), &keys).await.unwrap()
}

#[tokio::test]
async fn every_read_that_a_document_allows_can_be_tried_and_nothing_else_is() {
    let simulation = Simulation::new(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 1);
    let aws = aws(&simulation).await;
    for call in calls() {
        let before = simulation.requests().len();
        let tried = aws.try_read(call).await;
        let seen: Vec<_> = simulation.requests().into_iter().skip(before).collect();
        if !Document::ReadOnly.actions().contains(&call.action) {
            assert!(tried.is_none() && seen.is_empty(), "{}", call.action);
            continue;
        }
        let well = match tried.unwrap_or_else(|| panic!("{} is not tried", call.action)) {
            Ok(()) => true,
            // What is asked for does not exist; the request itself is right.
            Err(error) => {
                !matches!(
                    error.kind,
                    ErrorKind::Denied | ErrorKind::Unreachable | ErrorKind::Unimplemented | ErrorKind::Credentials
                ) && error.code.as_deref() != Some("ValidationException")
            }
        };
        assert!(well, "{}", call.action);
        assert!(seen.iter().all(|request| request.operation == call.operation && !request.mutating), "{seen:?}");
    }
}

#[tokio::test]
async fn we_are_told_who_we_are() {
    let simulation = Simulation::new(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 1);
    let seen = aws(&simulation).await.identity().await;
    assert_eq!(seen.identity.unwrap().account, "111122223333");
}
