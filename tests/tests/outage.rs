//! A database that does not answer for a while: what callers hear, what the health says, and that all goes on afterwards.

use futures::StreamExt as _;
use patchplane_client::{Client, Retry, api::ListFreezesRequest};
use patchplane_server::store::Place;
use patchplane_tests::{
    postgres::Postgres,
    processes::{Home, Signal, Sim, patchplane},
    wire::Wire,
};
use std::time::Duration;
use tonic::Code;

/// It takes half a minute until callers are sent elsewhere: a restart of the database is over by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_database_stays_away_sends_callers_elsewhere_and_lives_on() {
    let sim = Sim::start(1).await;
    let wire = Wire::to(&Postgres::new());
    let Place::Postgres(store) = wire.place() else { panic!("{:?} is no PostgreSQL", wire.place()) };
    let home = Home::new(Some(&store), None);
    let server = home.serves(&sim);
    let address = format!("http://{}", server.tells("serving address=").await);
    let client = Client::connect(address.clone()).await.unwrap().with_retry(Retry { attempts: 1, ..Retry::default() });
    let freezes = || client.list_freezes(ListFreezesRequest::default()).collect::<Vec<_>>();
    assert!(freezes().await.is_empty());

    wire.cut();
    let asks = |service: &str| patchplane(&["health", "--server", &address, "--service", service]).status().unwrap();
    assert!(asks("readiness").success(), "at first it is worth waiting for");
    let refused = tokio::time::timeout(Duration::from_secs(15), freezes()).await.unwrap();
    let [Err(refused)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((refused.code(), refused.reason()), (Code::Unavailable, Some("STORE_UNAVAILABLE")));
    server.tells("the store is silent").await;
    assert!(!asks("readiness").success());
    assert!(asks("liveness").success());

    wire.open();
    server.tells("the store answers again").await;
    assert!(asks("readiness").success());
    assert!(freezes().await.is_empty());
    drop(client);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().await.0, Some(0));
}
