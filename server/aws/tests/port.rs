//! The real SDK over real sockets, to the simulated account's port.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use patchplane_aws::{Access, Action, Aws, Clock, Credentials, NodeFilter, PatchCommand, SendFailure, VmFilter};
use patchplane_rules::{InstanceId, Location};
use patchplane_sim::{Fault, FaultKind, SimClock, Simulation};
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpListener;

/// As fast as the polls below, so that a scan takes a tenth of a second.
const SPEED: f64 = 600.0;

struct Port {
    simulation: Simulation,
    address: SocketAddr,
}

impl Port {
    /// Its clock is far from the system's soon.
    async fn open() -> Self {
        let now = Clock::system().now();
        let simulation = Simulation::new(SimClock::scaled(now, SPEED), 7);
        simulation.accept_signatures_by(SimClock::scaled(now, 1.0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = simulation.clone();
        tokio::spawn(async move { served.serve(listener, std::future::pending()).await });
        Self { simulation, address }
    }

    async fn aws(&self, account: &str, credentials: &Credentials) -> Aws {
        let url = format!("http://{}", self.address);
        let access = Access { clock: Clock::system(), http: None, endpoint_url: Some(url) };
        Aws::connect(&access, Location::new(account, "us-east-1").unwrap(), credentials).await.unwrap()
    }

    /// A fleet of two, and the SDK in its account.
    async fn with_fleet(account: &str) -> (Self, Aws, Vec<InstanceId>) {
        let port = Self::open().await;
        let ids = port.simulation.at(account, "us-east-1").add_nodes(2).in_group("web").missing_patches(2).create();
        let aws = port.aws(account, &keys(&Simulation::access_key(account))).await;
        (port, aws, ids.iter().map(|id| id.parse().unwrap()).collect())
    }
}

fn keys(access_key_id: &str) -> Credentials {
    Credentials::Static { access_key_id: access_key_id.to_owned(), secret_access_key: "any".to_owned() }
}

fn scan(ids: &[InstanceId]) -> PatchCommand {
    PatchCommand {
        instance_ids: ids.to_vec(),
        action: Action::Patch { operation: "Scan", reboot_option: None },
        snapshot_id: "00000000-0000-4000-8000-000000000001".to_owned(),
        comment: "marker".to_owned(),
        timeout_s: 600,
        signed_at: Clock::system().now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_lists_scans_and_reads_through_the_port_at_any_speed() {
    let (port, aws, ids) = Port::with_fleet("111122223333").await;
    assert_eq!(aws.nodes(&NodeFilter::All).await.unwrap().len(), 2, "JSON");
    assert_eq!(aws.vms(&VmFilter::All).await.unwrap().len(), 2, "XML");
    let sent = aws.send_patch_command(&scan(&ids)).await.unwrap();
    let ended = async {
        loop {
            let found = aws.invocations(&sent.command_id).await.unwrap();
            if found.len() == 2 && found.iter().all(|invocation| invocation.status.is_terminal()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    let summaries = aws.patch_summaries(&ids).await.unwrap();
    assert!(summaries.iter().all(|summary| summary.missing == 2), "{summaries:?}");
    assert!(port.simulation.counts().iter().all(|node| node.scans == 1));

    // 16 minutes of its clock are 1.6 s here: refused by the one clock, taken by the other.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    assert_eq!(aws.nodes(&NodeFilter::All).await.unwrap().len(), 2);
    let stale = Clock::system().now() - jiff::SignedDuration::from_mins(20);
    let refused = aws.send_patch_command(&PatchCommand { signed_at: stale, ..scan(&ids) }).await;
    assert!(matches!(refused, Err(SendFailure::Refused(_))), "S 1.5: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_leaves_the_outcome_of_a_send_unknown() {
    let (port, aws, ids) = Port::with_fleet("111122223333").await;
    let commands = || port.simulation.at("111122223333", "us-east-1").commands();
    for (kind, effect) in [
        (FaultKind::LoseRequest, 0),
        (FaultKind::Unreachable, 0),
        (FaultKind::LoseAnswer, 1),
        (FaultKind::GarbleAnswer, 1),
        (FaultKind::ServerErrorAfterEffect, 1),
    ] {
        let before = commands();
        let operation = Some("SendCommand".to_owned());
        port.simulation.inject(Fault { location: None, operation, skip: 0, times: 1, kind });
        let unknown = aws.send_patch_command(&scan(&ids)).await;
        assert!(matches!(unknown, Err(SendFailure::Unknown(_))), "{kind:?}: {unknown:?}");
        assert_eq!(commands() - before, effect, "{kind:?}: sent once and no more");
    }
    let since = Clock::system().now() - jiff::SignedDuration::from_mins(15);
    let listed = async {
        while aws.patch_commands_since(since).await.unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), listed).await.unwrap();
}
