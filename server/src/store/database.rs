//! What differs between the databases: everything else is one text of SQL for both.

use super::{Error, Place, Result, Schema};
use sqlx::{
    AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Row as _,
    any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers},
    migrate::Migrator,
};
use std::{
    fs::{File, TryLockError},
    path::Path,
    str::FromStr as _,
    time::Duration,
};

/// The oldest PostgreSQL that is taken, as its `server_version_num`.
const OLDEST_POSTGRES: i64 = 140_000;

/// How far revisions leap when a store is brought back from an earlier time: what was given out since is not given again.
const LEAP: i64 = 1_000_000_000;

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) kind: Kind,
    /// One connection: writes wait for each other in any case.
    pub(super) writer: AnyPool,
    pub(super) readers: AnyPool,
    /// Held for as long as the file is open: a second process refuses to start.
    lock: Option<File>,
}

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    /// To read, beside those who work.
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

// === impl Kind ===

impl Kind {
    /// How a write begins.
    pub(super) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            // Each statement sees all that was committed before it: so those that follow the first, which waits for the
            // writes before, see those writes.
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// How a read of several statements begins, which all see the same.
    pub(super) fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// The database's time in milliseconds.
    pub(super) fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000 AS BIGINT)",
            Self::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// The first statement of a write: raises the revision by `$1`, and gives it and the database's time in milliseconds.
    /// It keeps all other writes waiting until this one ends.
    pub(super) fn raise_revision(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) WHERE key = 'revision' \
                 RETURNING CAST(value AS BIGINT), CAST(unixepoch('subsec') * 1000 AS BIGINT)"
            }
            Self::Postgres => {
                "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) WHERE key = 'revision' \
                 RETURNING CAST(value AS BIGINT), CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
            }
        }
    }

    /// The schema, as steps; those of a newer release that came before are left alone.
    fn migrations(self) -> Migrator {
        let mut migrator = match self {
            Self::Sqlite => sqlx::migrate!("src/store/migrations/sqlite"),
            Self::Postgres => sqlx::migrate!("src/store/migrations/postgres"),
        };
        migrator.set_ignore_missing(true);
        migrator
    }

    /// Refuses a schema that lacks steps of this release.
    async fn check_schema(self, connection: &mut AnyConnection) -> Result<()> {
        let applied = sqlx::query("SELECT version FROM _sqlx_migrations").fetch_all(connection).await;
        let applied = applied.map_err(|_| Error::Unfit("there is no store yet".into()))?;
        let applied: Vec<i64> = applied.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
        if self.migrations().iter().all(|step| applied.contains(&step.version)) {
            return Ok(());
        }
        Err(Error::Unfit("its schema is of an earlier release: `patchplane store migrate` brings it up to date".into()))
    }

    /// What each connection is told first.
    fn settings(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
            }
            // A process that is stopped in the midst of a write, or cut off, must not keep the others waiting for ever.
            Self::Postgres => {
                "SET idle_in_transaction_session_timeout = '15s'; SET statement_timeout = '60s'; SET lock_timeout = '30s'"
            }
        }
    }
}

/// How the schema of what is there stands to this release.
pub(super) async fn schema(place: &Place) -> Result<Schema> {
    install_default_drivers();
    let (kind, url) = match place {
        Place::File(path) => (Kind::Sqlite, sqlite_url(path, "rw")?),
        Place::Postgres(url) => (Kind::Postgres, url.clone()),
    };
    let mut connection = AnyConnectOptions::from_str(&url)?.connect().await?;
    let is_there = match kind {
        Kind::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
        Kind::Postgres => "SELECT count(to_regclass('_sqlx_migrations'))",
    };
    if sqlx::query(is_there).fetch_one(&mut connection).await?.try_get::<i64, _>(0)? == 0 {
        return Ok(Schema::Missing);
    }
    let applied = sqlx::query("SELECT version FROM _sqlx_migrations").fetch_all(&mut connection).await?;
    let applied: Vec<i64> = applied.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
    connection.close().await?;
    let steps: Vec<i64> = kind.migrations().iter().map(|step| step.version).collect();
    let lacking = steps.iter().filter(|step| !applied.contains(step)).count();
    let newest = steps.iter().max().copied().unwrap_or(0);
    let later = applied.iter().filter(|step| **step > newest).count();
    Ok(match (lacking, later) {
        (0, 0) => Schema::Current,
        (0, later) => Schema::Ahead(later),
        (lacking, _) => Schema::Behind(lacking),
    })
}

// === impl Database ===

