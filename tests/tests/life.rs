//! How servers begin and end, as processes: what their health says meanwhile, what becomes of those who call, and that two
//! of them on one PostgreSQL share the work, outlive its restart, and can be replaced one by one under load.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use futures::StreamExt as _;
use patchplane_client::{
    Client, Error, Retry,
    api::{
        CreateFreezeRequest, CreatePatchOperationRequest, DeleteFreezeRequest, Freeze, GetPatchOperationRequest,
        ListFreezesRequest, PatchOperation, WatchPatchOperationRequest,
        freeze::{Scope, scope::Selector},
        patch_operation::State,
    },
};
use patchplane_server::store::Place;
use patchplane_tests::{
    PARENT, install,
    postgres::Postgres,
    processes::{Home, Process, Signal, Sim, patchplane},
    scan,
    wire::Wire,
};
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, sleep},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint, channel::Change},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

const PATIENCE: Duration = Duration::from_secs(60);

/// How many calls a load has under way at most.
const MOST_AT_ONCE: usize = 100;

/// Two replicas may each take this long to be replaced: lame duck, drain, start.
const LAME_DUCK: &str = "2s";

fn place(place: &Place) -> String {
    let Place::Postgres(url) = place else { panic!("{place:?} is no PostgreSQL") };
    url.clone()
}

fn url(address: &str) -> String {
    format!("http://{address}")
}

/// What the health of a server says of a service: `liveness`, `readiness`, or of the whole.
async fn health(address: &str, service: &str) -> ServingStatus {
    let channel = Endpoint::from_shared(url(address)).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status()
}

fn freeze(scope: Scope, reason: &str) -> CreateFreezeRequest {
    CreateFreezeRequest {
        freeze: Some(Freeze { scope: Some(scope), reason: reason.to_owned(), ..Freeze::default() }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreateFreezeRequest::default()
    }
}

// === Beginning ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_database_is_not_there_yet_is_alive_says_so_and_begins_when_it_comes() {
    let sim = Sim::start(1).await;
    let postgres = Postgres::new();
    let wire = Wire::shut(&postgres);
    let home = Home::new(Some(&place(&wire.place())), None);
    let mut serve = home.serve_by_its_time(&sim);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    // The last one counts.
    serve.env("PATCHPLANE_LISTEN", &address);
    let server = Process::start(serve);
    server.tells("the store does not answer yet").await;
    let address = server.told().split_once("listening on=").unwrap().1.split([' ', '\n']).next().unwrap().to_owned();

    assert_eq!(health(&address, "liveness").await, ServingStatus::Serving);
    for service in ["", "readiness", "patchplane.v1.PatchOperationService"] {
        assert_eq!(health(&address, service).await, ServingStatus::NotServing, "{service:?}");
    }
    let asks = |line: &[&str]| patchplane(line).output().unwrap().status.code();
    assert_eq!(asks(&["health", "--server", &url(&address), "--service", "liveness"]), Some(0));
    assert_eq!(asks(&["health", "--server", &url(&address)]), Some(1));
    let client = Client::connect(url(&address)).await.unwrap();
    let refused = client.freezes().list_freezes(ListFreezesRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.get_error_details().error_info().unwrap().reason, "SERVER_STARTING");

    wire.open();
    server.tells("serving").await;
    for service in ["", "liveness", "readiness"] {
        assert_eq!(health(&address, service).await, ServingStatus::Serving, "{service:?}");
    }
    client.list_freezes(ListFreezesRequest::default()).collect::<Vec<_>>().await;
    drop(client);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().await.0, Some(0));
}

