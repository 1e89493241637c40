//! The store: what must survive a crash, in one SQLite file that one process owns.
//!
//! A write is a [`Tx`]: nothing of it is there before `commit` answers, all of it afterwards, on disk
//! (`synchronous=FULL`). Each commit raises the store's revision, and rows remember the revision that wrote them; that is
//! how a watch finds what has changed.

mod events;
mod freezes;
mod leases;
mod locks;
mod operations;
mod requests;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{
    Row as _, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use std::{
    fmt,
    fs::{File, TryLockError},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

pub use leases::Claim;
pub use operations::{Changes, Listed, Saved};
pub use requests::{RequestKey, RequestRecord};

/// The version written beside each operation: a server leaves alone what it does not know.
const WRITTEN_BY: &str = "1";

/// The durable memory of one installation. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// One connection: SQLite has one writer.
    writer: SqlitePool,
    readers: SqlitePool,
    revision: watch::Sender<u64>,
    installation: Uuid,
    seal_key: [u8; 32],
    commits: AtomicU64,
    crash: Option<CrashPoint>,
    crashed: AtomicBool,
    /// Held for as long as the store is open: a second process refuses to start.
    lock: File,
}

/// Where a test lets the process die: from then on the store answers nothing.
#[derive(Clone, Copy, Debug)]
pub struct CrashPoint {
    /// Which commit, counted from 1 at opening.
    pub commit: u64,
    /// Whether that commit still took effect.
    pub committed: bool,
}

/// A write in progress; dropped without `commit` it never was.
pub struct Tx {
    store: Store,
    tx: Transaction<'static, Sqlite>,
    revision: u64,
    /// The database's time when this write began, in milliseconds. Until it ends no other can begin.
    now: i64,
    /// How many events it has written so far.
    events: u32,
    /// Whether it changes what readers are shown: then it raises the revision, and counts as a commit.
    shown: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the store does not answer")]
    Unavailable(#[from] sqlx::Error),
    #[error("the store's schema cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("the store holds something unreadable")]
    Unreadable(#[from] serde_json::Error),
    #[error("the store at {0} is in use by another process")]
    InUse(String),
    #[error("the store's file cannot be used")]
    File(#[from] std::io::Error),
    #[error("the operation has another worker, or soon may have")]
    Fenced,
    #[error("the store has crashed, as a test asked")]
    Crashed,
}

pub type Result<T> = std::result::Result<T, Error>;

// === impl Store ===

impl Store {
    /// Opens the file, or makes it, and brings its schema up to date.
    pub async fn open(path: &Path, crash: Option<CrashPoint>) -> Result<Self> {
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!("src/store/migrations/sqlite").run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;

        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('installation', $1), ('seal_key', $2), ('revision', '0'), \
             ('generation', '1') ON CONFLICT (key) DO NOTHING",
        )
        .bind(Uuid::new_v4().to_string())
        .bind(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
        .execute(&writer)
        .await?;
        // Whoever held a lease is gone: the file has one process.
        sqlx::query("UPDATE operations SET owner = NULL, lease_until = 0 WHERE owner IS NOT NULL")
            .execute(&writer)
            .await?;
        let meta = async |key: &str| -> Result<String> {
            let row = sqlx::query("SELECT value FROM meta WHERE key = $1").bind(key).fetch_one(&writer).await?;
            Ok(row.try_get(0)?)
        };
        let installation = Uuid::parse_str(&meta("installation").await?).unwrap_or(Uuid::nil());
        let seal_key = seal_key(&meta("seal_key").await?);
        let revision = meta("revision").await?.parse().unwrap_or(0);

        Ok(Self(Arc::new(Inner {
            writer,
            readers,
            revision: watch::Sender::new(revision),
            installation,
            seal_key,
            commits: AtomicU64::new(0),
            crash,
            crashed: AtomicBool::new(false),
            lock,
        })))
    }

    /// Which installation this is; markers of its commands derive from it.
    pub fn installation(&self) -> Uuid {
        self.0.installation
    }

    /// The key that seals page and resume tokens: the same for every server on this store.
    pub fn seal_key(&self) -> &[u8; 32] {
        &self.0.seal_key
    }

    /// Tells of each commit: its value is the newest revision.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// How many commits there were since opening.
    pub fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::SeqCst)
    }

    /// Whether the store can be written to now.
    pub async fn check(&self) -> Result<()> {
        self.alive()?;
        sqlx::query("SELECT 1").execute(&self.0.writer).await?;
        Ok(())
    }

    /// Ends all work on the file and lets another process have it.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
        if let Err(error) = self.0.lock.unlock() {
            tracing::warn!(%error, "the store's lock file stays locked");
        }
    }

