//! `patchplane health`: whether a server serves.

use anyhow::{Context as _, bail};
use clap::Args;

#[derive(Args)]
pub(crate) struct Health {
    /// The server's address.
    #[arg(long, default_value = "http://127.0.0.1:50051", env = "PATCHPLANE_SERVER")]
    server: String,
    /// One service, such as patchplane.v1.PatchOperationService; unset means the server as a whole.
    #[arg(long, default_value = "")]
    service: String,
}

pub(crate) async fn run(options: Health) -> anyhow::Result<()> {
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
