//! `patchplane` as processes, as users run it: a simulated AWS, servers that work against it, its other commands; and the ends
//! that processes come to.

use crate::{ACCOUNT, REGION, asked::write_down};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::watch;

/// How many seconds the clocks of simulation and servers count in one.
pub const SPEED: u32 = 60;

/// How long, in real time, a process may take to say or do what it must.
const PATIENCE: Duration = Duration::from_secs(100);

/// A process, killed when it is dropped, and what it has told so far.
pub struct Process {
    child: Child,
    told: watch::Receiver<String>,
}

/// `patchplane sim`, without instances.
pub struct Sim {
    /// Before the process, which it asks at the end.
    _asked: Option<AskedOfSim>,
    pub process: Process,
    address: String,
}

/// Writes down what was asked of a simulation when it is dropped, while that can be told.
struct AskedOfSim {
    address: String,
}

/// What servers of one simulation are started with: a configuration, and a store.
pub struct Home {
    folder: TempDir,
}

/// A program of this workspace. Cargo builds it beside the tests, whenever it builds the workspace's.
pub fn built(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let path = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: build with --workspace", path.display());
    path
}

/// The binary, with a clean environment.
pub fn patchplane(arguments: &[&str]) -> Command {
    let mut command = Command::new(built("patchplane"));
    command.args(arguments).env_clear().env("NO_COLOR", "1").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// The binary with an access key of the usual account.
fn signed_in(arguments: &[&str]) -> Command {
    let mut command = patchplane(arguments);
    // The digits say which account's it is.
    command.env("AWS_ACCESS_KEY_ID", format!("AKIA0000{ACCOUNT}")).env("AWS_SECRET_ACCESS_KEY", "any");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

// === impl Process ===

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, told) = watch::channel(String::new());
        let tell = Arc::new(tell);
        listen(child.stdout.take().unwrap(), Arc::clone(&tell));
        listen(child.stderr.take().unwrap(), tell);
        Self { child, told }
    }

    /// Waits until it has told this, and gives what follows up to a space.
    pub async fn tells(&self, mark: &str) -> String {
        let mut told = self.told.clone();
        let heard = tokio::time::timeout(PATIENCE, told.wait_for(|told| told.contains(mark))).await;
        assert!(matches!(heard, Ok(Ok(_))), "{mark:?} is not told:\n{}", self.told());
        let told = self.told();
        let rest = told.split_once(mark).unwrap().1;
        rest.split([' ', '\n']).next().unwrap().to_owned()
    }

    pub fn told(&self) -> String {
        self.told.borrow().clone()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: its exit code (none: a signal ended it), and all that it has told.
    pub async fn ends(mut self) -> (Option<i32>, String) {
        let mut told = self.told.clone();
        // Told by the closing of its outputs.
        let end = async { while told.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("it does not end:\n{}", self.told()));
        (self.child.wait().unwrap().code(), self.told())
    }

    /// Ends it as a crash does, and gives what it had told.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9), "it had ended before:\n{}", self.told());
        self.told()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Takes in what a process tells, so that no full pipe stops it.
fn listen(output: impl Read + Send + 'static, tell: Arc<watch::Sender<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            tell.send_modify(|told| writeln!(told, "{line}").unwrap());
        }
    });
}

// === impl Sim ===

impl Sim {
    pub async fn start(seed: u64) -> Self {
        let sim = Self::for_looking(seed).await;
        Self { _asked: Some(AskedOfSim { address: sim.address.clone() }), ..sim }
    }

