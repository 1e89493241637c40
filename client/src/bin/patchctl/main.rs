//! `patchctl`: looks at instances, scans and patches them, and reports, through a patchplane server.

mod args;
mod baselines;
mod failure;
mod groups;
mod instances;
mod operations;
mod output;
mod report;

use args::Scope;
use clap::{Parser, Subcommand};
use failure::{Exit, Failure};
use output::{Format, Out};
use patchplane_client::Client;
use std::process::ExitCode;

/// Above what every command takes, in its help.
const GLOBAL: &str = "Options of every command";

const AFTER_HELP: &str = "\
Examples, against `patchplane serve --simulated`:
  export PATCHPLANE_ACCOUNT=111122223333 PATCHPLANE_REGION=us-east-1
  patchctl instances                             who is there, of every location without the two lines above
  patchctl readiness i-0123456789abcdef0         what keeps it from being patched, and what to do
  patchctl baselines get pb-0be8c61cde3be63f3    what a baseline approves, in sentences
  patchctl groups attach web pb-0be8c61cde3be63f3
  patchctl groups add web i-0123456789abcdef0 i-0123456789abcdef1
  patchctl scan --group web                      compares with the baseline; follows it to the end
  patchctl report --group web --patches
  patchctl install --group web --reboot if-needed --concurrency 25%
  patchctl operations                            everything that was done

Exit codes:
  0  all well
  1  the operation ended other than SUCCEEDED, or an instance is not ready
  2  the command line is wrong
  3  the server refused the request: bad input, a precondition, not found, no right
  4  the server or AWS could not be reached, or a list lacks a location
  5  an internal error";

/// Patching on AWS from the command line: through a patchplane server.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    /// The patchplane server.
    #[arg(
        long,
        env = "PATCHPLANE_SERVER",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL",
        global = true
    )]
    server: String,
    /// Tables for people, or the API's messages as JSON.
    #[arg(short, long, value_enum, default_value = "table", global = true, help_heading = GLOBAL)]
    output: Format,
    #[command(flatten)]
    scope: Scope,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Instances that EC2 or Systems Manager knows, and their patches.
    Instances(instances::Instances),
    /// Whether instances can be patched; for each obstacle, what to do.
    Readiness(instances::Readiness),
    /// Patch baselines and what they approve.
    Baselines(baselines::Baselines),
    /// Patch groups: which instances get which baseline.
    Groups(groups::Groups),
    /// Compares instances with their baselines; changes nothing on them.
    Scan(operations::Scan),
    /// Installs what is approved and missing.
    Install(operations::Install),
    /// What was scanned and patched, and how it went.
    Operations(operations::Operations),
    /// What a step of an operation printed on an instance.
    Output(operations::Output),
    /// How far the fleet is from what its baselines approve.
    Report(report::Report),
}

/// What every command works with.
struct Context {
    client: Client,
    scope: Scope,
    out: Out,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(exit) => exit.code(),
        Err(failure) => failure.tell(),
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { server, output, scope, command } = cli;
    let context = Context { client: Client::connect(server).await?, scope, out: Out::new(output)? };
    match command {
        Command::Instances(command) => command.run(&context).await,
        Command::Readiness(command) => command.run(&context).await,
        Command::Baselines(command) => command.run(&context).await,
        Command::Groups(command) => command.run(&context).await,
        Command::Scan(command) => command.run(&context).await,
        Command::Install(command) => command.run(&context).await,
        Command::Operations(command) => command.run(&context).await,
        Command::Output(command) => command.run(&context).await,
        Command::Report(command) => command.run(&context).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_of_the_help_parse() {
        let examples: Vec<&str> = AFTER_HELP
            .lines()
            .filter_map(|line| line.trim().split("   ").next())
            .filter(|line| line.starts_with("patchctl "))
            .collect();
        assert!(examples.len() >= 9);
        for example in examples {
            assert!(parse(example).is_ok(), "{example}: {:?}", parse(example).err());
        }
    }

    #[test]
    fn what_acts_on_hosts_must_be_said_in_full() {
        for wrong in [
            "patchctl scan",
            "patchctl install --group web",
            "patchctl install --reboot no",
            "patchctl install --group web --reboot perhaps",
            "patchctl scan --group web --reboot no",
            "patchctl scan --all --group web",
            "patchctl scan --group web --concurrency 0",
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong}");
        }
        assert!(parse("patchctl scan --group web --instance i-1 --tag env=test --exclude i-2").is_ok());
    }
}
