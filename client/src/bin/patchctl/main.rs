//! `patchctl`: looks at instances, scans and patches them, and reports, through a patchplane server.

mod args;
mod baseline_spec;
mod baselines;
mod consent;
mod control;
mod failure;
mod freezes;
mod groups;
mod instances;
mod names;
mod operations;
mod output;
mod pages;
mod profiles;
mod report;
mod schedules;
mod walk;
mod windows;

use args::Scope;
use clap::{CommandFactory as _, Parser, Subcommand};
use failure::{Exit, Failure};
use output::{Colour, Format, Out};
use patchplane_client::Client;
use profiles::{Said, Settings};
use std::process::ExitCode;

/// Above what every command takes, in its help.
const GLOBAL: &str = "Options of every command";

const AFTER_HELP: &str = "\
Examples, against `patchplane serve --simulated`:
  export PATCHPLANE_ACCOUNT=111122223333 PATCHPLANE_REGION=us-east-1
  patchctl walk                                  an operator's first day, explained step by step
  patchctl instances                             who is there, of every location without the first line
  patchctl readiness i-0123456789abcdef0         what keeps it from being patched, and what to do
  patchctl baselines get pb-0be8c61cde3be63f3    what a baseline approves, in sentences
  patchctl groups attach web pb-0be8c61cde3be63f3
  patchctl groups add web i-0123456789abcdef0 i-0123456789abcdef1
  patchctl scan --group web                      compares with the baseline; follows it to the end
  patchctl report --group web --patches
  patchctl install --group web --reboot if-needed --concurrency 25%
  patchctl operations --watch                    everything that is and was done
  patchctl cancel last                           stops the newest operation; also pause, resume, retry, events
  patchctl freezes create --reason 'stock-taking' --group web
  patchctl schedules preview --daily 03:00 --tz Asia/Tokyo

Exit codes:
  0    all well
  1    an operation ended other than SUCCEEDED, an instance is not ready or was refused, or you said no
  2    the command line is wrong, or lacks the --yes that it needs without a terminal
  3    the server refused the request: bad input, a precondition, not found, no right
  4    the server or AWS could not be reached, or a list lacks a location
  5    an internal error
  130  Ctrl-C while watching: what was started goes on, and the command to look again is told

Environment: PATCHPLANE_SERVER, PATCHPLANE_ACCOUNT, PATCHPLANE_REGION, PATCHCTL_PROFILE, PATCHCTL_CONFIG (the file of
profiles), NO_COLOR, TZ. A flag wins over the environment, the environment over the profile.";

/// Patching on AWS from the command line: through a patchplane server.
#[derive(Debug, Parser)]
#[command(name = "patchctl", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    /// The patchplane server; http://127.0.0.1:50051 unless said here or in the profile.
    #[arg(long, env = "PATCHPLANE_SERVER", value_name = "URL", global = true, help_heading = GLOBAL)]
    server: Option<String>,
    /// The profile to use, of those that `patchctl profiles` lists.
    #[arg(long, env = "PATCHCTL_PROFILE", value_name = "NAME", global = true, help_heading = GLOBAL)]
    profile: Option<String>,
    /// Tables for people (unless the profile says otherwise), or the API's messages.
    #[arg(short, long, value_enum, global = true, help_heading = GLOBAL)]
    output: Option<Format>,
    /// Colour: auto means on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", global = true, help_heading = GLOBAL)]
    color: Colour,
    /// The zone of times in tables, such as Asia/Tokyo; this machine's unless said here or in the profile.
    #[arg(long, value_name = "ZONE", global = true, help_heading = GLOBAL)]
    tz: Option<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(subcommand)]
    command: Any,
}

#[derive(Debug, Subcommand)]
enum Any {
    #[command(flatten)]
    Served(Command),
    #[command(flatten)]
    Local(Local),
}

/// What asks the server.
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
    /// Reboots, and installs nothing.
    Reboot(operations::RebootInstances),
    /// What was scanned and patched, and how it went.
    Operations(operations::Operations),
    /// Follows everything that is scanned and patched, until Ctrl-C.
    Watch(control::Watch),
    /// All that happened to an operation and its instances, step by step.
    Events(control::Events),
    /// Stops an operation for good: nothing more is started.
    Cancel(control::Cancel),
    /// Keeps an operation from starting more until it is resumed.
    Pause(control::Pause),
    /// Lets a paused operation go on.
    Resume(control::Resume),
    /// Tries the failures of an ended operation again.
    Retry(control::Retry),
    /// Times at which nothing is sent to instances.
    Freezes(freezes::Freezes),
    /// What a step of an operation printed on an instance.
    Output(operations::Output),
    /// How far the fleet is from what its baselines approve.
    Report(report::Report),
    /// Scanning and patching again and again, at times of your choice.
    Schedules(schedules::Schedules),
    /// Maintenance windows as AWS has them, what they ran and will run.
    Windows(windows::Windows),
    /// An operator's first day, explained step by step; asks before each change.
    Walk(walk::Walk),
}