impl Database {
    /// Connects; to work, also makes what is missing and brings the schema up to date.
    pub(super) async fn open(place: &Place, purpose: Purpose) -> Result<Self> {
        install_default_drivers();
        let (kind, url, lock) = match place {
            Place::File(path) if purpose == Purpose::Work => {
                (Kind::Sqlite, sqlite_url(path, "rwc")?, Some(lock(path)?))
            }
            Place::File(path) => (Kind::Sqlite, sqlite_url(path, "rw")?, None),
            Place::Postgres(url) => (Kind::Postgres, url.clone(), None),
        };
        let options = AnyConnectOptions::from_str(&url)?;
        let mut first = options.connect().await?;
        if kind == Kind::Postgres {
            check_postgres(&mut first).await?;
        }
        match purpose {
            // PostgreSQL: under an advisory lock, so that replicas that start together take turns.
            Purpose::Work => kind.migrations().run(&mut first).await?,
            Purpose::Look => kind.check_schema(&mut first).await?,
        }
        first.close().await?;

        let pool = |most, timeout, writes: bool| {
            AnyPoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(timeout)).after_connect(
                move |connection, _| {
                    Box::pin(async move {
                        sqlx::raw_sql(kind.settings()).execute(&mut *connection).await?;
                        if writes && kind == Kind::Postgres && purpose == Purpose::Work {
                            notice_restoration(connection).await?;
                        }
                        Ok(())
                    })
                },
            )
        };
        let writer = pool(1, 30, true).connect_with(options.clone()).await?;
        let readers = pool(if kind == Kind::Sqlite { 4 } else { 8 }, 10, false).connect_with(options).await?;
        Ok(Self { kind, writer, readers, lock })
    }

    /// Ends all work and lets another process have the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        if let Some(Err(error)) = self.lock.as_ref().map(File::unlock) {
            tracing::warn!(%error, "the store's lock file stays locked");
        }
    }
}

/// The store was brought back from an earlier time: AWS may know of sends that the records do not. Whoever works on an
/// operation must take it anew, and is told.
pub(super) async fn raise_generation(connection: &mut AnyConnection) -> std::result::Result<(), sqlx::Error> {
    let raise = "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) WHERE key = $2";
    sqlx::query(raise).bind(LEAP).bind("revision").execute(&mut *connection).await?;
    sqlx::query(raise).bind(1_i64).bind("generation").execute(&mut *connection).await?;
    sqlx::query("UPDATE operations SET owner = NULL, lease_until = 0, fence = fence + 1 WHERE terminal = 0")
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Raises the generation when another server answers than before, or the same after it went back to an earlier state or
/// was promoted: it may lack what was committed. Every connection that writes begins with it, so that no write meets a
/// server that nobody has looked at.
async fn notice_restoration(connection: &mut AnyConnection) -> std::result::Result<(), sqlx::Error> {
    let identity =
        "SELECT system_identifier || ' ' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()";
    let identity: String = match sqlx::query(identity).fetch_one(&mut *connection).await {
        Ok(row) => row.try_get(0)?,
        Err(sqlx::Error::Database(error)) => {
            tracing::debug!(%error, "this PostgreSQL does not tell its timeline; `patchplane store restored` must");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut tx = connection.begin_with(Kind::Postgres.begin_write()).await?;
    sqlx::query(Kind::Postgres.raise_revision()).bind(0_i64).execute(&mut *tx).await?;
    let known = sqlx::query("SELECT value FROM meta WHERE key = 'database'").fetch_optional(&mut *tx).await?;
    let known: Option<String> = known.map(|row| row.try_get(0)).transpose()?;
    if known.as_ref() == Some(&identity) {
        return tx.rollback().await;
    }
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ('database', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(&identity)
    .execute(&mut *tx)
    .await?;
    if let Some(known) = known {
        tracing::warn!(
            known,
            identity,
            "another PostgreSQL than before, or restored, or promoted: operations are reconciled"
        );
        raise_generation(&mut tx).await?;
    }
    tx.commit().await
}

/// Refuses a PostgreSQL that is too old, or answers commits before they are on disk.
async fn check_postgres(connection: &mut AnyConnection) -> Result<()> {
    let setting = "SELECT current_setting('server_version_num'), current_setting('synchronous_commit'), \
                   current_setting('fsync')";
    let row = sqlx::query(setting).fetch_one(connection).await?;
    let (version, synchronous, fsync): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if version.parse::<i64>().is_ok_and(|version| version < OLDEST_POSTGRES) {
        return Err(Error::Unfit(format!("PostgreSQL 14 is the oldest that is taken, and this is {version}")));
    }
    if synchronous == "off" {
        return Err(Error::Unfit("synchronous_commit is off: a crash could lose what was promised; set it on".into()));
    }
    if fsync == "off" {
        tracing::warn!("PostgreSQL runs with fsync off: a crash of its machine loses data");
    }
    Ok(())
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

/// Every odd character encoded, so that none is taken for a part of the URL.
fn sqlite_url(path: &Path, mode: &str) -> Result<String> {
    let text = path.to_str().ok_or_else(|| Error::Unfit("the path of the store's file is not UTF-8".into()))?;
    let path = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    Ok(format!("sqlite:{path}?mode={mode}"))
}
