//! Who works on an operation: one at a time, for as long as its lease lasts by the database's time.
//!
//! Each taking raises the operation's fence. Whoever writes under an older one is refused, however late its write comes. A
//! fence is the time of the taking, or one more than the last: not even a store that was brought back from an earlier time
//! gives the same one twice.

use super::{Error, Result, Store, Tx, WRITTEN_BY, count, millis, word};
use crate::domain::{
    control::Control,
    operation::{Operation, OperationId},
};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};
use std::time::Duration;
use uuid::Uuid;

/// The right to work on an operation, until somebody else takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: OperationId,
    pub fence: u64,
    /// The store was brought back from an earlier time since the operation was last worked on: AWS may know of sends that
    /// the record does not. So it stays until [`Tx::reconciled`].
    pub restored: bool,
}

impl Store {
    /// Takes unfinished operations of ours whose lease is free or has expired, oldest first, at most `limit`. Those that
    /// another release wrote are left to it.
    pub async fn claim(&self, owner: Uuid, lease: Duration, limit: usize) -> Result<Vec<Claim>> {
        let mut tx = self.begin_with(false).await?;
        let rows = sqlx::query(
            "UPDATE operations SET owner = $1, lease_until = $2, fence = CASE WHEN fence < $3 THEN $3 ELSE fence + 1 END \
             WHERE id IN (SELECT id FROM operations WHERE terminal = 0 AND written_by = $4 AND origin = 'PATCHPLANE' \
             AND lease_until <= $3 ORDER BY id LIMIT $5) RETURNING id, fence, generation",
        )
        .bind(owner.to_string())
        .bind(tx.now.saturating_add(millis(lease)))
        .bind(tx.now)
        .bind(WRITTEN_BY)
        .bind(count(limit))
        .fetch_all(&mut *tx.tx)
        .await?;
        let generation = tx.generation().await?;
        let mut claims = rows.iter().map(|row| claim(row, generation)).collect::<Result<Vec<_>>>()?;
        claims.sort_by_key(|claim| claim.id);
        tx.commit().await?;
        Ok(claims)
    }

    /// Takes this operation, if it is unfinished, of ours, and its lease free, expired or this owner's.
    pub async fn claim_one(&self, id: OperationId, owner: Uuid, lease: Duration) -> Result<Option<Claim>> {
        let mut tx = self.begin_with(false).await?;
        let claim = tx.claim(id, owner, lease).await?;
        tx.commit().await?;
        Ok(claim)
    }

    /// Prolongs all leases of this owner, and says what it still has.
    pub async fn renew(&self, owner: Uuid, lease: Duration) -> Result<Vec<Claim>> {
        let mut tx = self.begin_with(false).await?;
        let rows = sqlx::query(
            "UPDATE operations SET lease_until = $1 WHERE owner = $2 AND terminal = 0 RETURNING id, fence, generation",
        )
        .bind(tx.now.saturating_add(millis(lease)))
        .bind(owner.to_string())
        .fetch_all(&mut *tx.tx)
        .await?;
        let generation = tx.generation().await?;
        tx.commit().await?;
        rows.iter().map(|row| claim(row, generation)).collect()
    }

    /// The operations of ours that have not ended, each with how long nobody has had it by the database's time.
    pub async fn under_way(&self) -> Result<Vec<(Operation, Duration)>> {
        let query = format!(
            "SELECT body, {} - lease_until FROM operations WHERE terminal = 0 AND origin = 'PATCHPLANE'",
            self.0.database.kind.now()
        );
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(self.readers()?).await?;
        let free = |row: &AnyRow| -> Result<Duration> {
            Ok(Duration::from_millis(row.try_get::<i64, _>(1)?.max(0).unsigned_abs()))
        };
        rows.iter().map(|row| Ok((super::body(row)?, free(row)?))).collect()
    }

    /// Gives back all leases of this owner: others need not wait for their end.
    pub async fn release(&self, owner: Uuid) -> Result<()> {
        let mut tx = self.begin_with(false).await?;
        sqlx::query("UPDATE operations SET owner = NULL, lease_until = 0 WHERE owner = $1")
            .bind(owner.to_string())
            .execute(&mut *tx.tx)
            .await?;
        tx.commit().await
    }
}

impl Tx {
    /// As [`Store::claim_one`], within this write: whoever creates an operation has it from the first.
    pub async fn claim(&mut self, id: OperationId, owner: Uuid, lease: Duration) -> Result<Option<Claim>> {
        let row = sqlx::query(
            "UPDATE operations SET owner = $1, lease_until = $2, fence = CASE WHEN fence < $3 THEN $3 ELSE fence + 1 END \
             WHERE id = $5 AND terminal = 0 AND written_by = $4 AND origin = 'PATCHPLANE' \
             AND (lease_until <= $3 OR owner = $1) RETURNING id, fence, generation",
        )
        .bind(owner.to_string())
        .bind(self.now.saturating_add(millis(lease)))
        .bind(self.now)
        .bind(WRITTEN_BY)
        .bind(id.to_string())
        .fetch_optional(&mut *self.tx)
        .await?;
        let generation = self.generation().await?;
        row.map(|row| claim(&row, generation)).transpose()
    }

    /// Goes on only if this fence is the operation's newest and its lease has at least so long to go: then what this
    /// write brings cannot meet another worker's. Answers what is asked of the operation at this moment; that stays true
    /// until this write ends.
    pub async fn fenced(&mut self, id: OperationId, fence: u64, at_least: Duration) -> Result<Control> {
        let row = sqlx::query("SELECT control FROM operations WHERE id = $1 AND fence = $2 AND lease_until > $3")
            .bind(id.to_string())
            .bind(fence.cast_signed())
            .bind(self.now.saturating_add(millis(at_least)))
            .fetch_optional(&mut *self.tx)
            .await?;
        super::body(&row.ok_or_else(|| {
            super::told("write", "fenced", self.begun);
            Error::Fenced
        })?)
    }

    /// What AWS knows of an operation stands in its record again, after the store was brought back.
    pub async fn reconciled(&mut self, id: OperationId) -> Result<()> {
        let generation = self.generation().await?;
        sqlx::query("UPDATE operations SET generation = $1 WHERE id = $2")
            .bind(generation)
            .bind(id.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    async fn generation(&mut self) -> Result<i64> {
        let row = sqlx::query("SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'generation'")
            .fetch_one(&mut *self.tx)
            .await?;
        Ok(row.try_get(0)?)
    }
}

fn claim(row: &AnyRow, generation: i64) -> Result<Claim> {
    let (fence, claimed): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    Ok(Claim { id: word(row, 0)?, fence: fence.unsigned_abs(), restored: claimed < generation })
}
