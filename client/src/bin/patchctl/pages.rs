//! What a shell and `man` read: completions and pages, made from the command line's own description.

use crate::failure::{Exit, Failure};
use clap::{Args, Command};
use clap_complete::Shell;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl completions bash > ~/.local/share/bash-completion/completions/patchctl
  patchctl completions zsh > ~/.zfunc/_patchctl         with `fpath+=~/.zfunc` before compinit
  patchctl completions fish > ~/.config/fish/completions/patchctl.fish")]
pub(crate) struct Completions {
    /// The shell to complete in.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl man | man -l -
  patchctl man --to ~/.local/share/man/man1      patchctl(1), patchctl-scan(1), ...")]
pub(crate) struct Man {
    /// Write a page for each command into this folder, made when missing, instead of printing the first one.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(self, mut command: Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "patchctl", &mut script);
        print(&script)
    }
}

impl Man {
    pub(crate) fn run(self, command: Command) -> Result<Exit, Failure> {
        if let Some(folder) = self.to {
            std::fs::create_dir_all(&folder)?;
            clap_mangen::generate_to(command, folder)?;
            return Ok(Exit::Well);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print(&page)
    }
}

fn print(text: &[u8]) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()?;
    Ok(Exit::Well)
}
