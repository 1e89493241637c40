//! Which mutations were asked for under which request id, so that a repetition finds the first.

use super::{Result, Store, Tx, stamp};
use crate::domain::request::{Fingerprint, RequestId};
use jiff::{SignedDuration, Timestamp};
use sqlx::Row as _;

/// How long a request id is remembered.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Request ids are unique within one principal and one method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    pub principal: String,
    pub method: &'static str,
    pub id: RequestId,
}

/// What is known of a request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    pub fingerprint: Fingerprint,
    /// The resource it made or changed; `None` while under way, or after a crash in its midst.
    pub resource: Option<String>,
    /// What it means to do, where more is needed than the request to go on after a crash.
    pub intent: Option<String>,
}

impl Store {
    pub async fn request(&self, key: &RequestKey) -> Result<Option<RequestRecord>> {
        let row = sqlx::query(
            "SELECT fingerprint, resource, intent FROM requests WHERE principal = $1 AND method = $2 AND request_id = $3",
        )
        .bind(&key.principal)
        .bind(key.method)
        .bind(key.id.to_string())
        .fetch_optional(self.readers()?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(RequestRecord {
            fingerprint: Fingerprint(row.try_get(0)?),
            resource: row.try_get(1)?,
            intent: row.try_get(2)?,
        }))
    }

    /// The requests of a method that were cut short, with what they mean to do.
    pub async fn open_intents(&self, method: &'static str) -> Result<Vec<(RequestKey, String)>> {
        let rows = sqlx::query(
            "SELECT principal, request_id, intent FROM requests \
             WHERE method = $1 AND resource IS NULL AND intent IS NOT NULL ORDER BY create_time",
        )
        .bind(method)
        .fetch_all(self.readers()?)
        .await?;
        let mut open = Vec::new();
        for row in rows {
            let id: String = row.try_get(1)?;
            // Only what parses is ever written.
            if let Ok(id) = RequestId::parse(&id) {
                open.push((RequestKey { principal: row.try_get(0)?, method, id }, row.try_get(2)?));
            }
        }
        Ok(open)
    }
}

impl Tx {
    /// Records a request; `resource` is its outcome, `None` if that comes later. Answers `false`, writing nothing, when
    /// the id is already recorded. Forgets those that are older than a week.
    pub async fn put_request(
        &mut self,
        key: &RequestKey,
        fingerprint: &Fingerprint,
        resource: Option<&str>,
        now: Timestamp,
    ) -> Result<bool> {
        let oldest = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
        sqlx::query("DELETE FROM requests WHERE create_time < $1").bind(stamp(oldest)).execute(&mut *self.tx).await?;
        let done = sqlx::query(
            "INSERT INTO requests (principal, method, request_id, fingerprint, resource, create_time) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(&key.principal)
        .bind(key.method)
        .bind(key.id.to_string())
        .bind(&fingerprint.0)
        .bind(resource)
        .bind(stamp(now))
        .execute(&mut *self.tx)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds what a request means to do, in the transaction that puts it.
    pub async fn put_intent(&mut self, key: &RequestKey, intent: &str) -> Result<()> {
        sqlx::query("UPDATE requests SET intent = $1 WHERE principal = $2 AND method = $3 AND request_id = $4")
            .bind(intent)
            .bind(&key.principal)
            .bind(key.method)
            .bind(key.id.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Records the outcome of a request that was put without one.
    pub async fn close_request(&mut self, key: &RequestKey, resource: &str) -> Result<()> {
        sqlx::query("UPDATE requests SET resource = $1 WHERE principal = $2 AND method = $3 AND request_id = $4")
            .bind(resource)
            .bind(&key.principal)
            .bind(key.method)
            .bind(key.id.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Forgets a request that was refused and changed nothing.
    pub async fn forget_request(&mut self, key: &RequestKey) -> Result<()> {
        sqlx::query("DELETE FROM requests WHERE principal = $1 AND method = $2 AND request_id = $3")
            .bind(&key.principal)
            .bind(key.method)
            .bind(key.id.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
