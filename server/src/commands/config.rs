//! `patchplane config`: looking at a configuration without using it.

use clap::{Args, Subcommand};
use patchplane_server::config::{Config, ConfigError, Effective, Layers};
use std::{
    env,
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a configuration is right, and what it means. Exit code 1: it is not; then all that is wrong is told.
    Check {
        /// The configuration file. What the environment says is checked with it.
        #[arg(env = "PATCHPLANE_CONFIG")]
        file: PathBuf,
    },
    /// Print the configuration as it counts: TOML, each value with who says it (a file's line, a variable, an option, the
    /// default) as a comment. Secrets are left out.
    Show(Given),
}

/// A configuration file, and what beats it.
#[derive(Args)]
pub(crate) struct Given {
    /// The configuration file. docs/patchplane.example.toml has every key. Variables beat it, such as PATCHPLANE_STORE or
    /// PATCHPLANE_LIMITS__MAX_DEADLINE, and options beat both.
    #[arg(long, value_name = "FILE", env = "PATCHPLANE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Say one key, such as limits.max_deadline=5m. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What file, environment and `--set` say together.
pub(crate) fn load(file: Option<&Path>, set: &[String]) -> Result<(Config, Effective), ConfigError> {
    let layers = file.map_or_else(Layers::default, |file| Layers::default().file(file));
    layers.environment(env::vars_os()).set(set).load()
}

pub(crate) fn run(command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            let (config, _) = load(Some(&file), &[])?;
            println!("{} is right:", file.display());
            tell(&config);
        }
        ConfigCommand::Show(Given { config, set }) => print!("{}", load(config.as_deref(), &set)?.1),
    }
    Ok(())
}

fn tell(config: &Config) {
    println!("  listens on {}", config.listen);
    let days = config.retention.as_secs() / 86_400;
    println!("  keeps its store in {}, and operations that have ended for {days} days", config.store);
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
}
