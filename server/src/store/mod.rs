//! The store: what must survive a crash, in a SQLite file that one process owns, or in a PostgreSQL that replicas share.
//!
//! A write is a [`Tx`]: nothing of it is there before `commit` answers, all of it afterwards, on disk. Writes come one
//! after the other, whoever makes them. Each commit raises the store's revision, and rows remember the revision that wrote
//! them; that is how a watch finds what has changed. One text of SQL serves both databases; `database` holds what differs.

mod database;
mod events;
mod followers;
mod freezes;
mod leases;
mod locks;
mod operations;
mod place;
mod requests;
mod upkeep;

use crate::telemetry::metrics;
use database::{Database, Kind, Purpose};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{Any, AnyPool, Row as _, Transaction, any::AnyRow};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::AbortHandle, time::Instant};
use uuid::Uuid;

pub use leases::Claim;
pub use operations::{Changes, Listed, Saved};
pub use place::{InvalidPlace, Place};
pub use requests::{RequestKey, RequestRecord};
pub use upkeep::{Exported, Schema, Survey};

/// The version written beside each operation: a server leaves alone what it does not know.
const WRITTEN_BY: &str = "1";

/// The durable memory of one installation. Clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    revision: watch::Sender<u64>,
    installation: Uuid,
    seal_key: [u8; 32],
    commits: AtomicU64,
    crash: Option<CrashPoint>,
    crashed: AtomicBool,
    /// Hears of the commits of other replicas.
    following: Option<AbortHandle>,
}

/// Without the key that seals tokens.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("installation", &self.installation).finish_non_exhaustive()
    }
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
    tx: Transaction<'static, Any>,
    revision: u64,
    /// The database's time when this write began, in milliseconds. Until it ends no other can begin.
    now: i64,
    /// How many events it has written so far.
    events: u32,
    /// Whether it changes what readers are shown: then it raises the revision, and counts as a commit.
    shown: bool,
    /// When it was asked for.
    begun: Instant,
}

