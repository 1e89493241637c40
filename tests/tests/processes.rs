//! `patchplane` as processes that are killed, stopped and told to end: a simulated AWS, servers that work against it, and the
//! commands that look after a store. However servers end, no agent begins an installation twice, and no operation is lost.
//! The short forms play a few rounds at once, the long ones (`PATCHPLANE_TESTS=full`) many.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use futures::StreamExt as _;
use patchplane_client::{
    Client,
    api::{
        CreatePatchOperationRequest, GetPatchOperationRequest, ListPatchOperationsRequest, PatchOperation,
        WatchPatchOperationRequest, patch_operation::State,
    },
};
use patchplane_server::store::Place;
use patchplane_tests::{
    ACCOUNT, PARENT, full,
    postgres::Postgres,
    processes::{Home, Process, Signal, Sim, patchplane},
    shell::Ended,
    unstopped,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt, ops::AddAssign, time::Duration};
use tokio::time::{Instant, sleep};

const NODES: usize = 5;
/// How many rounds are played at once.
const AT_ONCE: usize = 5;
/// How many servers a round kills before it lets one live.
const MOST_KILLS: usize = 12;
/// How long, in real time, an operation may take when nobody is killed any more.
const PATIENCE: Duration = Duration::from_secs(110);

/// What became of some rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rounds: usize,
    /// Servers that were killed, and that were stopped for a while.
    lost: usize,
    /// Sends without a recorded answer, which were found in AWS, or proven never to have got there.
    adopted: usize,
    absent: usize,
    /// Commands that a store does not know any more, for it was brought back from an earlier time.
    forgotten: usize,
    /// Operations that another server went on with, and writes that were refused to the one that had lost them.
    taken_over: usize,
    fenced: usize,
    seconds: u64,
}

impl Tally {
    fn heard(&mut self, told: &str) {
        let count = |what: &str| told.matches(what).count();
        self.adopted += count("command found and adopted");
        self.absent += count("proven never to have reached AWS");
        self.forgotten += count("a forgotten command is found");
        self.taken_over += count("an operation that another process left goes on here");
        self.fenced += count("another process works on the operation");
        self.fenced += count("another process has taken the operation over");
        assert_eq!(count("DUPLICATE_DISPATCH"), 0, "{told}");
        assert_eq!(count("a panic"), 0, "{told}");
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { rounds, lost, adopted, absent, forgotten, taken_over, fenced, seconds: _ } = other;
        self.rounds += rounds;
        self.lost += lost;
        self.adopted += adopted;
        self.absent += absent;
        self.forgotten += forgotten;
        self.taken_over += taken_over;
        self.fenced += fenced;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, lost, adopted, absent, forgotten, taken_over, fenced, seconds } = self;
        write!(
            f,
            "{rounds} rounds, {lost} servers lost, {adopted} sends adopted, {absent} proven absent, {forgotten} remembered, \
             {taken_over} operations taken over, {fenced} losers fenced, {seconds} s: no node installed twice, no operation lost"
        )
    }
}

/// Plays so many rounds, several at once.
async fn play<R: Future<Output = Tally> + Send + 'static>(rounds: u64, round: fn(u64) -> R) -> Tally {
    let begun = Instant::now();
    let played = futures::stream::iter(0..rounds).map(|seed| async move { tokio::spawn(round(seed)).await.unwrap() });
    let mut tally = Tally::default();
    let mut played = played.buffer_unordered(AT_ONCE);
    while let Some(round) = played.next().await {
        tally += round;
    }
    assert_eq!(tally.rounds, usize::try_from(rounds).unwrap());
    tally.seconds = begun.elapsed().as_secs();
    tally
}

async fn client(server: &Process) -> Client {
    Client::connect(format!("http://{}", server.tells("serving address=").await)).await.unwrap()
}

