//! `patchplane store`: looking after what is kept.

use super::config::load;
use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args, Subcommand};
use patchplane_server::{
    server,
    store::{Exported, Place, Store, Survey},
};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Bring the schema up to date, as serve does at its start.
    Migrate(WhichStore),
    /// Read everything, and say what cannot be read. A server may run meanwhile. Exit code 1: something is wrong.
    Check(WhichStore),
    /// Write freezes, operations, targets, sends and events to standard output, a line of JSON each. A server may run meanwhile.
    Export(WhichStore),
    /// Say that the store was brought back from an earlier time (a backup, a snapshot, a copy), before serving with it: then
    /// unfinished operations ask AWS what it has done for them before they send anything.
    Restored(WhichStore),
}

#[derive(Args)]
#[command(group(ArgGroup::new("place").required(true).multiple(true).args(["store", "config"])))]
pub(crate) struct WhichStore {
    /// A file, or postgres://user@host/database. Beats the configuration's.
    #[arg(long, value_name = "FILE|URL", env = "PATCHPLANE_STORE", hide_env_values = true)]
    store: Option<Place>,
    /// The configuration file that names the store.
    #[arg(long, value_name = "FILE", env = "PATCHPLANE_CONFIG")]
    config: Option<PathBuf>,
}

impl WhichStore {
    fn place(self) -> anyhow::Result<Place> {
        match (self.store, self.config) {
            (Some(store), _) => Ok(store),
            (None, Some(config)) => Ok(load(Some(&config), &[])?.0.store),
            (None, None) => bail!("--store or --config is required"),
        }
    }
}

pub(crate) async fn run(command: StoreCommand) -> anyhow::Result<()> {
    match command {
        StoreCommand::Migrate(which) => {
            let place = which.place()?;
            server::open_store(&place).await?.close().await;
            println!("{place} is up to date");
        }
        StoreCommand::Check(which) => {
            let place = which.place()?;
            let store = Store::look(&place).await.with_context(|| format!("the store {place} cannot be read"))?;
            let Survey { operations, unfinished, targets, events, unknown, faults } = store.survey().await?;
            println!("{place}: installation {}, generation {}", store.installation(), store.generation().await?);
            println!("  {operations} operations ({unfinished} unfinished), {targets} targets, {events} events");
            if unknown > 0 {
                println!("  {unknown} operations were written by another release, which alone works on them");
            }
            for fault in &faults {
                println!("  {fault}");
            }
            if !faults.is_empty() {
                bail!("{} faults: restore a backup, and then say `patchplane store restored`", faults.len());
            }
        }
        StoreCommand::Export(which) => {
            use std::io::Write as _;
            let place = which.place()?;
            let store = Store::look(&place).await.with_context(|| format!("the store {place} cannot be read"))?;
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let line = |piece: Exported| -> anyhow::Result<()> {
                serde_json::to_writer(&mut out, &piece)?;
                Ok(out.write_all(b"\n")?)
            };
            store.export(line).await?;
            out.flush()?;
        }
        StoreCommand::Restored(which) => {
            let place = which.place()?;
            let store = server::open_store(&place).await?;
            let generation = store.restored().await?;
            store.close().await;
            println!("{place} has generation {generation}: unfinished operations are reconciled with AWS first");
        }
    }
    Ok(())
}