    /// Begins a write. Others wait until it ends.
    pub async fn begin(&self) -> Result<Tx> {
        self.begin_with(true).await
    }

    /// The first statement keeps all other writers waiting until this one ends: revisions grow in the order of the
    /// commits, and what a write reads stays true until it ends.
    async fn begin_with(&self, shown: bool) -> Result<Tx> {
        self.alive()?;
        let mut tx = self.0.writer.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(
            "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) WHERE key = 'revision' \
             RETURNING CAST(value AS BIGINT), CAST(unixepoch('subsec') * 1000 AS BIGINT)",
        )
        .bind(i64::from(shown))
        .fetch_one(&mut *tx)
        .await?;
        let revision: i64 = row.try_get(0)?;
        let now = row.try_get(1)?;
        Ok(Tx { store: self.clone(), tx, revision: revision.unsigned_abs(), now, events: 0, shown })
    }

    fn readers(&self) -> Result<&SqlitePool> {
        self.alive()?;
        Ok(&self.0.readers)
    }

    fn alive(&self) -> Result<()> {
        if self.0.crashed.load(Ordering::SeqCst) { Err(Error::Crashed) } else { Ok(()) }
    }
}

// === impl Tx ===

impl Tx {
    /// Makes it last. An error leaves open whether it does: read before acting again.
    pub async fn commit(self) -> Result<()> {
        let Self { store, tx, revision, shown, .. } = self;
        store.alive()?;
        if !shown {
            return Ok(tx.commit().await?);
        }
        let count = store.0.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(crash) = store.0.crash.filter(|crash| crash.commit == count) {
            store.0.crashed.store(true, Ordering::SeqCst);
            if crash.committed {
                tx.commit().await?;
            }
            return Err(Error::Crashed);
        }
        tx.commit().await?;
        store.0.revision.send_replace(revision);
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// 64 hex digits as bytes; anything else gives a key that opens nothing sealed before.
fn seal_key(hex: &str) -> [u8; 32] {
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let text = std::str::from_utf8(digits).unwrap_or("0");
        *byte = u8::from_str_radix(text, 16).unwrap_or(0);
    }
    key
}

/// A text that sorts as the times do.
fn stamp(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// What stands first in the row, out of its JSON.
fn body<T: DeserializeOwned>(row: &SqliteRow) -> Result<T> {
    let text: &str = row.try_get(0)?;
    Ok(serde_json::from_str(text)?)
}

fn bodies<T: DeserializeOwned>(rows: Vec<SqliteRow>) -> Result<Vec<T>> {
    rows.iter().map(body).collect()
}

/// A value whose JSON is a text, such as an id or a state.
fn word<T: DeserializeOwned>(row: &SqliteRow, column: usize) -> Result<T> {
    Ok(serde_json::from_value(serde_json::Value::String(row.try_get(column)?))?)
}

/// Texts as rows of one column, for `json_each`.
fn column<T: fmt::Display>(texts: impl IntoIterator<Item = T>) -> Result<String> {
    let rows: Vec<[String; 1]> = texts.into_iter().map(|text| [text.to_string()]).collect();
    Ok(serde_json::to_string(&rows)?)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