/// Sends the same request until it is answered, as callers do; gives the operation's name.
async fn create(client: &Client, request: &CreatePatchOperationRequest) -> String {
    loop {
        match client.patch_operations().create_patch_operation(request.clone()).await {
            Ok(answer) => return answer.into_inner().patch_operation.unwrap().name,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Until AWS has got so many requests to send a command; for at most as long.
async fn sends_arrive(sim: &Sim, count: u64, most: Duration) {
    let arrive = async {
        while sim.requests("SendCommand") < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(most, arrive).await.ok();
}

/// Every node was installed once, that is known, and there is one operation.
async fn all_is_well(case: &str, sim: &Sim, client: &Client, ended: &PatchOperation) {
    assert_eq!(sim.installs(), [1; NODES], "{case}: {ended:?}");
    assert_eq!(ended.state(), State::Succeeded, "{case}: {}", ended.explanation);
    let request = ListPatchOperationsRequest { parent: PARENT.to_owned(), ..Default::default() };
    let listed: Vec<_> = client.list_patch_operations(request).collect().await;
    assert_eq!(listed.len(), 1, "{case}: {listed:?}");
}

// === One server on SQLite, killed ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_installs_nothing_twice_and_loses_nothing() {
    let tally = play(if full() { 50 } else { 5 }, killed_again_and_again).await;
    println!("{tally}");
    assert!(tally.lost >= 3 * tally.rounds && tally.adopted > 0, "it was not much of a test: {tally:?}");
}

/// What goes wrong between server and AWS besides, in turn; times are the simulation's.
fn mishap(seed: u64) -> Value {
    match seed % 5 {
        0 => json!([]),
        // The answer is on its way for long, or the request is: then the killed server does not get it, or its send arrives
        // when the next one looks for it.
        1 => json!([{ "operation": "SendCommand", "kind": "delay_answer", "seconds": 15, "times": 0 }]),
        2 => json!([{ "operation": "SendCommand", "kind": "delay", "seconds": 15, "times": 0 }]),
        3 => json!([{ "operation": "SendCommand", "kind": "lose_request" }]),
        _ => {
            json!([{ "kind": "throttle", "times": 0, "percent": 5 }, { "kind": "lose_answer", "times": 0, "percent": 5 }])
        }
    }
}

async fn killed_again_and_again(seed: u64) -> Tally {
    let case = format!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let sim = Sim::start(seed).await;
    sim.makes_nodes(NODES);
    sim.fate("POST", "faults", &json!({ "faults": mishap(seed) }));
    let (home, request) = (Home::new(None, None), unstopped());
    let (mut tally, mut names) = (Tally { rounds: 1, ..Tally::default() }, BTreeSet::new());
    let (server, client, ended) = loop {
        let server = home.serves(&sim);
        let seen_to_its_end = async {
            let client = client(&server).await;
            let name = create(&client, &request).await;
            names.insert(name.clone());
            let ended = client.wait(name).await.unwrap();
            (client, ended)
        };
        // Where answers are late, each is to die between a send and its answer.
        let aimed = seed % 5 == 1 || random.random_bool(0.5);
        let life = Duration::from_millis(random.random_range(0..2500));
        let life = async {
            if tally.lost == MOST_KILLS {
                sleep(PATIENCE).await;
                panic!("{case}: it does not end:\n{}", server.told());
            }
            if aimed {
                sends_arrive(&sim, sim.requests("SendCommand") + 1, Duration::from_secs(6)).await;
                sleep(life / 50).await;
            } else {
                sleep(life).await;
            }
        };
        let seen = tokio::select! {
            seen = seen_to_its_end => Some(seen),
            () = life => None,
        };
        match seen {
            Some((client, ended)) => break (server, client, ended),
            None => {
                tally.heard(&server.kill());
                tally.lost += 1;
            }
        }
    };
    assert_eq!(names.len(), 1, "{case}: {names:?}");
    all_is_well(&case, &sim, &client, &ended).await;
    drop(client);
    server.signal(Signal::TERM);
    let (code, told) = server.ends().await;
    assert_eq!(code, Some(0), "{case}:\n{told}");
    tally.heard(&told);
    let checked = run(&["store", "check", "--config", &home.config()]);
    assert!(checked.code == 0 && checked.stdout.contains("1 operations (0 unfinished)"), "{case}: {checked:?}");
    tally
}

// === Two servers on PostgreSQL, one of them lost ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_two_servers_is_lost_the_other_finishes_and_installs_nothing_twice() {
    let tally = play(if full() { 24 } else { 4 }, one_of_two_is_lost).await;
    println!("{tally}");
    assert!(tally.taken_over >= tally.rounds, "{tally:?}");
}

/// Killed in one of four rounds, stopped and let go on in the others.
async fn one_of_two_is_lost(seed: u64) -> Tally {
    let case = format!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let sim = Sim::start(seed).await;
    sim.makes_nodes(NODES);
    sim.fate("POST", "faults", &json!({ "faults": mishap(seed % 3) }));
    let postgres = Postgres::new();
    let Place::Postgres(store) = postgres.place() else { panic!("{:?} is no PostgreSQL", postgres.place()) };
    let (home, request) = (Home::new(Some(&store), None), unstopped());
    let (one, other) = (home.serves(&sim), home.serves(&sim));
    let (at_one, at_other) = (client(&one).await, client(&other).await);
    let name = create(&at_one, &request).await;
    // With a batch or more still to come.
    sends_arrive(&sim, random.random_range(0..3), PATIENCE).await;
    sleep(Duration::from_millis(random.random_range(0..300))).await;

    let mut tally = Tally { rounds: 1, lost: 1, ..Tally::default() };
    let lost = if seed.is_multiple_of(4) {
        tally.heard(&one.kill());
        None
    } else {
        one.signal(Signal::STOP);
        Some(one)
    };
    other.tells("an operation that another process left goes on here").await;
    if let Some(one) = &lost {
        sleep(Duration::from_millis(random.random_range(0..2000))).await;
        one.signal(Signal::CONT);
    }
    assert_eq!(create(&at_other, &request).await, name, "{case}");
    let ended = tokio::time::timeout(PATIENCE, at_other.wait(&name)).await.unwrap().unwrap();
    all_is_well(&case, &sim, &at_other, &ended).await;
    drop(at_other);
    other.signal(Signal::TERM);
    tally.heard(&other.ends().await.1);
    if let Some(one) = lost {
        // It has not come to harm.
        let found = at_one.get_patch_operation(GetPatchOperationRequest { name }).await.unwrap();
        assert_eq!(found.patch_operation.unwrap().state(), State::Succeeded, "{case}");
        drop(at_one);
        one.signal(Signal::TERM);
        let (code, told) = one.ends().await;
        assert_eq!(code, Some(0), "{case}:\n{told}");
        tally.heard(&told);
    }
    tally
}

// === A store brought back from a backup ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_brought_back_from_a_backup_sends_nothing_again() {
    let tally = play(if full() { 10 } else { 2 }, brought_back).await;
    println!("{tally}");
    assert!(tally.forgotten >= tally.rounds, "{tally:?}");
}

async fn brought_back(seed: u64) -> Tally {
    let case = format!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let sim = Sim::start(seed).await;
    sim.makes_nodes(NODES);
    let (home, request) = (Home::new(None, None), unstopped());
    let server = home.serves(&sim);
    let name = create(&client(&server).await, &request).await;
    sends_arrive(&sim, seed % 2, PATIENCE).await;
    server.kill();
    let backup = home.backs_up();
    let server = home.serves(&sim);
    sends_arrive(&sim, sim.requests("SendCommand") + 1, PATIENCE).await;
    sleep(Duration::from_millis(random.random_range(0..1000))).await;
    server.kill();

    home.brings_back(&backup);
    let restored = run(&["store", "restored", "--config", &home.config()]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let server = home.serves(&sim);
    let client = client(&server).await;
    let ended = tokio::time::timeout(PATIENCE, client.wait(name)).await.unwrap().unwrap();
    all_is_well(&case, &sim, &client, &ended).await;
    let mut tally = Tally { rounds: 1, lost: 2, ..Tally::default() };
    tally.heard(&server.kill());
    tally
}

// === Ends that are asked for ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_simulations_end_when_they_are_told_to() {
    let sim = Sim::start(1).await;
    sim.makes_nodes(NODES);
    let home = Home::new(None, None);
    let server = home.serves(&sim);
    let client = client(&server).await;
    let name = create(&client, &unstopped()).await;
    let asked = WatchPatchOperationRequest { name: name.clone(), ..Default::default() };
    let mut watch = client.patch_operations().watch_patch_operation(asked).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());

    server.signal(Signal::TERM);
    // Who watches is sent away, to another replica.
    let refused = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended as if the operation had"),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    let (code, told) = server.ends().await;
    assert_eq!(code, Some(0), "{told}");

    let again = home.serves(&sim);
    let client = self::client(&again).await;
    let second = run(&["serve", "--config", &home.config(), "--listen", "127.0.0.1:0"]);
    assert!(second.code == 1 && second.stderr.contains("in use"), "on the same file: {second:?}");
    let ended = client.wait(name).await.unwrap();
    all_is_well("told to end", &sim, &client, &ended).await;
    drop(client);
    again.signal(Signal::INT);
    assert_eq!(again.ends().await.0, Some(0));
    sim.process.signal(Signal::TERM);
    let (code, told) = sim.process.ends().await;
    assert_eq!(code, Some(0), "{told}");
}

