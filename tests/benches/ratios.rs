//! What patchplane costs beside what it stands on, as ratios measured in one run: each side is a process of its own, both
//! are asked in turns, and the processor time of each is counted. Run it with `cargo bench --bench ratios`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails by panicking and speaks on standard output"
)]

use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use patchplane_aws::{Aws, Clock, Page};
use patchplane_client::{
    Client,
    api::{GetPatchOperationRequest, GetPatchOperationResponse, ListBaselinesRequest},
};
use patchplane_rules::Location;
use patchplane_server::{
    server::{Server, simulated},
    store::Store,
};
use patchplane_tests::{ACCOUNT, PARENT, REGION, scan};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Ready, pending, ready},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tower::Service;

/// Calls under way at the same time.
const AT_ONCE: usize = 8;
/// Turns of each side; the first warms up and is not counted.
const TURNS: usize = 8;
const READS: usize = 4000;
const READ_THROUGHS: usize = 400;
/// The account's clock: fast enough to end a scan before the measurement begins.
const SPEED: f64 = 600.0;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--side", "patchplane", folder] => serve_patchplane(Path::new(folder)).await,
        ["--side", "tonic", answer] => serve_bare_tonic(Path::new(answer)).await,
        ["--side", "sdk", _] => call_the_sdk_alone().await,
        _ => measure().await,
    }
}

// === Measuring ===

async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let mut patchplane = Side::start("patchplane", folder.path());
    let client = Client::connect(patchplane.line()).await.unwrap();
    let operation = client.create_patch_operation(scan("db")).await.unwrap().patch_operation.unwrap().name;
    client.wait(&operation).await.unwrap();
    let request = GetPatchOperationRequest { name: operation };
    let answer = folder.path().join("answer");
    std::fs::write(&answer, client.get_patch_operation(request.clone()).await.unwrap().encode_to_vec()).unwrap();

    let mut tonic = Side::start("tonic", &answer);
    let bare = Client::connect(tonic.line()).await.unwrap();
    let read = |client: &Client| {
        let (mut stub, request) = (client.patch_operations(), request.clone());
        async move { stub.get_patch_operation(request).await.map(|_| ()) }
    };
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let before = tonic.processor_time();
        many(READS, || read(&bare)).await;
        alone.push(tonic.since(before, READS));
        let before = patchplane.processor_time();
        many(READS, || read(&client)).await;
        ours.push(patchplane.since(before, READS));
    }
    report("a read from the store (GetPatchOperation) : bare tonic with the same answer", &ours, &alone);

    let mut sdk = Side::start("sdk", folder.path());
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let before = sdk.processor_time();
        sdk.go();
        alone.push(sdk.since(before, READ_THROUGHS));
        let before = patchplane.processor_time();
        many(READ_THROUGHS, || {
            let mut stub = client.baselines();
            let request = ListBaselinesRequest { parent: PARENT.to_owned(), ..Default::default() };
            async move { stub.list_baselines(request).await.map(|_| ()) }
        })
        .await;
        ours.push(patchplane.since(before, READ_THROUGHS));
    }
    report("a read-through (ListBaselines) : the SDK alone, the simulated account in both", &ours, &alone);
}

/// Makes so many calls, some of them at the same time.
async fn many<F: Future<Output = Result<(), Status>>>(calls: usize, call: impl Fn() -> F) {
    stream::iter(0..calls).map(|_| call()).buffer_unordered(AT_ONCE).try_collect::<()>().await.unwrap();
}

/// Prints the ratio of each pair of turns: median, least and most; microseconds for orientation.
fn report(what: &str, ours: &[f64], alone: &[f64]) {
    let sorted = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
    };
    let middle = |values: &[f64]| values[values.len() / 2];
    let ratios = sorted(ours.iter().zip(alone).skip(1).map(|(ours, alone)| ours / alone).collect());
    let micros = |values: &[f64]| middle(&sorted(values[1..].to_vec())) * 1e6;
    println!(
        "{what}\n  ratio of processor time {:.2} ({:.2} to {:.2}); {:.0} against {:.0} microseconds a call",
        middle(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
        micros(ours),
        micros(alone)
    );
}

/// A process of one side. It prints one line when it is ready, and ends with this.
struct Side {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Side {
    fn start(side: &str, about: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--side", side])
            .arg(about)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Lets it work once, to the end.
    fn go(&mut self) {
        writeln!(self.input, "go").unwrap();
        assert_eq!(self.line(), "done");
    }

    /// Nanoseconds on a processor so far, of all its threads (Linux: /proc/PID/task/TID/schedstat).
    fn processor_time(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let of_thread = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<u64>().ok()).unwrap_or(0)
        };
        threads.map(|thread| of_thread(thread.unwrap())).sum()
    }

    /// Seconds for each of so many calls since then.
    fn since(&self, before: u64, calls: usize) -> f64 {
        let spent = Duration::from_nanos(self.processor_time().saturating_sub(before));
        spent.as_secs_f64() / f64::from(u32::try_from(calls).unwrap())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

// === The sides ===

async fn account() -> (Clock, BTreeMap<Location, Aws>) {
    simulated::connect(&simulated::showcase(SPEED).unwrap()).await.unwrap()
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    listener
}

/// The whole server: authorisation, validation, store, everything on.
async fn serve_patchplane(folder: &Path) {
    let store = Store::open(&folder.join("patchplane.db"), None).await.unwrap();
    let (clock, locations) = account().await;
    let server = Server::start(clock, locations, store).await.unwrap();
    server.serve(listen().await, pending()).await.unwrap();
}

/// Nothing but tonic, with one answer made beforehand.
async fn serve_bare_tonic(answer: &Path) {
    let answer = GetPatchOperationResponse::decode(std::fs::read(answer).unwrap().as_slice()).unwrap();
    let bare = Bare(Arc::new(answer));
    let incoming = TcpListenerStream::new(listen().await);
    tonic::transport::Server::builder().add_service(bare).serve_with_incoming(incoming).await.unwrap();
}

/// What ListBaselines asks AWS, asked through the SDK without patchplane.
async fn call_the_sdk_alone() {
    let (_, locations) = account().await;
    let aws = &locations[&Location::new(ACCOUNT, REGION).unwrap()];
    for line in std::io::stdin().lines() {
        line.unwrap();
        many(READ_THROUGHS, || async {
            aws.baselines_page(None, None, Page { size: 50, token: None }).await.unwrap();
            Ok(())
        })
        .await;
        println!("done");
    }
}

#[derive(Clone)]
struct Bare(Arc<GetPatchOperationResponse>);

impl NamedService for Bare {
    const NAME: &'static str = "patchplane.v1.PatchOperationService";
}

impl UnaryService<GetPatchOperationRequest> for Bare {
    type Response = GetPatchOperationResponse;
    type Future = Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, _: Request<GetPatchOperationRequest>) -> Self::Future {
        ready(Ok(Response::new(GetPatchOperationResponse::clone(&self.0))))
    }
}

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move { Ok(Grpc::new(tonic_prost::ProstCodec::default()).unary(bare, request).await) })
    }
}
