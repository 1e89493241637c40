//! How a replica hears of the commits of the others: PostgreSQL announces each; and should an announcement be lost, a look
//! every two seconds finds it.

use sqlx::{AnyPool, Row as _, postgres::PgListener};
use std::time::Duration;
use tokio::{sync::watch, task::AbortHandle};

/// The channel that a trigger of the schema announces on; each message is a revision.
const CHANNEL: &str = "patchplane";
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Follows the others' commits until aborted.
pub(super) fn follow(url: String, readers: AnyPool, revision: watch::Sender<u64>) -> AbortHandle {
    tokio::spawn(async move {
        tokio::join!(listen(&url, &revision), look(&readers, &revision));
    })
    .abort_handle()
}

/// Tells watchers of a revision, unless they know a newer one.
pub(super) fn announce(revision: &watch::Sender<u64>, newest: u64) {
    revision.send_if_modified(|known| {
        let newer = newest > *known;
        *known = newest.max(*known);
        newer
    });
}

async fn listen(url: &str, revision: &watch::Sender<u64>) {
    loop {
        if let Err(error) = hear(url, revision).await {
            tracing::warn!(%error, "others' commits are not announced at the moment, and looked for instead");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn hear(url: &str, revision: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // It connects again by itself; what was announced meanwhile is found by looking.
        if let Ok(newest) = listener.recv().await?.payload().parse() {
            announce(revision, newest);
        }
    }
}

async fn look(readers: &AnyPool, revision: &watch::Sender<u64>) {
    let query = "SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'revision'";
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // An outage is told by whoever needs an answer.
        if let Ok(row) = sqlx::query(query).fetch_one(readers).await
            && let Ok(newest) = row.try_get::<i64, _>(0)
        {
            announce(revision, newest.unsigned_abs());
        }
    }
}
