//! The binary `patchplane`: serve, demo, sim, health, config, store.
#![expect(clippy::print_stdout, reason = "a command line speaks on standard output")]

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args, Parser, Subcommand};
use patchplane_aws::Clock;
use patchplane_server::{
    config::Config,
    server::{self, Entrance, Server, Stop},
    store::{Exported, Place, Store, Survey},
};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// A gRPC control plane for OS patching on AWS, over Systems Manager Patch Manager and EC2.
#[derive(Parser)]
#[command(version, after_help = "Try `patchplane demo` first: it needs no AWS account.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the gRPC API, against AWS as a configuration says, or against a simulated account.
    Serve(Serve),
    /// Walk through a day with Patch Manager, against a simulated account.
    Demo(Demo),
    /// Simulate AWS on a port, for patchplane or any other AWS client: Systems Manager, EC2 and STS as far as patching goes.
    #[cfg(feature = "simulated")]
    Sim(Sim),
    /// Ask a running server whether it serves. Exit code 0: it does.
    Health(Health),
    /// Look at a configuration without using it.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after a store.
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Args)]
#[command(group(ArgGroup::new("aws").required(true).args(["simulated", "config"])))]
struct Serve {
    /// Simulate AWS: two accounts, two Regions, some forty instances, a clock that runs 60 times as fast, and further when
    /// a duration such as 8h is typed. All of it is gone at the end.
    #[arg(long)]
    simulated: bool,
    /// The configuration file: which accounts and Regions, and how to get in. Without it AWS is never called.
    #[arg(long, value_name = "FILE", env = "PATCHPLANE_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one. Beats the configuration's.
    #[arg(long, value_name = "ADDRESS:PORT", env = "PATCHPLANE_LISTEN")]
    listen: Option<SocketAddr>,
    /// The store: a file, or postgres://user@host/database (its password by PGPASSWORD or PGPASSFILE). Beats the configuration's.
    #[arg(long, value_name = "FILE|URL", env = "PATCHPLANE_STORE", hide_env_values = true)]
    store: Option<Place>,
    /// Another endpoint for all AWS calls. Beats the configuration's.
    #[arg(long, value_name = "URL", conflicts_with = "simulated")]
    aws_endpoint_url: Option<String>,
    /// Another clock than the system's: it begins at TIME and counts SPEED seconds in one, as that of `patchplane sim` does.
    #[cfg(feature = "simulated")]
    #[arg(long, hide = true, value_name = "TIME@SPEED", requires = "aws_endpoint_url", value_parser = clock)]
    clock: Option<Clock>,
    /// Listen beyond loopback although callers are not authenticated: everybody who reaches the port may patch.
    #[arg(long)]
    unauthenticated_network: bool,
}

#[derive(Args)]
struct Demo {
    /// Keep serving after the walk, so that patchctl and grpcurl can look around.
    #[arg(long)]
    stay: bool,
}

#[cfg(feature = "simulated")]
#[derive(Args)]
#[command(after_help = SIM_HELP)]
struct Sim {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// What all chance comes from: the same seed, the same instances and the same luck.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many instances there are at the start, in account 123456789012 and Region us-east-1.
    #[arg(long, value_name = "N", default_value_t = 12)]
    instances: usize,
    /// No instances at the start.
    #[arg(long, conflicts_with = "instances")]
    empty: bool,
    /// How many seconds its clock counts in one. It starts at the system's time.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Throttle requests beyond the rates that AWS publishes.
    #[arg(long)]
    throttle: bool,
}

#[cfg(feature = "simulated")]
const SIM_HELP: &str = "\
Any credentials will do. An access key that ends in twelve digits works in that account, such as AKIA0000111122223333; any
other in 123456789012. The Region is the one that requests are signed for. Signatures must be fresh by the simulation's clock
or by the system's, so that clients work at any speed.

Fate is played at /_sim/: GET health, installs, requests; POST reset, seed, advance, faults, files, throttling.

  AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any patchplane serve --config patchplane.toml \\
      --aws-endpoint-url http://127.0.0.1:4566";

