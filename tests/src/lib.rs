//! A world for tests: a simulated AWS, a whole server in this process, and a client over a pipe in memory. Its clock stands
//! still until a test moves it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

mod asked;
pub mod changes;
pub mod otlp;
pub mod postgres;
pub mod processes;
pub mod raw;
pub mod schedules;
pub mod shell;
pub mod stored;
pub mod wire;

use hyper_util::rt::TokioIo;
use patchplane_aws::Aws;
use patchplane_client::{
    Client,
    api::{
        ApprovalRule, AttachBaselineRequest, Baseline, CreateBaselineRequest, CreateFreezeRequest,
        CreatePatchOperationRequest, Freeze, GetPatchOperationRequest, InstanceLimit, ListPatchOperationTargetsRequest,
        PatchFilter, PatchGroup, PatchOperation, PatchOperationTarget, Rollout, TargetSelection,
        approval_rule::Approval,
        freeze::{Scope, scope::Selector},
        instance_limit::Amount,
        patch_operation::{Kind, RebootOption},
    },
};
use patchplane_rules::Location;
use patchplane_server::{
    config::AdvisoryFeed,
    operation::Settings,
    server::{Server, simulated},
    store::{CrashPoint, Place, Store},
};
use patchplane_sim::{Fault, FaultKind, SimClock, SimLocation, Simulation};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::DuplexStream,
    net::TcpListener,
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// The account and Region that tests work in unless they say otherwise.
pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "us-east-1";
/// Its resource name.
pub const PARENT: &str = "accounts/111122223333/regions/us-east-1";

/// How long, in real time, a server may take to come to rest before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long, in real time, nothing moves before a call is taken to wait for the clock.
const QUIET: Duration = Duration::from_millis(20);
/// How long the claims of a server last that shares its database: somewhat longer than a busy machine makes it pause.
const SHARED_LEASE: Duration = Duration::from_secs(5);
/// How often the clock may jump before an operation must have ended.
const MOST_JUMPS: usize = 5_000;

pub struct World {
    pub client: Client,
    pub simulation: Simulation,
    server: Server,
    connection: JoinHandle<()>,
    place: Place,
    folder: Arc<TempDir>,
    /// Whether a fault was injected: calls may pause until the clock moves.
    faulty: AtomicBool,
    asked: asked::Asked,
}

impl World {
    /// An empty account in each of the four locations.
    pub async fn start() -> Self {
        let clock = SimClock::manual(simulated::START.parse().unwrap());
        Self::around(Simulation::new(clock, 1), None).await
    }

    /// The fleets of the demo.
    pub async fn showcase() -> Self {
        let clock = SimClock::manual(simulated::START.parse().unwrap());
        Self::around(Simulation::showcase(clock, 1), None).await
    }

    /// A server around this account, which dies where `crash` says.
    pub async fn around(simulation: Simulation, crash: Option<CrashPoint>) -> Self {
        let (folder, place) = file();
        Self::open(simulation, folder, place, crash).await
    }

    /// The same, with the store in a PostgreSQL, say.
    pub async fn kept_in(place: Place, simulation: Simulation, crash: Option<CrashPoint>) -> Self {
        Self::open(simulation, file().0, place, crash).await
    }

    /// An empty account, and a server with these advisory files.
    pub async fn with_feeds(feeds: Vec<AdvisoryFeed>) -> Self {
        let simulation = Simulation::new(SimClock::manual(simulated::START.parse().unwrap()), 1);
        let (folder, place) = file();
        Self::open_with(simulation, folder, place, None, feeds).await
    }

    async fn open(simulation: Simulation, folder: Arc<TempDir>, place: Place, crash: Option<CrashPoint>) -> Self {
        Self::open_with(simulation, folder, place, crash, Vec::new()).await
    }

