//! The command line on a terminal, a real one of the operating system's: questions and their answers, plans that change while
//! somebody thinks, the bar, colours, and the width.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use patchplane_tests::{World, shell::User};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Stdio},
    thread,
    time::Duration,
};
use tokio::sync::mpsc;

const COLUMNS: u16 = 100;
/// How long, in real time, a test waits for something to be shown.
const PATIENCE: Duration = Duration::from_secs(60);
const QUESTION: &str = "Install on 2 instances, 1 at once, stop after 1 failed, reboot those that need it? [y/N] ";
const INSTALL: [&str; 5] = ["install", "--group", "web", "--reboot", "if-needed"];

/// A terminal in which a command runs.
struct Terminal<'a> {
    user: &'a User,
    keyboard: File,
    screen: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Everything that was shown.
    shown: String,
    /// Up to where it was read.
    read: usize,
    child: Child,
}

impl<'a> Terminal<'a> {
    fn runs(user: &'a User, line: &[&str], variables: &[(&str, &str)]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let inside = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&inside, Winsize { ws_row: 40, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let stdio = || Stdio::from(inside.try_clone().unwrap());
        let mut command = user.command(line);
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();

        let keyboard = File::from(keyboard);
        let (tell, screen) = mpsc::unbounded_channel();
        let mut light = keyboard.try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when the last process has closed the terminal.
            while let Ok(length @ 1..) = light.read(&mut buffer) {
                if tell.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { user, keyboard, screen, shown: String::new(), read: 0, child }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until this is shown, below what was read before.
    async fn shows(&mut self, text: &str) {
        let shown = async {
            while !self.shown[self.read..].contains(text) {
                match self.screen.recv().await {
                    Some(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                    None => panic!("{text:?} is not shown:\n{}", self.shown),
                }
            }
        };
        let timely = tokio::time::timeout(PATIENCE, shown).await.is_ok();
        assert!(timely, "{text:?} is not shown:\n{}", self.shown);
        self.read += self.shown[self.read..].find(text).unwrap() + text.len();
    }

    /// Lets time go on until the command has ended; gives its exit code and everything that was shown.
    async fn ends(mut self) -> (Option<i32>, String) {
        let ended = async {
            loop {
                tokio::select! {
                    biased;
                    bytes = self.screen.recv() => match bytes {
                        Some(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                        None => return,
                    },
                    _ = self.user.world.step() => {}
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, ended).await.is_ok(), "it does not end:\n{}", self.shown);
        let code = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code()).await.unwrap();
        (code, self.shown)
    }
}

/// Whether there is colour: an escape that ends in `m` and does more than reset.
fn coloured(text: &str) -> bool {
    let styles = text.split("\u{1b}[").skip(1).filter_map(|escape| escape.split_once('m'));
    styles
        .map(|(style, _)| style)
        .any(|style| style.bytes().all(|byte| byte.is_ascii_digit() || byte == b';') && !["", "0"].contains(&style))
}

// === questions ===

#[tokio::test(flavor = "multi_thread")]
async fn only_a_yes_is_a_yes() {
    let (user, _) = User::with_web().await;
    let before = user.world.fingerprint();
    // No; nothing; something else; and Ctrl-D, the end of input.
    for answer in ["n\n", "\n", "yess\n", "\u{4}"] {
        let mut terminal = Terminal::runs(&user, &INSTALL, &[]);
        terminal.shows("Install, RebootIfNeeded").await;
        terminal.shows(QUESTION).await;
        terminal.types(answer);
        let (code, shown) = terminal.ends().await;
        assert_eq!(code, Some(1), "{answer:?}: {shown}");
        assert!(shown.contains("nothing was done"), "{answer:?}: {shown}");
        assert_eq!(user.world.fingerprint(), before, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_yes_a_bar_is_shown_and_what_was_shown_is_installed() {
    let (user, nodes) = User::with_web().await;
    let mut terminal = Terminal::runs(&user, &INSTALL, &[]);
    terminal.shows(QUESTION).await;
    terminal.types("y\n");
    // The clock stands still meanwhile: nothing has ended yet.
    terminal.shows(&"░".repeat(12)).await;
    terminal.shows("0/2").await;
    let (code, shown) = terminal.ends().await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("nothing is missing"), "{shown}");
    assert!(coloured(&shown), "{shown:?}");
    for node in nodes {
        assert_eq!((user.world.account().installs(&node), user.world.account().missing(&node)), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_has_changed_while_somebody_thought_is_shown_and_asked_again() {
    let (user, mut nodes) = User::with_web().await;
    for (answer, installs) in [("n\n", 0), ("y\n", 1)] {
        let question = QUESTION.replace("2 instances", &format!("{} instances", nodes.len()));
        let mut terminal = Terminal::runs(&user, &INSTALL, &[]);
        terminal.shows(&question).await;
        nodes.extend(user.world.account().add_nodes(1).in_group("web").missing_patches(1).create());
        terminal.types("y\n");
        terminal.shows("The plan has changed meanwhile. It is now:").await;
        terminal.shows(&nodes[nodes.len() - 1]).await;
        terminal.shows(&QUESTION.replace("2 instances", &format!("{} instances", nodes.len()))).await;
        terminal.types(answer);
        let (code, shown) = terminal.ends().await;
        assert_eq!(code, Some(if installs == 1 { 0 } else { 1 }), "{shown}");
        for node in &nodes {
            assert_eq!(user.world.account().installs(node), installs, "{node}: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_waits_for_enter_and_ends_with_q() {
    let user = User::new(World::showcase().await).await;
    let before = user.world.fingerprint();
    let mut terminal = Terminal::runs(&user, &["walk"], &[]);
    terminal.shows("1. Can these instances be patched?").await;
    terminal.shows("Enter goes on, q ends the walk: ").await;
    terminal.types("\n");
    terminal.shows("2. What would be installed?").await;
    terminal.shows("Make this copy? [y/N] ").await;
    terminal.types("n\n");
    terminal.shows("The walk goes on with AWS's own.").await;
    terminal.shows("Enter goes on, q ends the walk: ").await;
    terminal.types("q\n");
    let (code, shown) = terminal.ends().await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Here you ended the walk."), "{shown}");
    assert_eq!(user.world.fingerprint(), before);
}

// === what a table looks like ===

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_colours_unless_they_are_not_wanted_and_lines_that_fit() {
    let user = User::new(World::showcase().await).await;
    let shown = async |line: &[&str], variables: &[(&str, &str)]| Terminal::runs(&user, line, variables).ends().await.1;
    assert!(coloured(&shown(&["instances"], &[]).await));
    for (line, variables) in [
        (&["instances"][..], &[("NO_COLOR", "1")][..]),
        (&["instances", "--color", "never"][..], &[][..]),
        (&["instances"][..], &[("TERM", "dumb")][..]),
    ] {
        let plain = shown(line, variables).await;
        assert!(!coloured(&plain), "{line:?} {variables:?}: {plain:?}");
        let widest = plain.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(widest > 60 && widest <= usize::from(COLUMNS), "{widest} columns:\n{plain}");
    }
    // Errors have colours of their own, on standard error.
    let error = ["scan", "--group", "nobody"];
    assert!(coloured(&shown(&error, &[]).await));
    assert!(!coloured(&shown(&error, &[("NO_COLOR", "1")]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bar_has_no_colours_where_none_are_wanted() {
    let (user, _) = User::with_web().await;
    let mut terminal = Terminal::runs(&user, &["scan", "--group", "web"], &[("NO_COLOR", "1")]);
    terminal.shows("▒").await;
    let (code, shown) = terminal.ends().await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("SUCCEEDED") && !coloured(&shown), "{shown:?}");
}

#[test]
fn colours_are_told_from_other_escapes() {
    assert!(coloured("\u{1b}[31mred\u{1b}[0m") && coloured("\u{1b}[38;5;9mred"));
    assert!(!coloured("\u{1b}[2K\u{1b}[1A plain me \u{1b}[0m"));
}