#[derive(Args)]
struct Health {
    /// The server's address.
    #[arg(long, default_value = "http://127.0.0.1:50051", env = "PATCHPLANE_SERVER")]
    server: String,
    /// One service, such as patchplane.v1.PatchOperationService; unset means the server as a whole.
    #[arg(long, default_value = "")]
    service: String,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether a configuration file is right, and what it means.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Bring the schema up to date, as serve does at its start.
    Migrate(WhichStore),
    /// Read everything, and say what cannot be read. A server may run meanwhile. Exit code 1: something is wrong.
    Check(WhichStore),
    /// Write freezes, operations, targets, sends and events to standard output, a line of JSON each. A server may run meanwhile.
    Export(WhichStore),
    /// Say that the store was brought back from an earlier time (a backup, a snapshot, a copy), before serving with it: then
    /// unfinished operations ask AWS what it has done for them before they send anything.
    Restored(WhichStore),
}

#[derive(Args)]
#[command(group(ArgGroup::new("place").required(true).multiple(true).args(["store", "config"])))]
struct WhichStore {
    /// A file, or postgres://user@host/database. Beats the configuration's.
    #[arg(long, value_name = "FILE|URL", env = "PATCHPLANE_STORE", hide_env_values = true)]
    store: Option<Place>,
    /// The configuration file that names the store.
    #[arg(long, value_name = "FILE", env = "PATCHPLANE_CONFIG")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = !matches!(cli.command, Command::Serve(_));
    let filter = EnvFilter::try_from_env("PATCHPLANE_LOG")
        .unwrap_or_else(|_| EnvFilter::new(if quiet { "warn" } else { "info" }));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(options) => serve(options).await,
        Command::Demo(options) => demo(options).await,
        #[cfg(feature = "simulated")]
        Command::Sim(options) => sim(options).await,
        Command::Health(options) => health(options).await,
        Command::Config(ConfigCommand::Check { file }) => check(&file),
        Command::Store(command) => store(command).await,
    }
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    if options.simulated {
        return serve_simulated(options).await;
    }
    let Some(file) = &options.config else { bail!("--config or --simulated is required") };
    let mut config = Config::load(file)?;
    if let Some(url) = options.aws_endpoint_url {
        config.aws_endpoint_url = Some(url);
    }
    let listener = listen(options.listen.unwrap_or(config.listen), options.unauthenticated_network).await?;
    #[cfg(feature = "simulated")]
    let clock = options.clock.unwrap_or_else(Clock::system);
    #[cfg(not(feature = "simulated"))]
    let clock = Clock::system();
    let locations = server::connect(&config, &clock).await?;
    let (address, place) = (listener.local_addr()?, options.store.unwrap_or_else(|| config.store.clone()));
    let entrance = Entrance::new(config.limits).await?;
    let start = Box::pin(async {
        let store = server::open_store(place).await?;
        let (entrance, feeds) = (entrance.clone(), config.advisory_feeds.clone());
        let server = Server::start_behind(entrance, clock, locations, store, feeds, config.dispatch.settings()).await?;
        tracing::info!(%address, locations = config.locations.len(), "serving");
        Ok(server.keeping(config.retention()).draining(config.drain))
    });
    server::serve_behind(entrance.clone(), listener, start, stopped()).await
}

#[cfg(feature = "simulated")]
async fn serve_simulated(options: Serve) -> anyhow::Result<()> {
    let listener = listen(
        options.listen.unwrap_or_else(patchplane_server::config::default_listen),
        options.unauthenticated_network,
    )
    .await?;
    let folder = tempfile::tempdir()?;
    let store = options.store.unwrap_or_else(|| Place::File(folder.path().join("patchplane.db")));
    let simulation = server::simulated::showcase(server::simulated::SPEED)?;
    let (clock, locations) = server::simulated::connect(&simulation).await?;
    let server = Server::start(clock, locations, server::open_store(&store).await?).await?;
    println!("Serving a simulated AWS on http://{} (Ctrl-C ends it). Try:", listener.local_addr()?);
    println!("  patchctl --server http://{} instances", listener.local_addr()?);
    println!(
        "Time runs {} times as fast there. Type how much shall pass at once, such as 8h, and Enter:",
        server::simulated::SPEED
    );
    let clock = simulation.clock().clone();
    std::thread::spawn(move || pass_what_is_typed(&clock));
    server.serve(listener, stopped()).await
}

/// Lets the simulated clock pass what is typed, line by line, until the end of input.
#[cfg(feature = "simulated")]
fn pass_what_is_typed(clock: &patchplane_sim::SimClock) {
    let tell = || println!("It is {} UTC there.", clock.now().strftime("%Y-%m-%d %H:%M"));
    tell();
    let mut line = String::new();
    while wait_for_input() && std::io::stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
        let passes = line.trim().parse::<jiff::SignedDuration>().map(std::time::Duration::try_from);
        match passes {
            Ok(Ok(passes)) => {
                clock.advance(passes);
                tell();
            }
            _ if line.trim().is_empty() => tell(),
            _ => println!("Type a duration, such as 8h or 30m."),
        }
        line.clear();
    }
}