    async fn open_with(
        simulation: Simulation,
        folder: Arc<TempDir>,
        place: Place,
        crash: Option<CrashPoint>,
        feeds: Vec<AdvisoryFeed>,
    ) -> Self {
        let store = Store::open(&place, crash).await.unwrap();
        let (clock, locations): (_, BTreeMap<Location, Aws>) = simulated::connect(&simulation).await.unwrap();
        let mut settings = Settings::default();
        if !matches!(place, Place::File(_)) {
            settings.lease = SHARED_LEASE;
        }
        let server = Server::start_with(clock, locations, store, feeds, settings).await.unwrap();
        let (channel, connection) = pipe(&server).await;
        let (client, faulty) = (Client::from_channel(channel), AtomicBool::new(false));
        let asked = asked::Asked(simulation.clone());
        Self { client, simulation, server, connection, place, folder, faulty, asked }
    }

    /// Kills the server and starts another on the same store: nothing of the first lives on.
    pub async fn restart(self) -> Self {
        self.restart_with(None).await
    }

    pub async fn restart_with(self, crash: Option<CrashPoint>) -> Self {
        self.restart_after(crash, async |_| ()).await
    }

    /// The same, and something is done with the store while no server has it open.
    pub async fn restart_after(self, crash: Option<CrashPoint>, meanwhile: impl AsyncFnOnce(&Place)) -> Self {
        let Self { client, simulation, server, connection, place, folder, faulty, asked } = self;
        server.app().engine().stop();
        connection.abort();
        drop((client, asked));
        server.app().store().close().await;
        drop(server);
        meanwhile(&place).await;
        let world = Self { faulty, ..Box::pin(Self::open(simulation, folder, place, crash)).await };
        // On a shared database the claims of the dead last until their lease is over. What is left may end at once.
        let claimed = async {
            loop {
                let (going_on, _) = world.store().going_on(None).await.unwrap();
                let ours = going_on.iter().filter(|listed| listed.operation.id.is_ours()).count();
                if world.server.app().engine().working_on() >= ours {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, claimed).await.unwrap_or_else(|_| panic!("nobody takes up what was left"));
        world
    }

    /// The account in the usual location.
    pub fn account(&self) -> SimLocation {
        self.simulation.at(ACCOUNT, REGION)
    }

    pub fn store(&self) -> &Store {
        self.server.app().store()
    }

    /// How many operations the server has claimed and works on.
    pub fn working_on(&self) -> usize {
        self.server.app().engine().working_on()
    }

    /// Whether a crash point was reached.
    pub async fn has_crashed(&self) -> bool {
        self.store().check().await.is_err()
    }

    /// Waits, in real time, until the server has nothing to do before the clock moves. Pauses in the midst of a call of
    /// AWS (the SDK tries again later, a request travels) pass meanwhile.
    pub async fn settle(&self) {
        let mut busy = self.server.app().engine().busy();
        let rest = async {
            loop {
                // Without faults nothing pauses in the midst of a call, and a busy machine is not taken for a pause.
                let quiet = if self.faulty.load(Ordering::Relaxed) { QUIET } else { PATIENCE };
                while tokio::time::timeout(quiet, busy.wait_for(|busy| *busy == 0)).await.is_err() {
                    self.simulation.clock().advance_to_next();
                }
                if self.simulation.clock().unpolled_wakes() == 0 && *busy.borrow() == 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.unwrap_or_else(|_| panic!("the server does not come to rest"));
    }

    /// Lets the world go on until this is so, and not a step further; `false`: it never is. The clock moves only when nothing
    /// is being done: a call that hangs is still under way.
    pub async fn play_until(&self, reached: impl Fn(&Simulation) -> bool) -> bool {
        let (clock, busy) = (self.simulation.clock(), self.server.app().engine().busy());
        for _ in 0..MOST_JUMPS {
            while *busy.borrow() > 0 || clock.unpolled_wakes() > 0 {
                if reached(&self.simulation) {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if reached(&self.simulation) {
                return true;
            }
            if clock.advance_to_next().is_none() {
                return false;
            }
        }
        false
    }

    /// Lets something go wrong from now on.
    pub fn inject(&self, fault: Fault) {
        self.faulty.store(true, Ordering::Relaxed);
        self.simulation.inject(fault);
    }

    /// The same for so many per cent of the requests.
    pub fn inject_by_chance(&self, fault: Fault, percent: f64) {
        self.faulty.store(true, Ordering::Relaxed);
        self.simulation.inject_by_chance(fault, percent);
    }

    /// Moves the clock to the next moment at which the server wants to do something, and lets it.
    pub async fn step(&self) -> bool {
        self.settle().await;
        let moved = self.simulation.clock().advance_to_next().is_some();
        self.settle().await;
        moved
    }

    /// Moves the clock until the operation has ended.
    pub async fn finish(&self, name: &str) -> PatchOperation {
        for _ in 0..MOST_JUMPS {
            self.settle().await;
            let operation = self.operation(name).await;
            if patchplane_client::has_ended(&operation) {
                return operation;
            }
            assert!(self.step().await, "{name} is {:?} and nothing is going on", operation.state());
        }
        panic!("{name} does not end: {:?}\n{:?}", self.operation(name).await, self.targets(name).await);
    }

    /// Awaits a call in whose midst the clock must move: the SDK pauses before it tries again.
    pub async fn patiently<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            match tokio::time::timeout(QUIET, call.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) => self.simulation.clock().advance_to_next(),
            };
        }
    }

    /// Creates an operation.
    pub async fn create(&self, request: CreatePatchOperationRequest) -> PatchOperation {
        let created = self.client.patch_operations().create_patch_operation(request).await.unwrap();
        created.into_inner().patch_operation.unwrap()
    }

    /// Creates an operation and sees it to its end.
    pub async fn run(&self, request: CreatePatchOperationRequest) -> PatchOperation {
        let name = self.create(request).await.name;
        self.finish(&name).await
    }

    /// Attaches a baseline in the usual location.
    pub async fn attach(&self, group: &str, baseline_id: &str) -> PatchGroup {
        let request = AttachBaselineRequest {
            name: format!("{PARENT}/patchGroups/{group}"),
            baseline: format!("{PARENT}/baselines/{baseline_id}"),
            ..AttachBaselineRequest::default()
        };
        self.client.attach_baseline(request).await.unwrap().patch_group.unwrap()
    }

    /// Makes an Amazon Linux 2 baseline of the account's own in the usual location, which approves these severities.
    pub async fn own_baseline(&self, display_name: &str, severities: &[&str]) -> Baseline {
        let request = CreateBaselineRequest {
            parent: PARENT.to_owned(),
            baseline: Some(baseline(display_name, severities, 1)),
            ..CreateBaselineRequest::default()
        };
        self.client.create_baseline(request).await.unwrap().baseline.unwrap()
    }

    pub async fn operation(&self, name: &str) -> PatchOperation {
        let request = GetPatchOperationRequest { name: name.to_owned() };
        self.client.get_patch_operation(request).await.unwrap().patch_operation.unwrap()
    }

    /// All targets of an operation, by instance id.
    pub async fn targets(&self, name: &str) -> Vec<PatchOperationTarget> {
        use futures::TryStreamExt as _;
        let request = ListPatchOperationTargetsRequest { parent: name.to_owned(), ..Default::default() };
        self.client.list_patch_operation_targets(request).try_collect().await.unwrap()
    }

    /// A bare channel to the server, for stubs and fuzzing.
    pub async fn channel(&self) -> (Channel, AbortHandle) {
        let (channel, connection) = pipe(&self.server).await;
        (channel, connection.abort_handle())
    }

    /// Serves on a free port of loopback too, for processes such as `patchctl`; gives the address.
    pub async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder().add_routes(self.server.routes());
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// Everything that a request could have changed: the simulated account, and the store's number of commits.
    pub fn fingerprint(&self) -> (serde_json::Value, u64) {
        (self.simulation.fingerprint(), self.store().commits())
    }
}

/// Whether the long forms of the tests are wanted: `PATCHPLANE_TESTS=full`, as `.ci/run --full` has it.
pub fn full() -> bool {
    std::env::var("PATCHPLANE_TESTS").is_ok_and(|wanted| wanted == "full")
}

/// A file for a store, in a folder that is to be kept as long.
fn file() -> (Arc<TempDir>, Place) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("patchplane.db"));
    (Arc::new(folder), place)
}

/// A request to scan a group.
pub fn scan(group: &str) -> CreatePatchOperationRequest {
    request(PatchOperation { kind: Kind::Scan.into(), targets: Some(groups(group)), ..PatchOperation::default() })
}

/// A request to install what a group lacks, all nodes at once.
pub fn install(group: &str) -> CreatePatchOperationRequest {
    install_by(group, Amount::Count(50))
}

/// A request to install what a group lacks, so many nodes at once.
pub fn install_by(group: &str, concurrency: Amount) -> CreatePatchOperationRequest {
    request(PatchOperation {
        kind: Kind::Install.into(),
        targets: Some(groups(group)),
        reboot_option: RebootOption::RebootIfNeeded.into(),
        rollout: Some(Rollout { concurrency: Some(InstanceLimit { amount: Some(concurrency) }), max_failures: None }),
        ..PatchOperation::default()
    })
}

/// A request to install what the group `web` lacks, two nodes at once, that no failure stops: every node's fate is to be seen.
/// Several proofs of absence take hours.
pub fn unstopped() -> CreatePatchOperationRequest {
    let mut request = install_by("web", Amount::Count(2));
    let asked = request.patch_operation.as_mut().unwrap();
    asked.rollout.as_mut().unwrap().max_failures = Some(InstanceLimit { amount: Some(Amount::Count(50)) });
    asked.max_duration = Some(prost_types::Duration { seconds: 24 * 3600, nanos: 0 });
    request
}

/// A request to freeze a group everywhere, from now on.
pub fn freeze(group: &str) -> CreateFreezeRequest {
    let selector = Some(Selector::PatchGroup(group.to_owned()));
    CreateFreezeRequest {
        freeze: Some(Freeze {
            scope: Some(Scope { location: String::new(), selector }),
            reason: "stock-taking".to_owned(),
            ..Freeze::default()
        }),
        ..CreateFreezeRequest::default()
    }
}

/// An Amazon Linux 2 baseline that approves security patches of these severities, so many days after their release.
pub fn baseline(display_name: &str, severities: &[&str], days: i32) -> Baseline {
    let filter = |key: &str, values: &[&str]| PatchFilter {
        key: key.to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let rule = ApprovalRule {
        filters: vec![filter("CLASSIFICATION", &["Security"]), filter("SEVERITY", severities)],
        approval: Some(Approval::ApproveAfterDays(days)),
        ..ApprovalRule::default()
    };
    Baseline {
        display_name: display_name.to_owned(),
        operating_system: "AMAZON_LINUX_2".to_owned(),
        approval_rules: vec![rule],
        ..Baseline::default()
    }
}

/// A request under a request id of its own, in the usual location.
pub fn request(operation: PatchOperation) -> CreatePatchOperationRequest {
    CreatePatchOperationRequest {
        parent: PARENT.to_owned(),
        patch_operation: Some(operation),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreatePatchOperationRequest::default()
    }
}

pub fn groups(group: &str) -> TargetSelection {
    TargetSelection { patch_groups: vec![group.to_owned()], ..TargetSelection::default() }
}

/// This goes wrong in every location, so many times.
pub fn fault(operation: &str, kind: FaultKind, times: u32) -> Fault {
    Fault { location: None, operation: Some(operation.to_owned()), skip: 0, times, kind }
}

/// What a refusal tells a machine: the code, the reason, and the fields that are wrong.
pub fn refusal(status: &Status) -> (Code, String, Vec<String>) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo with {status:?}"));
    assert_eq!(info.domain, "patchplane.v1", "{status:?}");
    let fields =
        details.bad_request().map(|bad| bad.field_violations.iter().map(|wrong| wrong.field.clone()).collect());
    (status.code(), info.reason.clone(), fields.unwrap_or_default())
}

/// Serves over a pipe in memory: no port, no socket.
async fn pipe(server: &Server) -> (Channel, JoinHandle<()>) {
    let (dial, accept) = mpsc::channel::<std::io::Result<DuplexStream>>(4);
    let routes = server.routes();
    let serving = tokio::spawn(async move {
        let incoming = ReceiverStream::new(accept);
        tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming).await.unwrap();
    });
    let connector = tower::service_fn(move |_| {
        let dial = dial.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            dial.send(Ok(theirs)).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(ours))
        }
    });
    let channel = Endpoint::from_static("http://pipe").connect_with_connector(connector).await.unwrap();
    (channel, serving)
}
