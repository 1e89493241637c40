//! Single flight: which operation has an instance to itself.

use super::{Result, Store, Tx, column, stamp, word};
use crate::domain::operation::OperationId;
use jiff::Timestamp;
use patchplane_rules::{InstanceId, Location};

impl Store {
    /// Which of these instances another operation has at this time, and which one: what a write would find, without one.
    pub async fn lock_holders(
        &self,
        location: &Location,
        ids: &[InstanceId],
        operation: OperationId,
        now: Timestamp,
    ) -> Result<Vec<(InstanceId, OperationId)>> {
        let rows = sqlx::query(
            "SELECT instance, operation FROM locks WHERE account = $1 AND region = $2 \
             AND instance IN (SELECT value ->> 0 FROM json_each($3)) AND operation <> $4 \
             AND coalesce(until, '~') > $5 ORDER BY instance",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .bind(column(ids)?)
        .bind(operation.to_string())
        .bind(stamp(now))
        .fetch_all(self.readers()?)
        .await?;
        rows.iter().map(|row| Ok((word(row, 0)?, word(row, 1)?))).collect()
    }
}

impl Tx {
    /// Takes these instances for an operation, those that are free, its own, or held until a time that is past; answers
    /// who has the others. They stay taken until unlocked, or until `until`.
    pub async fn lock_instances(
        &mut self,
        location: &Location,
        ids: &[InstanceId],
        operation: OperationId,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<(InstanceId, OperationId)>> {
        let ids = column(ids)?;
        sqlx::query(
            "INSERT INTO locks (account, region, instance, operation, until) \
             SELECT $1, $2, value ->> 0, $4, $5 FROM json_each($3) WHERE true \
             ON CONFLICT (account, region, instance) DO UPDATE SET operation = excluded.operation, \
             until = excluded.until WHERE locks.operation = excluded.operation OR locks.until <= $6",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .bind(&ids)
        .bind(operation.to_string())
        .bind(until.map(stamp))
        .bind(stamp(now))
        .execute(&mut *self.tx)
        .await?;
        let rows = sqlx::query(
            "SELECT instance, operation FROM locks WHERE account = $1 AND region = $2 \
             AND instance IN (SELECT value ->> 0 FROM json_each($3)) AND operation <> $4 ORDER BY instance",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .bind(&ids)
        .bind(operation.to_string())
        .fetch_all(&mut *self.tx)
        .await?;
        rows.iter().map(|row| Ok((word(row, 0)?, word(row, 1)?))).collect()
    }

    /// Gives back those of these instances that the operation has.
    pub async fn unlock_instances(
        &mut self,
        location: &Location,
        ids: &[InstanceId],
        operation: OperationId,
    ) -> Result<()> {
        sqlx::query(
            "DELETE FROM locks WHERE account = $1 AND region = $2 AND operation = $4 \
             AND instance IN (SELECT value ->> 0 FROM json_each($3))",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .bind(column(ids)?)
        .bind(operation.to_string())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