/// Until something can be read. In the background of a terminal a mere attempt would stop the process.
#[cfg(feature = "simulated")]
fn wait_for_input() -> bool {
    use rustix::{
        event::{PollFd, PollFlags, poll},
        process::getpgrp,
        termios::tcgetpgrp,
    };
    use std::io::IsTerminal as _;
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return true;
    }
    loop {
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None) {
            Ok(_) if tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp()) => return true,
            Ok(_) => std::thread::sleep(std::time::Duration::from_secs(1)),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(not(feature = "simulated"))]
async fn serve_simulated(_options: Serve) -> anyhow::Result<()> {
    bail!("this build does not contain the simulated account; use --config, or a build with the feature `simulated`")
}

#[cfg(feature = "simulated")]
async fn demo(options: Demo) -> anyhow::Result<()> {
    use patchplane_client::{Client, Location};
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).await?;
    let address = format!("http://{}", listener.local_addr()?);
    let folder = tempfile::tempdir()?;
    let simulation = server::simulated::showcase(server::simulated::SPEED)?;
    let (clock, locations) = server::simulated::connect(&simulation).await?;
    let store = server::open_store(&folder.path().join("patchplane.db")).await?;
    let server = Server::start(clock, locations, store).await?;
    let (stop, told) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async {
        told.await.ok();
        Stop::Soon
    }));
    let client = Client::connect(&address).await?;
    let location = Location::new("111122223333", "us-east-1")?;
    let clock = simulation.clock();
    let pass = |until: jiff::Timestamp| {
        clock.advance(until.duration_since(clock.now()).try_into().unwrap_or_default());
    };
    let walked = patchplane_server::demo::run(&client, &location, pass, &mut std::io::stdout()).await;
    if options.stay && walked.is_ok() {
        println!("\nStill serving on {address} (Ctrl-C ends it). Try:\n  patchctl --server {address} operations");
        stopped().await;
    }
    drop(client);
    drop(stop);
    serving.await??;
    walked
}

#[cfg(not(feature = "simulated"))]
async fn demo(_options: Demo) -> anyhow::Result<()> {
    bail!("this build does not contain the simulated account; use a build with the feature `simulated`")
}

#[cfg(feature = "simulated")]
async fn sim(options: Sim) -> anyhow::Result<()> {
    let Sim { listen, seed, instances, empty, speed, throttle } = options;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
    let simulation = server::simulated::on_real_time(seed, speed);
    simulation.throttle(throttle);
    if !empty {
        simulation.at(patchplane_sim::DEFAULT_ACCOUNT, "us-east-1").populate(instances);
    }
    println!("Simulating AWS on http://{} (Ctrl-C ends it).", listener.local_addr()?);
    simulation.serve(listener, async { drop(stopped().await) }).await;
    Ok(())
}

#[cfg(feature = "simulated")]
fn clock(text: &str) -> Result<Clock, String> {
    let (start, times) = text.split_once('@').ok_or("must be TIME@SPEED, such as 2025-11-24T00:00:00Z@60")?;
    let start = start.parse().map_err(|error| format!("{error}"))?;
    Ok(server::simulated::clock(&patchplane_sim::SimClock::scaled(start, speed(times)?)))
}

#[cfg(feature = "simulated")]
fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if speed.is_finite() && speed > 0.0 { Ok(speed) } else { Err("must be more than 0".to_owned()) }
}

/// Takes the port. Beyond loopback only when told twice: callers are not authenticated yet.
async fn listen(address: SocketAddr, network: bool) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() && !network {
        bail!(
            "{address} is not a loopback address, and callers are not authenticated: everybody who reaches the port \
             could patch; listen on 127.0.0.1, or say --unauthenticated-network"
        );
    }
    if network {
        tracing::warn!(%address, "callers are not authenticated: everybody who reaches this port may patch");
    }
    TcpListener::bind(address).await.with_context(|| format!("{address} cannot be listened on"))
}

/// Until SIGTERM or Ctrl-C.
async fn stopped() -> Stop {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return Stop::Soon };
    tokio::select! {
        _ = terminate.recv() => Stop::Gently,
        _ = tokio::signal::ctrl_c() => Stop::Soon,
    }
}

