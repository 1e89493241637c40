//! `patchplane sim` and `patchplane serve` as two processes: all that one knows of the other is a URL.
#![cfg(feature = "simulated")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use patchplane_client::{
    Client,
    api::{
        CreatePatchOperationRequest, GetPatchOperationRequest, PatchOperation, TargetSelection,
        patch_operation::{Kind, RebootOption, State},
    },
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

const ACCOUNT: &str = "111122223333";
const PARENT: &str = "accounts/111122223333/regions/us-east-1";

/// How long an installation may take, in real time.
const PATIENCE: Duration = Duration::from_secs(100);

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The built binary, with a clean environment.
fn patchplane(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchplane"));
    command.args(arguments).env_clear().env("NO_COLOR", "1").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Reads lines until one has this in it, and answers with what follows up to a space.
fn word_after(output: impl std::io::Read + Send + 'static, mark: &str) -> String {
    let mut lines = BufReader::new(output).lines();
    let mut seen = String::new();
    while let Some(Ok(line)) = lines.next() {
        if let Some((_, rest)) = line.split_once(mark) {
            // The pipe stays open and is emptied, or the process would be stopped by it.
            std::thread::spawn(move || lines.for_each(drop));
            return rest.split(' ').next().unwrap_or(rest).to_owned();
        }
        seen += &(line + "\n");
    }
    panic!("no {mark:?} in:\n{seen}");
}

/// A request to the simulation's own paths.
fn sim(address: &str, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("{method} /_sim/{path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {}", body.len());
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_patches_through_the_port_of_a_simulated_account_in_a_role_that_it_assumes_there() {
    let mut simulation = Process(
        patchplane(&["sim", "--listen", "127.0.0.1:0", "--empty", "--speed", "60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let aws = word_after(simulation.0.stdout.take().unwrap(), "Simulating AWS on http://");
    let nodes = json!({ "account": ACCOUNT, "nodes": [{ "count": 2, "group": "web", "missing_patches": 2 }] });
    assert_eq!(sim(&aws, "POST", "seed", &nodes)["instance_ids"].as_array().unwrap().len(), 2);

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("patchplane.toml");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/patching");
    let text = format!(
        "store = {:?}\n[[locations]]\naccount = \"{ACCOUNT}\"\nregion = \"us-east-1\"\nrole_arn = \"{role}\"\n",
        folder.path().join("patchplane.db")
    );
    std::fs::write(&config, text).unwrap();
    let url = format!("http://{aws}");
    let config = config.to_str().unwrap();
    let serve = ["serve", "--config", config, "--listen", "127.0.0.1:0", "--aws-endpoint-url", &url];
    let mut serve = patchplane(&serve);
    serve.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any").env("AWS_EC2_METADATA_DISABLED", "true");
    let mut server = Process(serve.stderr(Stdio::piped()).spawn().unwrap());
    let address = word_after(server.0.stderr.take().unwrap(), "address=");

    let client = Client::connect(&format!("http://{address}")).await.unwrap();
    let install = PatchOperation {
        kind: Kind::Install.into(),
        targets: Some(TargetSelection { patch_groups: vec!["web".to_owned()], ..TargetSelection::default() }),
        reboot_option: RebootOption::RebootIfNeeded.into(),
        ..PatchOperation::default()
    };
    let request = CreatePatchOperationRequest {
        parent: PARENT.to_owned(),
        patch_operation: Some(install),
        request_id: "3f2504e0-4f89-41d3-9a0c-0305e82c3301".to_owned(),
        ..CreatePatchOperationRequest::default()
    };
    let created = client.patch_operations().create_patch_operation(request).await.unwrap().into_inner();
    let name = created.patch_operation.unwrap().name;
    let ended = async {
        loop {
            let found = client.get_patch_operation(GetPatchOperationRequest { name: name.clone() }).await.unwrap();
            let operation = found.patch_operation.unwrap();
            if patchplane_client::has_ended(&operation) {
                return operation;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let operation = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(operation.state(), State::Succeeded, "{operation:?}");
    let counts = sim(&aws, "GET", "installs", &Value::Null);
    assert!(counts["nodes"].as_array().unwrap().iter().all(|node| node["installs"] == 1), "{counts}");
    let requests = sim(&aws, "GET", "requests", &Value::Null);
    assert_eq!(requests["AssumeRole"], 1, "{requests}");
    // 10 % at once: one instance after the other.
    assert_eq!(requests["SendCommand"], 2, "{requests}");
}
