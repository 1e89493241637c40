//! A user at a shell: the built `patchctl` against a whole server with a simulated account.

use crate::{ACCOUNT, REGION, World, processes::built};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// Of AWS's own in us-east-1 (S 4.2).
pub const AMAZON_LINUX_2: &str = "pb-0be8c61cde3be63f3";

/// A server, and a home of one's own.
pub struct User {
    pub world: World,
    pub server: String,
    pub home: TempDir,
}

/// What a command ended with.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl User {
    pub async fn new(world: World) -> Self {
        let server = world.listen().await;
        Self { world, server, home: tempfile::tempdir().unwrap() }
    }

    /// With `web` in the usual location: two nodes that lack patches, and a baseline.
    pub async fn with_web() -> (Self, Vec<String>) {
        let world = World::start().await;
        let mut nodes = world.account().add_nodes(2).in_group("web").missing_patches(2).create();
        nodes.sort();
        world.attach("web", AMAZON_LINUX_2).await;
        (Self::new(world).await, nodes)
    }

    /// The command as typed there, with standard input, output and error no terminals.
    pub fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(patchctl());
        command.args(line).env_clear().envs(self.environment()).stdin(Stdio::null());
        command
    }

    /// The same, as a line that a shell reads.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let beside = patchctl();
        let path = [beside.parent().unwrap().to_str().unwrap(), "/usr/local/bin:/usr/bin:/bin"].join(":");
        command.args(["-c", line]).env_clear().envs(self.environment()).env("PATH", path).stdin(Stdio::null());
        command
    }

    fn environment(&self) -> [(&str, String); 5] {
        [
            ("HOME", self.home.path().to_str().unwrap().to_owned()),
            ("TZ", "UTC".to_owned()),
            ("PATCHPLANE_SERVER", self.server.clone()),
            ("PATCHPLANE_ACCOUNT", ACCOUNT.to_owned()),
            ("PATCHPLANE_REGION", REGION.to_owned()),
        ]
    }

    /// Runs a command to its end, while time goes on.
    pub async fn runs(&self, line: &[&str]) -> Ended {
        self.lets(self.command(line)).await
    }

    pub async fn lets(&self, mut command: Command) -> Ended {
        let mut ended = tokio::task::spawn_blocking(move || command.output().unwrap());
        loop {
            tokio::select! {
                ended = &mut ended => return Ended::of(ended.unwrap()),
                _ = self.world.step() => {}
            }
        }
    }

    /// Runs a command to its end, while the clock stands still.
    pub async fn at_once(&self, line: &[&str]) -> Ended {
        let mut command = self.command(line);
        Ended::of(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    }

    /// Runs a command that must succeed; gives what it wrote to standard output.
    pub async fn gets(&self, line: &[&str]) -> String {
        let ended = self.runs(line).await;
        assert_eq!(ended.code, 0, "{line:?}: {ended:?}");
        ended.stdout
    }

    pub async fn json(&self, line: &[&str]) -> Value {
        serde_json::from_str(&self.gets(line).await).unwrap()
    }

    pub fn writes_config(&self, text: &str) {
        let folder = self.home.path().join(".config/patchctl");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Ended with this code, and told on standard error all of these.
    pub fn refused(&self, code: i32, told: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for words in told {
            assert!(self.stderr.contains(words), "{words:?} is not told: {self:?}");
        }
        assert!(self.stderr.contains("error: "), "{self:?}");
        assert_eq!(self.stdout, "", "answers only go there");
    }
}

pub fn patchctl() -> PathBuf {
    built("patchctl")
}