// === Ending ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_sends_callers_elsewhere_first_and_cuts_nobody_off() {
    let sim = Sim::start(1).await;
    sim.makes_nodes(2);
    let home = Home::new(None, None);
    let mut serve = home.serve_by_its_time(&sim);
    serve.env("PATCHPLANE_DRAIN__LAME_DUCK", LAME_DUCK);
    let server = Process::start(serve);
    let address = server.tells("serving address=").await;
    let client = Client::connect(url(&address)).await.unwrap();
    let mut request = install("web");
    request.request_id = uuid::Uuid::new_v4().to_string();
    let name = client.create_patch_operation(request).await.unwrap().patch_operation.unwrap().name;
    let watch = WatchPatchOperationRequest { name: name.clone(), resume_token: String::new() };
    let mut watch = client.patch_operations().watch_patch_operation(watch).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    // Whoever watches the health has no reason of their own ever to stop.
    let channel = Endpoint::from_shared(url(&address)).unwrap().connect().await.unwrap();
    let mut watched = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    server.signal(Signal::TERM);
    server.tells("callers are sent elsewhere").await;
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(health(&address, "readiness").await, ServingStatus::NotServing);
    assert_eq!(health(&address, "liveness").await, ServingStatus::Serving);
    // Who comes all the same is served.
    let late = Client::connect(url(&address)).await.unwrap();
    late.get_patch_operation(GetPatchOperationRequest { name: name.clone() }).await.unwrap();

    // The streams end as those of a server that is leaving, and can be taken up where they were.
    let mut token = first.resume_token;
    let ended = loop {
        match watch.message().await {
            Ok(Some(message)) if message.resume_token.is_empty() => {}
            Ok(Some(message)) => token = message.resume_token,
            Ok(None) => panic!("the watch ended as if the operation had"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(ended.get_error_details().error_info().unwrap().reason, "SERVER_DRAINING");
    let health_ended = watched.message().await.unwrap_err();
    assert_eq!(health_ended.code(), Code::Unavailable);
    let begun = Instant::now();
    drop((client, late));
    let (code, told) = server.ends().await;
    assert_eq!(code, Some(0), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{told}");
    assert!(!told.contains("cut off") && !told.contains("did not finish"), "{told}");

    let again = home.serves(&sim);
    let client = Client::connect(url(&again.tells("serving address=").await)).await.unwrap();
    let watch = WatchPatchOperationRequest { name: name.clone(), resume_token: token };
    let mut watch = client.patch_operations().watch_patch_operation(watch).await.unwrap().into_inner();
    while let Some(_message) = watch.message().await.unwrap() {}
    assert_eq!(client.wait(name).await.unwrap().state(), State::Succeeded);
    assert_eq!(sim.installs(), [1, 1]);
}

// === Two replicas ===

/// Two replicas on a PostgreSQL of their own, and callers who are spread over both.
struct Replicas {
    sim: Sim,
    home: Home,
    postgres: Postgres,
    servers: Vec<(String, Process)>,
    changes: tokio::sync::mpsc::Sender<Change<String, Endpoint>>,
    client: Client,
}

impl Replicas {
    async fn start() -> Self {
        let (sim, postgres) = (Sim::start(1).await, Postgres::alone());
        sim.makes_nodes(4);
        let home = Home::new(Some(&place(&postgres.place())), None);
        home.says("[telemetry]\nprometheus = \"127.0.0.1:0\"");
        let (channel, changes) = Channel::balance_channel(16);
        let mut replicas =
            Self { sim, home, postgres, servers: Vec::new(), changes, client: Client::from_channel(channel) };
        replicas.add().await;
        replicas.add().await;
        replicas
    }

    async fn add(&mut self) {
        let mut serve = self.home.serve_by_its_time(&self.sim);
        serve.env("PATCHPLANE_DRAIN__LAME_DUCK", LAME_DUCK);
        let server = Process::start(serve);
        let address = server.tells("serving address=").await;
        let endpoint = Endpoint::from_shared(url(&address)).unwrap();
        self.changes.send(Change::Insert(address.clone(), endpoint)).await.unwrap();
        self.servers.push((address, server));
    }

    /// Ends the oldest as a deployment does: it is told, callers hear of it while it still serves, and then it is gone.
    async fn replace_the_oldest(&mut self) {
        self.add().await;
        let (address, server) = self.servers.remove(0);
        server.signal(Signal::TERM);
        server.tells("callers are sent elsewhere").await;
        assert_eq!(health(&address, "readiness").await, ServingStatus::NotServing);
        self.changes.send(Change::Remove(address)).await.unwrap();
        let (code, told) = server.ends().await;
        assert_eq!(code, Some(0), "{told}");
        assert!(!told.contains("cut off") && !told.contains("did not finish"), "{told}");
    }

    /// How many calls of this method each has answered well.
    async fn answered(&self, method: &str) -> Vec<u64> {
        let mut counts = Vec::new();
        for (_, server) in &self.servers {
            let address = server.tells("metrics=").await;
            let mut stream = TcpStream::connect(&address).unwrap();
            write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let line = text.lines().find(|line| {
                line.starts_with("rpc_server_call_duration_seconds_count")
                    && line.contains(method)
                    && line.contains("\"OK\"")
            });
            counts.push(line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap()));
        }
        counts
    }

    async fn finish(&self, name: &str) -> PatchOperation {
        match tokio::time::timeout(PATIENCE, self.client.wait(name)).await {
            Ok(ended) => ended.unwrap(),
            Err(_) => {
                let request = GetPatchOperationRequest { name: name.to_owned() };
                panic!("it does not end: {:?}", self.client.get_patch_operation(request).await)
            }
        }
    }

    /// Starts an operation on all nodes, which waits for the end of a freeze; gives the names of both.
    async fn frozen_install(&self) -> (String, String) {
        let frozen = Scope { location: PARENT.to_owned(), selector: None };
        let frozen = self.client.create_freeze(freeze(frozen, "until both are replaced")).await.unwrap();
        let request = CreatePatchOperationRequest { request_id: uuid::Uuid::new_v4().to_string(), ..install("web") };
        let created = self.client.create_patch_operation(request).await.unwrap();
        (created.patch_operation.unwrap().name, frozen.freeze.unwrap().name)
    }
}

/// Callers, so many calls a second: nine of ten read an operation, the tenth creates a freeze.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    /// What was acknowledged.
    freezes: Arc<Mutex<BTreeSet<String>>>,
    /// What failed, though it was tried again as the client does.
    failures: Arc<Mutex<Vec<Error>>>,
    running: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(client: Client, operation: String, every: Duration) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (freezes, failures) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(Vec::new())));
        let running = tokio::spawn({
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let (freezes, failures) = (Arc::clone(&freezes), Arc::clone(&failures));
            async move {
                let (mut tick, mut under_way) = (tokio::time::interval(every), JoinSet::new());
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !stop.load(Ordering::SeqCst) {
                    tick.tick().await;
                    // A machine that is busy with something else is asked more slowly.
                    while under_way.len() >= MOST_AT_ONCE {
                        under_way.join_next().await;
                    }
                    while under_way.try_join_next().is_some() {}
                    let number = calls.fetch_add(1, Ordering::SeqCst);
                    let (client, name) = (client.clone(), operation.clone());
                    let (freezes, failures) = (Arc::clone(&freezes), Arc::clone(&failures));
                    under_way.spawn(async move {
                        let answer = if number.is_multiple_of(10) {
                            let created = client.create_freeze(freeze(of_nobody(), &format!("load {number}"))).await;
                            let created = created.map(|answer| answer.freeze.unwrap().name);
                            match created {
                                Ok(name) => {
                                    freezes.lock().await.insert(name);
                                    Ok(())
                                }
                                Err(error) => Err(error),
                            }
                        } else {
                            client.get_patch_operation(GetPatchOperationRequest { name }).await.map(drop)
                        };
                        if let Err(error) = answer {
                            failures.lock().await.push(error);
                        }
                    });
                }
                while under_way.join_next().await.is_some() {}
            }
        });
        Self { stop, calls, freezes, failures, running }
    }

    /// Ends, and gives the number of calls, what was acknowledged and what failed.
    async fn ends(self) -> (usize, BTreeSet<String>, Vec<Error>) {
        self.stop.store(true, Ordering::SeqCst);
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap();
        let freezes = self.freezes.lock().await.clone();
        let failures = std::mem::take(&mut *self.failures.lock().await);
        (self.calls.load(Ordering::SeqCst), freezes, failures)
    }
}