    /// The same for commands that ask more than serving does: it is not written down.
    pub async fn for_looking(seed: u64) -> Self {
        let (seed, speed) = (seed.to_string(), SPEED.to_string());
        let process = Process::start(patchplane(&[
            "sim",
            "--listen",
            "127.0.0.1:0",
            "--empty",
            "--seed",
            &seed,
            "--speed",
            &speed,
        ]));
        let address = process.tells("Simulating AWS on http://").await;
        Self { _asked: None, process, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks the simulation's own paths.
    pub fn fate(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = ask(&self.address, method, path, body).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Makes so many nodes in the group `web` of the usual location, which lack two patches each.
    pub fn makes_nodes(&self, count: usize) {
        let nodes = json!([{ "count": count, "group": "web", "missing_patches": 2 }]);
        self.fate("POST", "seed", &json!({ "account": ACCOUNT, "region": REGION, "nodes": nodes }));
    }

    /// How often each node's agent began an installation.
    pub fn installs(&self) -> Vec<u64> {
        let counts = self.fate("GET", "installs", &Value::Null);
        counts["nodes"].as_array().unwrap().iter().map(|node| node["installs"].as_u64().unwrap()).collect()
    }

    /// How many requests for this operation of AWS's have arrived.
    pub fn requests(&self, operation: &str) -> u64 {
        self.fate("GET", "requests", &Value::Null)[operation].as_u64().unwrap_or(0)
    }
}

impl Drop for AskedOfSim {
    fn drop(&mut self) {
        // One that has ended tells no more.
        let Ok(answer) = ask(&self.address, "GET", "requests", &Value::Null) else { return };
        let counts: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        write_down(counts.as_object().unwrap().keys().cloned().collect());
    }
}

fn ask(address: &str, method: &str, path: &str, body: &Value) -> std::io::Result<String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let mut stream = TcpStream::connect(address)?;
    let head = format!("{method} /_sim/{path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

// === impl Home ===

impl Home {
    /// With the store in a file, or at this place.
    pub fn new(store: Option<&str>, role_arn: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("patchplane.db");
        let mut config = format!("store = {:?}\n", store.unwrap_or(file.to_str().unwrap()));
        config += "[dispatch]\nlease = \"10s\"\n[drain]\nlame_duck = \"0s\"\n";
        config += &format!("[[locations]]\naccount = {ACCOUNT:?}\nregion = {REGION:?}\n");
        if let Some(role_arn) = role_arn {
            config += &format!("role_arn = {role_arn:?}\n");
        }
        fs::write(folder.path().join("patchplane.toml"), config).unwrap();
        Self { folder }
    }

    pub fn config(&self) -> String {
        self.folder.path().join("patchplane.toml").to_str().unwrap().to_owned()
    }

    /// Copies the store's file as it is, while no server runs.
    pub fn backs_up(&self) -> TempDir {
        let backup = tempfile::tempdir().unwrap();
        for file in self.store_files() {
            fs::copy(&file, backup.path().join(file.file_name().unwrap())).unwrap();
        }
        backup
    }

    /// Puts the copy in the place of what there is.
    pub fn brings_back(&self, backup: &TempDir) {
        self.store_files().for_each(|file| fs::remove_file(file).unwrap());
        for file in fs::read_dir(backup.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), self.folder.path().join(file.file_name())).unwrap();
        }
    }

    fn store_files(&self) -> impl Iterator<Item = PathBuf> {
        let names = ["patchplane.db", "patchplane.db-wal", "patchplane.db-shm"];
        names.map(|name| self.folder.path().join(name)).into_iter().filter(|file| file.exists())
    }

    /// Adds to the configuration.
    pub fn says(&self, text: &str) {
        let config = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), format!("{config}{text}\n")).unwrap();
    }

    /// Starts a server that works with this simulation, by its time.
    pub fn serves(&self, sim: &Sim) -> Process {
        Process::start(self.serve_by_its_time(sim))
    }

    /// How such a server is started.
    pub fn serve_by_its_time(&self, sim: &Sim) -> Command {
        let health = sim.fate("GET", "health", &Value::Null);
        let mut serve = self.serve(sim);
        serve.args(["--clock", &format!("{}@{SPEED}", health["time"].as_str().unwrap())]);
        serve
    }

    /// The same by the system's time.
    pub fn serves_by_the_system_s_time(&self, sim: &Sim) -> Process {
        Process::start(self.serve(sim))
    }

    fn serve(&self, sim: &Sim) -> Command {
        let (url, config) = (sim.url(), self.config());
        signed_in(&["serve", "--config", &config, "--listen", "127.0.0.1:0", "--aws-endpoint-url", &url])
    }

    /// `patchplane doctor` about this configuration, asking AWS there.
    pub fn doctor(&self, url: &str, options: &[&str]) -> Command {
        let config = self.config();
        let mut line = vec!["doctor", "--config", &config, "--aws-endpoint-url", url];
        line.extend(options);
        signed_in(&line)
    }

    /// Changes the configuration's text.
    pub fn rewrites(&self, change: impl FnOnce(String) -> String) {
        let config = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), change(config)).unwrap();
    }
}