/// A read in progress, of several statements that all see the same.
struct Read {
    tx: Transaction<'static, Any>,
    begun: Instant,
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
    #[error("the store is not fit for use: {0}")]
    Unfit(String),
    #[error("the store's file cannot be used")]
    File(#[from] std::io::Error),
    #[error("the operation has another worker, or soon may have")]
    Fenced,
    #[error("the store has crashed, as a test asked")]
    Crashed,
}

impl Error {
    /// Whether the database may answer later, as it is: it is not there yet, or not reached at the moment.
    pub fn passes(&self) -> bool {
        let starting = |code: &str| matches!(code, "57P03" | "57P01" | "57P02" | "53300");
        match self {
            Self::Unavailable(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => true,
            Self::Unavailable(sqlx::Error::Database(error)) => error.code().is_some_and(|code| starting(&code)),
            _ => false,
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

// === impl Store ===

impl Store {
    /// Opens the store, or makes it, and brings its schema up to date.
    pub async fn open(place: impl Into<Place>, crash: Option<CrashPoint>) -> Result<Self> {
        let place = place.into();
        let database = Database::open(&place, Purpose::Work).await?;
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('installation', $1), ('seal_key', $2), ('revision', '0'), \
             ('generation', '1') ON CONFLICT (key) DO NOTHING",
        )
        .bind(Uuid::new_v4().to_string())
        .bind(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
        .execute(&database.writer)
        .await?;
        if database.kind == Kind::Sqlite {
            // Whoever held a lease is gone: the file has one process.
            sqlx::query("UPDATE operations SET owner = NULL, lease_until = 0 WHERE owner IS NOT NULL")
                .execute(&database.writer)
                .await?;
        }
        Self::around(place, database, crash).await
    }

    /// Opens a store for reading beside those who work with it; one that is not there, or whose schema is of an earlier
    /// release, is refused and left as it is.
    pub async fn look(place: impl Into<Place>) -> Result<Self> {
        let place = place.into();
        let database = Database::open(&place, Purpose::Look).await?;
        Self::around(place, database, None).await
    }

    async fn around(place: Place, database: Database, crash: Option<CrashPoint>) -> Result<Self> {
        let meta = async |key: &str| -> Result<String> {
            let row =
                sqlx::query("SELECT value FROM meta WHERE key = $1").bind(key).fetch_one(&database.readers).await?;
            Ok(row.try_get(0)?)
        };
        let installation = Uuid::parse_str(&meta("installation").await?).unwrap_or(Uuid::nil());
        let seal_key = seal_key(&meta("seal_key").await?);
        let revision = watch::Sender::new(meta("revision").await?.parse().unwrap_or(0));
        let following = match place {
            Place::File(_) => None,
            Place::Postgres(url) => Some(followers::follow(url, database.readers.clone(), revision.clone())),
        };
        Ok(Self(Arc::new(Inner {
            database,
            revision,
            installation,
            seal_key,
            commits: AtomicU64::new(0),
            crash,
            crashed: AtomicBool::new(false),
            following,
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
        sqlx::query("SELECT 1").execute(&self.0.database.writer).await?;
        Ok(())
    }

    /// Ends all work on the store; a file is free for another process then.
    pub async fn close(&self) {
        if let Some(following) = &self.0.following {
            following.abort();
        }
        self.0.database.close().await;
    }

    /// Begins a write. Others wait until it ends.
    pub async fn begin(&self) -> Result<Tx> {
        self.begin_with(true).await
    }

    /// The first statement keeps all other writers waiting until this one ends: revisions grow in the order of the
    /// commits, and what a write reads stays true until it ends.
    async fn begin_with(&self, shown: bool) -> Result<Tx> {
        self.alive()?;
        let begun = Instant::now();
        let Database { kind, writer, .. } = &self.0.database;
        let begin = async {
            let mut tx = writer.begin_with(kind.begin_write()).await?;
            let row = sqlx::query(kind.raise_revision()).bind(i64::from(shown)).fetch_one(&mut *tx).await?;
            Ok((tx, row.try_get::<i64, _>(0)?, row.try_get(1)?))
        };
        let (tx, revision, now) = begin.await.inspect_err(|_: &sqlx::Error| told("write", "error", begun))?;
        Ok(Tx { store: self.clone(), tx, revision: revision.unsigned_abs(), now, events: 0, shown, begun })
    }

    fn readers(&self) -> Result<&AnyPool> {
        self.alive()?;
        Ok(&self.0.database.readers)
    }

    /// Begins a read of several statements that all see the same.
    async fn snapshot(&self) -> Result<Read> {
        let begun = Instant::now();
        let begin = self.readers()?.begin_with(self.0.database.kind.begin_read());
        Ok(Read { tx: begin.await.inspect_err(|_| told("read", "error", begun))?, begun })
    }

    fn alive(&self) -> Result<()> {
        if self.0.crashed.load(Ordering::SeqCst) { Err(Error::Crashed) } else { Ok(()) }
    }
}

// === impl Tx ===

impl Tx {
    /// Makes it last. An error leaves open whether it does: read before acting again.
    pub async fn commit(self) -> Result<()> {
        let begun = self.begun;
        let committed = self.commit_it().await;
        told("write", if committed.is_ok() { "ok" } else { "error" }, begun);
        committed
    }

    async fn commit_it(self) -> Result<()> {
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
        followers::announce(&store.0.revision, revision);
        Ok(())
    }
}

// === impl Read ===

impl Deref for Read {
    type Target = Transaction<'static, Any>;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

impl DerefMut for Read {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.tx
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        told("read", "ok", self.begun);
    }
}

fn told(access: &'static str, outcome: &'static str, begun: Instant) {
    metrics::store(access, outcome, begun.elapsed());
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
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
fn body<T: DeserializeOwned>(row: &AnyRow) -> Result<T> {
    let text: &str = row.try_get(0)?;
    Ok(serde_json::from_str(text)?)
}

fn bodies<T: DeserializeOwned>(rows: Vec<AnyRow>) -> Result<Vec<T>> {
    rows.iter().map(body).collect()
}

/// A value whose JSON is a text, such as an id or a state.
fn word<T: DeserializeOwned>(row: &AnyRow, column: usize) -> Result<T> {
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