/// What needs no server.
#[derive(Debug, Subcommand)]
enum Local {
    /// The profiles of this user, and which is in use.
    Profiles(profiles::Profiles),
    /// Prints what a shell needs to complete commands.
    Completions(pages::Completions),
    /// Prints the man page, or writes all of them.
    Man(pages::Man),
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
    let Cli { server, profile, output, color, tz, scope, command } = cli;
    color.apply();
    let zone_said = tz.clone();
    let said = Said { server, profile, output, zone: tz, scope };
    let command = match command {
        Any::Served(command) => command,
        Any::Local(Local::Profiles(command)) => return command.run(Settings::read(said)?),
        Any::Local(Local::Completions(command)) => return command.run(Cli::command()),
        Any::Local(Local::Man(command)) => return command.run(Cli::command()),
    };
    let Settings { server, scope, format, zone, .. } = Settings::read(said)?;
    let context =
        Context { client: Client::connect(server).await?, scope, out: Out::new(format, zone)?.told_in(zone_said) };
    match command {
        Command::Instances(command) => command.run(&context).await,
        Command::Readiness(command) => command.run(&context).await,
        Command::Baselines(command) => command.run(&context).await,
        Command::Groups(command) => command.run(&context).await,
        Command::Scan(command) => command.run(&context).await,
        Command::Install(command) => command.run(&context).await,
        Command::Reboot(command) => command.run(&context).await,
        Command::Operations(command) => command.run(&context).await,
        Command::Watch(command) => command.run(&context).await,
        Command::Events(command) => command.run(&context).await,
        Command::Cancel(command) => command.run(&context).await,
        Command::Pause(command) => command.run(&context).await,
        Command::Resume(command) => command.run(&context).await,
        Command::Retry(command) => command.run(&context).await,
        Command::Freezes(command) => command.run(&context).await,
        Command::Output(command) => command.run(&context).await,
        Command::Report(command) => command.run(&context).await,
        Command::Schedules(command) => Box::pin(command.run(&context)).await,
        Command::Windows(command) => command.run(&context).await,
        Command::Walk(command) => command.run(&context).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command with its path, such as `patchctl operations get`.
    fn commands(command: &clap::Command, path: String) -> Vec<(String, clap::Command)> {
        let path = [path, command.get_name().to_owned()].join(" ").trim().to_owned();
        let below = command.get_subcommands().flat_map(|below| commands(below, path.clone()));
        [(path.clone(), command.clone())].into_iter().chain(below).collect()
    }

    #[test]
    fn every_command_has_examples_and_they_parse() {
        let all = commands(&Cli::command(), String::new());
        assert!(all.len() > 15);
        for (path, command) in all {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<String> = help
                .lines()
                .filter_map(|line| line.trim().split("   ").next()?.split(['>', '|']).next())
                .filter(|line| line.starts_with("patchctl "))
                .map(str::to_owned)
                .collect();
            let top = path.split(' ').count() <= 2;
            assert!(!top || !examples.is_empty(), "`{path} --help` shows no example");
            for example in examples {
                let quoted = shell_words(&example);
                assert!(Cli::try_parse_from(&quoted).is_ok(), "{example}: {:?}", Cli::try_parse_from(quoted).err());
            }
        }
    }

    /// A line split at blanks, except within single quotes.
    fn shell_words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for (index, part) in line.trim().split('\'').enumerate() {
            for (blank, piece) in part.split(if index % 2 == 0 { ' ' } else { '\0' }).enumerate() {
                if blank > 0 {
                    words.push(String::new());
                }
                words.last_mut().unwrap().push_str(piece);
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn a_misspelt_command_is_answered_with_the_nearest_one() {
        for (wrong, right) in [("patchctl operatoins", "operations"), ("patchctl groups atach web pb-1", "attach")] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(&format!("'{right}'")), "{error}");
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