// === Servers in a role ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_real_time_patches_in_a_role_that_it_assumes() {
    let sim = Sim::start(1).await;
    sim.makes_nodes(2);
    let home = Home::new(None, Some(&format!("arn:aws:iam::{ACCOUNT}:role/patching")));
    let server = home.serves_by_the_system_s_time(&sim);
    let client = client(&server).await;
    let mut request = unstopped();
    // As much at once as when nothing is said.
    request.patch_operation.as_mut().unwrap().rollout = None;
    let ended = client.wait(create(&client, &request).await).await.unwrap();
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert_eq!(sim.installs(), [1, 1]);
    assert_eq!(sim.requests("AssumeRole"), 1);
    // 10 % at once: one instance after the other.
    assert_eq!(sim.requests("SendCommand"), 2);
}

// === Looking after a store ===

/// A command of the binary, run to its end.
fn run(line: &[&str]) -> Ended {
    Ended::of(patchplane(line).output().unwrap())
}

/// One that looks after this store ends with this code, and tells all of these.
fn store(command: &str, place: &str, code: i32, tells: &[&str]) {
    let ended = run(&["store", command, "--store", place]);
    assert_eq!(ended.code, code, "{command}: {ended:?}");
    for words in tells {
        let told = if code == 0 { &ended.stdout } else { &ended.stderr };
        assert!(told.contains(words) || ended.stdout.contains(words), "{command} does not tell {words:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_looked_after_by_commands_also_while_a_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("patchplane.db");
    let postgres = Postgres::new();
    let Place::Postgres(url) = postgres.place() else { panic!("{:?} is no PostgreSQL", postgres.place()) };
    for place in [file.to_str().unwrap(), &url] {
        let shared = place == url;
        store("check", place, 1, &["cannot be read"]);
        store("export", place, 1, &["cannot be read"]);
        store("migrate", place, 0, &["is up to date"]);
        store("migrate", place, 0, &["is up to date"]);
        store("check", place, 0, &["generation 1", "0 operations (0 unfinished), 0 targets, 0 events"]);
        store("restored", place, 0, &["has generation 2"]);

        let sim = Sim::start(1).await;
        sim.makes_nodes(NODES);
        let home = Home::new(Some(place), None);
        let server = home.serves(&sim);
        let client = client(&server).await;
        let name = create(&client, &unstopped()).await;
        let id = name.rsplit('/').next().unwrap();
        store("check", place, 0, &["generation 2", "1 operations (1 unfinished), 5 targets"]);
        client.wait(&name).await.unwrap();
        store("check", place, 0, &["1 operations (0 unfinished), 5 targets"]);
        store("export", place, 0, &[id]);
        let exported = run(&["store", "export", "--config", &home.config()]).stdout;
        assert!(exported.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{exported}");
        // A file is one process's; replicas share a database with those who look after it.
        store("restored", place, i32::from(!shared), &[if shared { "generation 3" } else { "in use" }]);
        store("migrate", place, i32::from(!shared), &[if shared { "up to date" } else { "in use" }]);
        server.kill();
    }
    postgres.psql("UPDATE operations SET body = '{}'");
    store("check", &url, 1, &["1 faults: restore a backup", "operation"]);
}