/// A group that nobody is in.
fn of_nobody() -> Scope {
    Scope { location: PARENT.to_owned(), selector: Some(Selector::PatchGroup("nobody".to_owned())) }
}

/// Nothing that was acknowledged is lost.
async fn all_there(client: &Client, acknowledged: &BTreeSet<String>) {
    let listed: Vec<_> = client.list_freezes(ListFreezesRequest::default()).collect().await;
    let names: BTreeSet<String> = listed.into_iter().map(|freeze| freeze.unwrap().name).collect();
    let lost: Vec<_> = acknowledged.difference(&names).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_replaced_one_by_one_under_load_and_no_call_is_lost() {
    let mut replicas = Replicas::start().await;
    let (name, frozen) = replicas.frozen_install().await;
    let watchers: Vec<_> = (0..100)
        .map(|_| {
            let mut watched = replicas.client.watch(name.clone());
            tokio::spawn(async move {
                let mut last = None;
                while let Some(message) = watched.next().await {
                    last = Some(message.unwrap());
                }
                last.unwrap()
            })
        })
        .collect();
    let load = Load::start(replicas.client.clone(), name.clone(), Duration::from_millis(5));
    let begun = Instant::now();
    let spread = async {
        loop {
            let answered = replicas.answered("GetPatchOperation").await;
            if answered.iter().sum::<u64>() > 300 {
                return answered;
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, spread).await.unwrap();
    let least = *answered.iter().min().unwrap();
    assert!(least * 4 > answered.iter().sum(), "the load is on one of them: {answered:?}");

    replicas.replace_the_oldest().await;
    replicas.replace_the_oldest().await;
    let (calls, acknowledged, failures) = load.ends().await;
    let rate = calls as f64 / begun.elapsed().as_secs_f64();
    assert!(failures.is_empty(), "{} of {calls} calls failed: {:?}", failures.len(), failures.first());
    assert!(calls > 300 && acknowledged.len() > 30, "{calls} calls, {} acknowledged", acknowledged.len());
    all_there(&replicas.client, &acknowledged).await;

    let thaw = DeleteFreezeRequest { name: frozen, ..DeleteFreezeRequest::default() };
    replicas.client.delete_freeze(thaw).await.unwrap();
    let ended = replicas.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{ended:?}");
    for watcher in watchers {
        tokio::time::timeout(PATIENCE, watcher).await.unwrap().unwrap();
    }
    assert_eq!(replicas.sim.installs(), [1; 4]);
    println!(
        "{calls} calls, {rate:.0} a second, and 100 watchers while two replicas were replaced: none failed, {} mutations \
         acknowledged, none lost",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_under_load_is_told_cleanly_and_loses_nothing() {
    let replicas = Replicas::start().await;
    let request = CreatePatchOperationRequest { request_id: uuid::Uuid::new_v4().to_string(), ..scan("web") };
    let created = replicas.client.create_patch_operation(request).await.unwrap();
    let name = created.patch_operation.unwrap().name;
    // As callers see it who never try again.
    let once = replicas.client.clone().with_retry(Retry { attempts: 1, ..Retry::default() });
    let load = Load::start(once, name.clone(), Duration::from_millis(20));
    for _ in 0..2 {
        sleep(Duration::from_secs(2)).await;
        let postgres = &replicas.postgres;
        tokio::task::block_in_place(|| postgres.restart());
    }
    sleep(Duration::from_secs(2)).await;
    let (calls, acknowledged, failures) = load.ends().await;
    for error in &failures {
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        assert_eq!(error.reason(), Some("STORE_UNAVAILABLE"), "{error:?}");
    }
    // It answers again, to everybody, at once.
    for _ in 0..50 {
        replicas.client.get_patch_operation(GetPatchOperationRequest { name: name.clone() }).await.unwrap();
    }
    all_there(&replicas.client, &acknowledged).await;
    let ended = tokio::time::timeout(PATIENCE, replicas.client.wait(name)).await.unwrap().unwrap();
    assert_eq!(ended.state(), State::Succeeded);
    for (address, _) in &replicas.servers {
        assert_eq!(health(address, "readiness").await, ServingStatus::Serving, "a short outage is no reason to leave");
    }
    println!(
        "{calls} calls while the database was restarted twice: {} failed as UNAVAILABLE, {} acknowledged, none lost",
        failures.len(),
        acknowledged.len()
    );
}
