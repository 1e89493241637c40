//! `patchplane serve`: the API, against AWS as a configuration says, or against a simulated account.

use super::config::Given;
use anyhow::Context as _;
use clap::{ArgGroup, Args};
use patchplane_aws::Clock;
use patchplane_server::{
    config::{Config, Layers, Telemetry},
    server::{self, Entrance, Server, Stop},
    telemetry,
};
use std::{env, net::SocketAddr};
use tokio::net::TcpListener;

#[derive(Args)]
#[command(group(ArgGroup::new("aws").required(true).args(["simulated", "config"])))]
pub(crate) struct Serve {
    /// Simulate AWS: two accounts, two Regions, some forty instances, a clock that runs 60 times as fast, and further when
    /// a duration such as 8h is typed. All of it is gone at the end.
    #[arg(long)]
    simulated: bool,
    #[command(flatten)]
    given: Given,
    /// Where to listen; port 0 takes a free one. Beats `listen` of the configuration and PATCHPLANE_LISTEN.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The store: a file, or postgres://user@host/database (its password by PGPASSWORD or PGPASSFILE). Beats `store` of the
    /// configuration and PATCHPLANE_STORE.
    #[arg(long, value_name = "FILE|URL")]
    store: Option<String>,
    /// Another endpoint for all AWS calls. Beats `aws_endpoint_url` of the configuration and PATCHPLANE_AWS_ENDPOINT_URL.
    #[arg(long, value_name = "URL", conflicts_with = "simulated")]
    aws_endpoint_url: Option<String>,
    /// Another clock than the system's: it begins at TIME and counts SPEED seconds in one, as that of `patchplane sim` does.
    #[cfg(feature = "simulated")]
    #[arg(long, hide = true, value_name = "TIME@SPEED", requires = "aws_endpoint_url", value_parser = super::sim::clock)]
    clock: Option<Clock>,
    /// Listen beyond loopback although callers are not authenticated: everybody who reaches the port may patch. The same as
    /// `unauthenticated_network = true`.
    #[arg(long)]
    unauthenticated_network: bool,
}

pub(crate) async fn run(options: Serve) -> anyhow::Result<()> {
    if options.simulated {
        return serve_simulated(options).await;
    }
    let layers = options.given.config.as_deref().map_or_else(Layers::default, |file| Layers::default().file(file));
    let config = options.above(layers)?;
    let telemetry = telemetry::start(options_of(&config)).await?;
    #[cfg(feature = "simulated")]
    let clock = options.clock.unwrap_or_else(Clock::system);
    #[cfg(not(feature = "simulated"))]
    let clock = Clock::system();
    let ended = serve(clock, config, telemetry.prometheus).await;
    telemetry.flush().await;
    ended
}

async fn serve(clock: Clock, config: Config, prometheus: Option<SocketAddr>) -> anyhow::Result<()> {
    let listener = listen(&config).await?;
    let address = listener.local_addr()?;
    let locations = server::connect(&config, &clock).await?;
    tracing::info!(on = %address, "listening");
    let entrance = Entrance::new(config.limits).await?;
    let start = Box::pin(async {
        let store = server::await_store(&config.store).await?;
        let (entrance, feeds) = (entrance.clone(), config.advisory_feeds.clone());
        let server = Server::start_behind(entrance, clock, locations, store, feeds, config.dispatch.settings()).await?;
        let metrics = prometheus.map(tracing::field::display);
        tracing::info!(%address, metrics, locations = config.locations.len(), "serving");
        Ok(server.keeping(config.retention()).draining(config.drain))
    });
    server::serve_behind(entrance.clone(), listener, start, stopped()).await
}

fn options_of(config: &Config) -> telemetry::Options {
    let Telemetry { prometheus, logs } = config.telemetry;
    telemetry::Options { logs, signals: true, prometheus, level: "info" }
}

impl Serve {
    /// What counts when the environment and these options are said, too.
    fn above(&self, layers: Layers) -> anyhow::Result<Config> {
        let network = self.unauthenticated_network.then_some(true);
        let said = layers
            .environment(env::vars_os())
            .set(&self.given.set)
            .flag("--listen", "listen", self.listen.as_deref())
            .flag("--store", "store", self.store.as_deref())
            .flag("--aws-endpoint-url", "aws_endpoint_url", self.aws_endpoint_url.as_deref())
            .flag("--unauthenticated-network", "unauthenticated_network", network);
        Ok(said.load()?.0)
    }
}

#[cfg(feature = "simulated")]
async fn serve_simulated(options: Serve) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = options.above(Layers::default().simulation(&server::simulated::configuration(folder.path())))?;
    let telemetry = telemetry::start(options_of(&config)).await?;
    let listener = listen(&config).await?;
    let simulation = server::simulated::showcase(server::simulated::SPEED)?;
    let (clock, locations) = server::simulated::connect(&simulation).await?;
    let (entrance, store) = (Entrance::new(config.limits).await?, server::open_store(&config.store).await?);
    let (feeds, settings) = (config.advisory_feeds.clone(), config.dispatch.settings());
    let server = Server::start_behind(entrance, clock, locations, store, feeds, settings).await?;
    let server = server.keeping(config.retention()).draining(config.drain);
    println!("Serving a simulated AWS on http://{} (Ctrl-C ends it). Try:", listener.local_addr()?);
    println!("  patchctl --server http://{} instances", listener.local_addr()?);
    println!(
        "Time runs {} times as fast there. Type how much shall pass at once, such as 8h, and Enter:",
        server::simulated::SPEED
    );
    let clock = simulation.clock().clone();
    std::thread::spawn(move || pass_what_is_typed(&clock));
    let ended = server.serve(listener, stopped()).await;
    telemetry.flush().await;
    ended
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
    anyhow::bail!(
        "this build does not contain the simulated account; use --config, or a build with the feature `simulated`"
    )
}

/// Takes the port that a configuration names.
async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.listen;
    if config.unauthenticated_network && !address.ip().is_loopback() {
        tracing::warn!(%address, "callers are not authenticated: everybody who reaches this port may patch");
    }
    TcpListener::bind(address).await.with_context(|| format!("{address} cannot be listened on"))
}

/// Until SIGTERM or Ctrl-C. Told a second time, the process waits for nobody.
pub(crate) async fn stopped() -> Stop {
    let stop = signalled().await;
    tokio::spawn(async {
        signalled().await;
        tracing::warn!("told twice to end: what was under way is cut off");
        std::process::exit(1);
    });
    stop
}

async fn signalled() -> Stop {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return Stop::Soon };
    tokio::select! {
        _ = terminate.recv() => Stop::Gently,
        _ = tokio::signal::ctrl_c() => Stop::Soon,
    }
}
