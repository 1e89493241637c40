//! The binary `patchplane`: serve, demo, sim, health, config, doctor, iam, store.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks on its outputs")]

mod commands;

use clap::{Parser, Subcommand};
use commands::{config, demo, doctor, health, iam, serve, store};
use patchplane_server::telemetry;
use std::process::ExitCode;

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
    Serve(Box<serve::Serve>),
    /// Walk through a day with Patch Manager, against a simulated account.
    Demo(demo::Demo),
    /// Simulate AWS on a port, for patchplane or any other AWS client: Systems Manager, EC2 and STS as far as patching goes.
    #[cfg(feature = "simulated")]
    Sim(commands::sim::Sim),
    /// Ask a running server whether it serves. Exit code 0: it does.
    Health(health::Health),
    /// Look at a configuration without using it.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Say what stands in the way of serving, and what to do: configuration, store, credentials, clock, rights in AWS.
    Doctor(doctor::Doctor),
    /// Print what AWS must allow: policies for each kind of use, who may become the role, a CloudFormation template.
    #[command(subcommand)]
    Iam(iam::IamCommand),
    /// Look after a store.
    #[command(subcommand)]
    Store(store::StoreCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if tracing::dispatcher::has_been_set() {
                tracing::error!("{error:#}");
            } else {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<()> {
    if !matches!(command, Command::Serve(_)) {
        telemetry::start(telemetry::Options { level: "warn", ..telemetry::Options::default() }).await?;
    }
    match command {
        Command::Serve(options) => Box::pin(serve::run(*options)).await,
        Command::Demo(options) => demo::run(options).await,
        #[cfg(feature = "simulated")]
        Command::Sim(options) => commands::sim::run(options).await,
        Command::Health(options) => health::run(options).await,
        Command::Config(command) => config::run(command),
        Command::Doctor(options) => doctor::run(options).await,
        Command::Iam(command) => iam::run(command),
        Command::Store(command) => store::run(command).await,
    }
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
        assert!(parses("patchplane serve --simulated --set limits.max_deadline=5m --set drain.timeout=1s"));
        assert!(parses("patchplane config show --config x.toml --set listen=127.0.0.1:1"));
        assert!(parses("patchplane doctor --config x.toml --json"));
        assert!(parses("patchplane iam policy --for read-only --for scan --node-tag team=web"));
        assert!(!parses("patchplane iam policy --for everything"));
        assert!(parses("patchplane iam trust role --principal arn:aws:iam::111122223333:role/p --external-id x1"));
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
