//! `patchplane sim`: a simulated AWS on a port.

use super::serve::stopped;
use anyhow::Context as _;
use clap::Args;
use patchplane_aws::Clock;
use patchplane_server::server;
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[derive(Args)]
#[command(after_help = SIM_HELP)]
pub(crate) struct Sim {
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

const SIM_HELP: &str = "\
Any credentials will do. An access key that ends in twelve digits works in that account, such as AKIA0000111122223333; any
other in 123456789012. The Region is the one that requests are signed for. Signatures must be fresh by the simulation's clock
or by the system's, so that clients work at any speed.

Fate is played at /_sim/: GET health, installs, requests; POST reset, seed, advance, faults, files, throttling.

  AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any patchplane serve --config patchplane.toml \\
      --aws-endpoint-url http://127.0.0.1:4566";

pub(crate) async fn run(options: Sim) -> anyhow::Result<()> {
    let Sim { listen, seed, instances, empty, speed, throttle } = options;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
    let simulation = server::simulated::on_real_time(seed, speed);
    simulation.throttle(throttle);
    if !empty {
        simulation.at(patchplane_sim::DEFAULT_ACCOUNT, "us-east-1").populate(instances);
    }
    println!("Simulating AWS on http://{} (Ctrl-C ends it).", listener.local_addr()?);
    simulation
        .serve(listener, async {
            stopped().await;
        })
        .await;
    Ok(())
}

/// A clock as `TIME@SPEED` says it.
pub(crate) fn clock(text: &str) -> Result<Clock, String> {
    let (start, times) = text.split_once('@').ok_or("must be TIME@SPEED, such as 2025-11-24T00:00:00Z@60")?;
    let start = start.parse().map_err(|error| format!("{error}"))?;
    Ok(server::simulated::clock(&patchplane_sim::SimClock::scaled(start, speed(times)?)))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if speed.is_finite() && speed > 0.0 { Ok(speed) } else { Err("must be more than 0".to_owned()) }
}
