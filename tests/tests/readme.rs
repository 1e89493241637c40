//! The README's commands, run as a newcomer would type them: from top to bottom, in one account; each ends with the exit
//! code that the README tells, and the output that it quotes is really there.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use jiff::SignedDuration;
use patchplane_tests::{World, shell::User};
use std::time::Duration;

/// What the README shows and this test does not run, by the first word, and why.
const NOT_RUN: [(&str, &str); 4] = [
    ("cargo", "the server is in this process already, and .ci/run runs the demo"),
    ("./.ci/run", "it runs this test"),
    ("grpcurl", "it is not to be had everywhere; the same calls are made through reflection in another test"),
    ("patchplane", "it is shown with a configuration for AWS itself"),
];

/// A part of the README in a fence.
#[derive(Debug, PartialEq)]
enum Block {
    /// What is typed at a shell, a command each.
    Commands(Vec<String>),
    /// What these commands wrote, shortened where `…` stands.
    Quoted(Vec<String>),
    /// What is typed into the terminal of the server: so much time passes.
    Time(SignedDuration),
}

fn document(name: &str) -> String {
    let tests = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    std::fs::read_to_string(std::path::Path::new(&tests).join("..").join(name)).unwrap()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside: Vec<String> = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
        match info {
            "sh" => blocks.push(Block::Commands(commands(&inside))),
            "" => blocks.push(Block::Quoted(inside)),
            "console" => blocks.push(Block::Time(inside.concat().parse().unwrap())),
            "rust" | "toml" | "json" | "text" => {}
            other => panic!("nobody knows what to do with a block of {other:?}"),
        }
    }
    blocks
}

/// The commands of a block: a line, or several where it goes on after a backslash or within quotes.
fn commands(lines: &[String]) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in lines {
        command += line;
        if command.ends_with('\\') || is_within_quotes(&command) {
            command.push('\n');
        } else if !command.trim().is_empty() {
            commands.push(std::mem::take(&mut command));
        }
    }
    assert_eq!(command, "", "a command goes on beyond its block");
    commands
}

/// Whether a quotation has begun and not ended; comments may hold apostrophes.
fn is_within_quotes(command: &str) -> bool {
    let (mut within, mut comment, mut before) = (false, false, ' ');
    for character in command.chars() {
        match character {
            '\n' => comment = false,
            '#' if !within && before == ' ' => comment = true,
            '\'' if !comment => within = !within,
            _ => {}
        }
        before = character;
    }
    within
}

/// What the README says of how a command ends.
fn exit_code(command: &str) -> i32 {
    let Some((_, told)) = command.split_once("# exit code ") else { return 0 };
    let digits: String = told.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("which exit code? {command}"))
}

/// Each quoted line is in the output, in this order; blanks count as one, and `…` stands for anything within a line.
fn assert_quoted(quoted: &[String], output: &str) {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut told = output.lines().map(squeezed);
    for line in quoted.iter().filter(|line| !line.is_empty() && *line != "…") {
        let wanted = squeezed(line);
        assert!(
            told.any(|told| fits(&wanted, &told)),
            "the README quotes {line:?}, which is not there (any more):\n{output}"
        );
    }
}

fn fits(wanted: &str, told: &str) -> bool {
    let Some((first, rest)) = wanted.split_once('…') else { return wanted == told };
    let Some(mut told) = told.strip_prefix(first.trim_end()) else { return false };
    let mut parts: Vec<&str> = rest.split('…').map(str::trim).collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match told.split_once(part) {
            Some((_, after)) => told = after,
            None => return false,
        }
    }
    told.ends_with(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_does_what_the_readme_says() {
    let user = User::new(World::showcase().await).await;
    let readme = document("README.md");
    let (mut exported, mut ran, mut output) = (Vec::new(), 0, String::new());
    for block in blocks(&readme) {
        let commands = match block {
            Block::Commands(commands) => commands,
            Block::Quoted(quoted) => {
                assert_quoted(&quoted, &output);
                continue;
            }
            Block::Time(passes) => {
                user.world.settle().await;
                user.world.simulation.clock().advance(Duration::try_from(passes).unwrap());
                continue;
            }
        };
        output.clear();
        for command in commands {
            match command.split_whitespace().next().unwrap_or_default() {
                "patchctl" => {
                    // Where to work is said by the README alone; only the port is another here.
                    let mut typed = user.shell(&command);
                    typed.env_remove("PATCHPLANE_ACCOUNT").env_remove("PATCHPLANE_REGION").envs(exported.clone());
                    let ended = user.lets(typed).await;
                    assert_eq!(ended.code, exit_code(&command), "{command}: {ended:?}");
                    output += &(ended.stderr + &ended.stdout);
                    ran += 1;
                }
                "export" => exported.extend(command.split_whitespace().skip(1).map(|variable| {
                    let (name, value) = variable.split_once('=').unwrap();
                    (name.to_owned(), value.to_owned())
                })),
                "alias" => assert!(command.starts_with("alias patchctl='"), "{command}"),
                other => assert!(
                    NOT_RUN.iter().any(|(word, _)| *word == other),
                    "the README shows a command that this test does not run: {command}"
                ),
            }
        }
    }
    let shown = readme.lines().filter(|line| line.starts_with("patchctl ")).count();
    assert!(ran == shown && ran > 30, "{ran} of {shown} commands were run");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_the_documents_mention_in_passing_exists() {
    let user = User::new(World::start().await).await;
    for text in [document("README.md"), document("docs/patchctl.md")] {
        let prose = text.split("```").step_by(2);
        let mentioned = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
        let words = |mention: &str| {
            let words = mention.split_whitespace().skip(1);
            words.take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).map(str::to_owned).collect::<Vec<_>>()
        };
        for mention in mentioned.filter(|mention| mention.starts_with("patchctl ")) {
            let mut line = words(mention);
            line.push("--help".to_owned());
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            assert_eq!(user.runs(&line).await.code, 0, "`{mention}`");
        }
    }
}

#[test]
fn what_is_quoted_is_found_and_what_is_not_there_is_missed() {
    assert!(fits("a b", "a b") && !fits("a b", "a b c") && !fits("b", "a b"));
    assert!(fits("run-… SUCCEEDED …", "run-1 INSTALL SUCCEEDED x") && fits("… b", "a b"));
    assert!(!fits("run-… SUCCEEDED …", "run-1 INSTALL FAILED x") && !fits("… b", "a b c") && !fits("a …", "b a"));
    let block = "```sh\nzero  # it isn't quoted\none \\\n  more\ntwo 'x\ny'  # exit code 3\n```\n```\nout\n```\n```console\n24h\n```\n";
    let two = "two 'x\ny'  # exit code 3".to_owned();
    assert_eq!(exit_code(&two), 3);
    let expected = [
        Block::Commands(vec!["zero  # it isn't quoted".to_owned(), "one \\\n  more".to_owned(), two]),
        Block::Quoted(vec!["out".to_owned()]),
        Block::Time(SignedDuration::from_hours(24)),
    ];
    assert_eq!(blocks(block), expected);
}
