//! `patchplane doctor`: whether a configuration will do, before `serve` finds out.

use super::config::{Given, load};
use anyhow::bail;
use clap::Args;
use patchplane_aws::Clock;
use patchplane_server::doctor::{Verdict, examine, of_configuration};

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Doctor {
    #[command(flatten)]
    given: Given,
    /// Another endpoint for all AWS calls, as for serve.
    #[arg(long, value_name = "URL")]
    aws_endpoint_url: Option<String>,
    /// Another clock than the system's, as for serve.
    #[cfg(feature = "simulated")]
    #[arg(long, hide = true, value_name = "TIME@SPEED", requires = "aws_endpoint_url", value_parser = super::sim::clock)]
    clock: Option<Clock>,
    /// Print JSON: {\"ok\": .., \"findings\": [{\"check\", \"verdict\": \"ok\" | \"warn\" | \"fail\", \"found\", \"fix\"}]}.
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Looks at the configuration, the store, the advisory files, and for each account and Region: the credentials and whose they
are, the clock, and each AWS read that is needed. Nothing is changed, and no AWS call that changes something is tried. It may
run beside a server. Exit code 1: something fails; each finding that is not well comes with what to do.

  patchplane doctor --config patchplane.toml";

pub(crate) async fn run(options: Doctor) -> anyhow::Result<()> {
    let Given { config, mut set } = options.given;
    set.extend(options.aws_endpoint_url.map(|url| format!("aws_endpoint_url={url}")));
    #[cfg(feature = "simulated")]
    let clock = options.clock.unwrap_or_else(Clock::system);
    #[cfg(not(feature = "simulated"))]
    let clock = Clock::system();
    let findings = match load(config.as_deref(), &set) {
        Ok((config, _)) => examine(&config, &clock).await,
        Err(error) => of_configuration(&error),
    };
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if options.json {
        println!("{:#}", serde_json::json!({ "ok": failed == 0, "findings": findings }));
    } else {
        findings.iter().for_each(|finding| println!("{finding}"));
    }
    match failed {
        0 => Ok(()),
        1 => bail!("one check fails"),
        _ => bail!("{failed} checks fail"),
    }
}