async fn health(options: Health) -> anyhow::Result<()> {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    let channel = tonic::transport::Endpoint::from_shared(options.server.clone())?
        .connect_timeout(std::time::Duration::from_secs(5))
        .timeout(std::time::Duration::from_secs(5))
        .connect()
        .await
        .with_context(|| format!("no server answers at {}", options.server))?;
    let request = HealthCheckRequest { service: options.service };
    let answer = HealthClient::new(channel).check(request).await?.into_inner();
    println!("{}", answer.status().as_str_name());
    if answer.status() != ServingStatus::Serving {
        bail!("the server does not serve");
    }
    Ok(())
}

fn check(file: &std::path::Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    println!("{} is right:", file.display());
    println!("  listens on {}", config.listen);
    println!(
        "  keeps its store in {}, and operations that have ended for {} days",
        config.store, config.retention_days
    );
    if let Some(url) = &config.aws_endpoint_url {
        println!("  calls AWS at {url}");
    }
    for feed in &config.advisory_feeds {
        println!("  dates patches of {} by {}", feed.operating_system, feed.file.display());
    }
    for location in &config.locations {
        let how = location.role_arn.as_deref().unwrap_or("the environment's credentials");
        println!("  works with {} by {how}", location.location());
    }
    Ok(())
}

impl WhichStore {
    fn place(self) -> anyhow::Result<Place> {
        match (self.store, self.config) {
            (Some(store), _) => Ok(store),
            (None, Some(config)) => Ok(Config::load(&config)?.store),
            (None, None) => bail!("--store or --config is required"),
        }
    }
}

async fn store(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Migrate(which) => {
            let place = which.place()?;
            server::open_store(&place).await?.close().await;
            println!("{place} is up to date");
        }
        StoreCommand::Check(which) => {
            let place = which.place()?;
            let store = Store::look(&place).await.with_context(|| format!("the store {place} cannot be read"))?;
            let Survey { operations, unfinished, targets, events, unknown, faults } = store.survey().await?;
            println!("{place}: installation {}, generation {}", store.installation(), store.generation().await?);
            println!("  {operations} operations ({unfinished} unfinished), {targets} targets, {events} events");
            if unknown > 0 {
                println!("  {unknown} operations were written by another release, which alone works on them");
            }
            for fault in &faults {
                println!("  {fault}");
            }
            if !faults.is_empty() {
                bail!("{} faults: restore a backup, and then say `patchplane store restored`", faults.len());
            }
        }
        StoreCommand::Export(which) => {
            use std::io::Write as _;
            let place = which.place()?;
            let store = Store::look(&place).await.with_context(|| format!("the store {place} cannot be read"))?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let line = |piece: Exported| -> anyhow::Result<()> {
                serde_json::to_writer(&mut out, &piece)?;
                Ok(out.write_all(b"\n")?)
            };
            store.export(line).await?;
            out.flush()?;
        }
        StoreCommand::Restored(which) => {
            let place = which.place()?;
            let store = server::open_store(&place).await?;
            let generation = store.restored().await?;
            store.close().await;
            println!("{place} has generation {generation}: unfinished operations are reconciled with AWS first");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_wants_one_aws() {
        Cli::command().debug_assert();
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("patchplane serve --simulated --listen 127.0.0.1:0 --store x.db"));
        assert!(parses("patchplane serve --config x.toml --listen 127.0.0.1:0"));
        assert!(!parses("patchplane serve"));
        assert!(!parses("patchplane serve --simulated --config x.toml"));
        assert!(parses("patchplane store check --store postgres://patchplane@db/patchplane"));
        assert!(parses("patchplane store restored --config x.toml --store x.db"));
        assert!(!parses("patchplane store export"));
        assert!(!parses("patchplane store migrate --store mysql://db/patchplane"));
        #[cfg(feature = "simulated")]
        for (line, good) in [
            ("patchplane sim --listen 127.0.0.1:0 --seed 7 --instances 3 --speed 60", true),
            ("patchplane sim --empty", true),
            ("patchplane sim --empty --instances 3", false),
            ("patchplane sim --speed 0", false),
            (
                "patchplane serve --config x.toml --aws-endpoint-url http://[::1]:1 --clock 2025-11-24T00:00:00Z@60",
                true,
            ),
            ("patchplane serve --config x.toml --clock 2025-11-24T00:00:00Z@60", false),
            ("patchplane serve --config x.toml --aws-endpoint-url http://[::1]:1 --clock 2025-11-24@fast", false),
        ] {
            assert_eq!(parses(line), good, "{line}");
        }
    }
}
