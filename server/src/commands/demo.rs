//! `patchplane demo`: a day with Patch Manager, against a simulated account.

use clap::Args;

#[derive(Args)]
pub(crate) struct Demo {
    /// Keep serving after the walk, so that patchctl and grpcurl can look around.
    #[arg(long)]
    stay: bool,
}

#[cfg(feature = "simulated")]
pub(crate) async fn run(options: Demo) -> anyhow::Result<()> {
    use super::serve::stopped;
    use patchplane_client::{Client, Location};
    use patchplane_server::server::{self, Server, Stop};
    use std::net::Ipv4Addr;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
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
pub(crate) async fn run(_options: Demo) -> anyhow::Result<()> {
    anyhow::bail!("this build does not contain the simulated account; use a build with the feature `simulated`")
}
