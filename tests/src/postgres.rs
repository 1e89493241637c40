//! A real PostgreSQL for tests: each test process starts its own server in a folder of its own, on a socket there, and each
//! test makes its own database in it. It ends with the process, however that ends.

use patchplane_server::store::Place;
use std::{
    env, fs,
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// PostgreSQL refuses to run as root: then its processes are this user's and group's (nobody).
const NOBODY: u32 = 65534;
/// How often, each 20 ms, a server is asked whether it is up.
const MOST_TRIES: usize = 1500;

/// A database of a test's own.
pub struct Postgres {
    server: Arc<Server>,
    name: String,
}

struct Server {
    binaries: PathBuf,
    folder: PathBuf,
    root: bool,
    /// Each line that it reads restarts the server. When its standard input closes, as it does when this process ends in
    /// whatever way, server and folder go.
    keeper: Mutex<Option<ChildStdin>>,
}

impl Postgres {
    /// In this process's server.
    pub fn new() -> Self {
        static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
        Self::on(Arc::clone(SERVER.get_or_init(Server::start)))
    }

    /// In a server of its own, which may be restarted.
    pub fn alone() -> Self {
        Self::on(Server::start())
    }

    fn on(server: Arc<Server>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server.psql("postgres", &format!("CREATE DATABASE {name}"));
        Self { server, name }
    }

    /// Stops the server and starts it again.
    pub fn restart(&self) {
        self.server.restart();
    }

    /// Makes a standby of the server and promotes it: another timeline than before.
    pub fn promote(&self) {
        fs::write(self.server.folder.join("data/standby.signal"), "").unwrap();
        self.server.restart();
        self.psql("SELECT pg_promote()");
    }

    /// As a server's configuration has it.
    pub fn place(&self) -> Place {
        format!("postgres:///{}?host={}&user=patchplane", self.name, self.server.folder.display()).parse().unwrap()
    }

    /// Carries out SQL past the store, and gives what it answers, a line for each row.
    pub fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql)
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    fn start() -> Arc<Self> {
        let binaries = binaries();
        let folder = tempfile::Builder::new().prefix("pp-pg-").tempdir().unwrap().keep();
        let root = fs::metadata(&folder).unwrap().uid() == 0;
        if root {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let server = Self { binaries, folder, root, keeper: Mutex::default() };
        let data = server.folder.join("data");
        let mut initdb = server.command("initdb");
        // Letters sort as people expect, which is not how the store wants it: what forgets to say so fails.
        initdb.args(["--username=patchplane", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.args(["--locale-provider=icu", "--icu-locale=en", "--wal-segsize=1", "--pgdata"]).arg(&data);
        succeed(&mut initdb);

        // Without syncing: what is tested is the end of processes, not of machines.
        let script = "while \"$1/postgres\" -D \"$2/data\" -k \"$2\" -c listen_addresses= -c max_connections=200 \
                      -c fsync=off -c full_page_writes=off >>\"$2/log\" 2>&1 & \
                      read -r _; do kill -INT $!; wait; done; kill -INT $!; wait; rm -rf \"$2\"";
        let mut keeper = server.as_user(Command::new("sh"));
        keeper.args(["-c", script, "sh"]).arg(&server.binaries).arg(&server.folder).process_group(0);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        *server.keeper.lock().unwrap() = keeper.spawn().unwrap().stdin.take();
        server.await_another_than("");
        Arc::new(server)
    }

    fn restart(&self) {
        let before = self.process();
        self.keeper.lock().unwrap().as_mut().unwrap().write_all(b"again\n").unwrap();
        self.await_another_than(&before);
    }

    /// The id of the server's process, as long as there is one.
    fn process(&self) -> String {
        let lines = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        lines.lines().next().unwrap_or_default().to_owned()
    }

    fn await_another_than(&self, before: &str) {
        for _ in 0..MOST_TRIES {
            let mut ask = self.command("pg_isready");
            ask.args(["--quiet", "--host"]).arg(&self.folder);
            let process = self.process();
            if !process.is_empty() && process != before && ask.status().unwrap().success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("PostgreSQL does not start: {}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.arg("--host").arg(&self.folder).args(["--username=patchplane", "--dbname", database, "--command", sql]);
        succeed(&mut psql)
    }

    fn command(&self, program: &str) -> Command {
        self.as_user(Command::new(self.binaries.join(program)))
    }

    fn as_user(&self, mut command: Command) -> Command {
        command.current_dir(&self.folder).env("LC_ALL", "C");
        if self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

/// Where PostgreSQL's programs are: on the path, or where Debian keeps them, the newest.
fn binaries() -> PathBuf {
    let whole =
        |folder: &PathBuf| ["initdb", "postgres", "psql", "pg_isready"].iter().all(|p| folder.join(p).is_file());
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path).find(whole) {
        return found;
    }
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = versions.filter(|folder| whole(&folder.join("bin"))).collect();
    found.sort_by_key(|folder| version(folder));
    match found.pop() {
        Some(newest) => newest.join("bin"),
        None => panic!("PostgreSQL's programs are not installed: initdb, postgres, psql, pg_isready"),
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
