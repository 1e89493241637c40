//! Operations, their targets and their sends, as rows.

use super::{Result, Store, Tx, WRITTEN_BY};
use crate::domain::operation::{Dispatch, Operation, OperationId, OriginKind, Target, TargetCounts, TargetState};
use patchplane_rules::{InstanceId, Location};
use sqlx::{Row as _, Sqlite, Transaction, sqlite::SqliteRow};
use std::collections::HashMap;
use ulid::Ulid;

/// All of one operation, at one revision.
#[derive(Clone, Debug)]
pub struct Saved {
    pub operation: Operation,
    /// By instance id.
    pub targets: Vec<Target>,
    /// By batch.
    pub dispatches: Vec<Dispatch>,
    pub revision: u64,
}

/// An operation as lists show it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub operation: Operation,
    pub counts: TargetCounts,
    pub command_ids: Vec<String>,
}

/// What changed of an operation after a revision.
#[derive(Clone, Debug)]
pub struct Changes {
    pub listed: Listed,
    /// The changed targets, by instance id.
    pub targets: Vec<Target>,
    /// Whether anything changed at all.
    pub any: bool,
    /// The revision of this answer.
    pub revision: u64,
}

impl Store {
    /// Reads all of an operation.
    pub async fn operation(&self, id: OperationId) -> Result<Option<Saved>> {
        let mut tx = self.readers()?.begin().await?;
        let Some((operation, _)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        let targets = bodies(
            sqlx::query("SELECT body FROM targets WHERE operation = ? ORDER BY instance")
                .bind(id.to_string())
                .fetch_all(&mut *tx)
                .await?,
        )?;
        let dispatches = bodies(
            sqlx::query("SELECT body FROM dispatches WHERE operation = ? ORDER BY batch")
                .bind(id.to_string())
                .fetch_all(&mut *tx)
                .await?,
        )?;
        let revision = read_revision(&mut tx).await?;
        Ok(Some(Saved { operation, targets, dispatches, revision }))
    }

    /// Reads an operation without its targets.
    pub async fn listed(&self, id: OperationId) -> Result<Option<Listed>> {
        let mut tx = self.readers()?.begin().await?;
        let Some((operation, _)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        Ok(list(&mut tx, vec![operation]).await?.pop())
    }

    /// The newest operations of a location whose place is before `before`, at most `limit`.
    pub async fn operations_before(
        &self,
        location: &Location,
        origin: Option<OriginKind>,
        before: Option<Ulid>,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let mut tx = self.readers()?.begin().await?;
        let rows = sqlx::query(
            "SELECT body FROM operations WHERE account = ? AND region = ? AND place < ? \
             AND origin = coalesce(?, origin) ORDER BY place DESC LIMIT ?",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .bind(before.map_or_else(|| "~".to_owned(), |place| place.to_string()))
        .bind(origin.map(OriginKind::as_str))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        list(&mut tx, bodies(rows)?).await
    }

    /// What others started in a location and what had not ended when it was last seen.
    pub async fn followed(&self, location: &Location) -> Result<Vec<Operation>> {
        let rows = sqlx::query(
            "SELECT body FROM operations WHERE account = ? AND region = ? AND terminal = 0 AND origin <> 'PATCHPLANE'",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .fetch_all(self.readers()?)
        .await?;
        bodies(rows)
    }

    /// The operations that these commands belong to, and whether they have ended, as far as the store knows them.
    pub async fn owners(&self, command_ids: &[&str]) -> Result<HashMap<String, (OperationId, bool)>> {
        let rows = sqlx::query(
            "SELECT operation, command_id, terminal FROM dispatches JOIN operations ON id = operation \
             WHERE command_id IN (SELECT value FROM json_each(?))",
        )
        .bind(serde_json::to_string(command_ids)?)
        .fetch_all(self.readers()?)
        .await?;
        rows.iter()
            .map(|row| -> Result<_> {
                let id = serde_json::from_value(serde_json::Value::String(row.try_get(0)?))?;
                Ok((row.try_get(1)?, (id, row.try_get(2)?)))
            })
            .collect()
    }

    /// Every operation of ours that has not ended, oldest first; those written by a newer release are left to it.
    pub async fn unfinished(&self) -> Result<Vec<OperationId>> {
        let rows = sqlx::query(
            "SELECT body FROM operations WHERE terminal = 0 AND written_by = ? AND origin = 'PATCHPLANE' ORDER BY id",
        )
        .bind(WRITTEN_BY)
        .fetch_all(self.readers()?)
        .await?;
        let operations: Vec<Operation> = bodies(rows)?;
        Ok(operations.into_iter().map(|operation| operation.id).collect())
    }

    /// The targets that follow `after` in order of instance id, at most `limit`.
    pub async fn targets_after(
        &self,
        id: OperationId,
        after: Option<&InstanceId>,
        limit: usize,
    ) -> Result<Vec<Target>> {
        let rows =
            sqlx::query("SELECT body FROM targets WHERE operation = ? AND instance > ? ORDER BY instance LIMIT ?")
                .bind(id.to_string())
                .bind(after.map_or("", InstanceId::as_str))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(self.readers()?)
                .await?;
        bodies(rows)
    }

    pub async fn target(&self, id: OperationId, instance: &InstanceId) -> Result<Option<Target>> {
        let rows = sqlx::query("SELECT body FROM targets WHERE operation = ? AND instance = ?")
            .bind(id.to_string())
            .bind(instance.as_str())
            .fetch_all(self.readers()?)
            .await?;
        Ok(bodies(rows)?.pop())
    }

    /// What changed of an operation since a revision.
    pub async fn changes(&self, id: OperationId, since: u64) -> Result<Option<Changes>> {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let mut tx = self.readers()?.begin().await?;
        let Some((operation, written)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        let rows = sqlx::query("SELECT body FROM targets WHERE operation = ? AND revision > ? ORDER BY instance")
            .bind(id.to_string())
            .bind(since)
            .fetch_all(&mut *tx)
            .await?;
        let targets: Vec<Target> = bodies(rows)?;
        let any = written > since || !targets.is_empty();
        let revision = read_revision(&mut tx).await?;
        let listed = list(&mut tx, vec![operation]).await?.pop();
        Ok(listed.map(|listed| Changes { listed, targets, any, revision }))
    }
}

impl Tx {
    /// Writes an operation. After a crash it is there with everything else of this transaction, or not at all.
    pub async fn put_operation(&mut self, operation: &Operation) -> Result<()> {
        sqlx::query(
            "INSERT INTO operations (id, account, region, place, origin, terminal, revision, written_by, body) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET terminal = excluded.terminal, \
             revision = excluded.revision, written_by = excluded.written_by, body = excluded.body",
        )
        .bind(operation.id.to_string())
        .bind(operation.location.account.as_str())
        .bind(operation.location.region.as_str())
        .bind(operation.place().to_string())
        .bind(operation.origin.kind().as_str())
        .bind(operation.state.is_terminal())
        .bind(self.revision.cast_signed())
        .bind(WRITTEN_BY)
        .bind(serde_json::to_string(operation)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    pub async fn put_targets(&mut self, id: OperationId, targets: &[Target]) -> Result<()> {
        // One statement, whatever the number of targets.
        let rows: Vec<(&str, TargetState, &Target)> =
            targets.iter().map(|target| (target.instance_id.as_str(), target.state, target)).collect();
        sqlx::query(
            "INSERT INTO targets (operation, instance, state, revision, body) \
             SELECT ?, value ->> 0, value ->> 1, ?, value -> 2 FROM json_each(?) WHERE true \
             ON CONFLICT (operation, instance) DO UPDATE SET state = excluded.state, \
             revision = excluded.revision, body = excluded.body",
        )
        .bind(id.to_string())
        .bind(self.revision.cast_signed())
        .bind(serde_json::to_string(&rows)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    pub async fn put_dispatch(&mut self, id: OperationId, dispatch: &Dispatch) -> Result<()> {
        let command_id = match &dispatch.outcome {
            crate::domain::operation::DispatchOutcome::Sent { command_id, .. } => Some(command_id.as_str()),
            _ => None,
        };
        sqlx::query(
            "INSERT INTO dispatches (operation, batch, command_id, body) VALUES (?, ?, ?, ?) \
             ON CONFLICT (operation, batch) DO UPDATE SET command_id = excluded.command_id, body = excluded.body",
        )
        .bind(id.to_string())
        .bind(dispatch.batch)
        .bind(command_id)
        .bind(serde_json::to_string(dispatch)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

async fn read_operation(tx: &mut Transaction<'_, Sqlite>, id: OperationId) -> Result<Option<(Operation, i64)>> {
    let row = sqlx::query("SELECT body, revision FROM operations WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some((body(&row)?, row.try_get(1)?)))
}

async fn read_revision(tx: &mut Transaction<'_, Sqlite>) -> Result<u64> {
    let row =
        sqlx::query("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'revision'").fetch_one(&mut **tx).await?;
    let revision: i64 = row.try_get(0)?;
    Ok(revision.unsigned_abs())
}

async fn list(tx: &mut Transaction<'_, Sqlite>, operations: Vec<Operation>) -> Result<Vec<Listed>> {
    let ids: Vec<String> = operations.iter().map(|operation| operation.id.to_string()).collect();
    let ids = serde_json::to_string(&ids)?;
    let mut counts: HashMap<String, TargetCounts> = HashMap::new();
    let rows = sqlx::query(
        "SELECT operation, state, count(*) FROM targets \
         WHERE operation IN (SELECT value FROM json_each(?)) GROUP BY operation, state",
    )
    .bind(&ids)
    .fetch_all(&mut **tx)
    .await?;
    for row in rows {
        let state: TargetState = serde_json::from_value(serde_json::Value::String(row.try_get(1)?))?;
        let count: i64 = row.try_get(2)?;
        *counts.entry(row.try_get(0)?).or_default().slot(state) = usize::try_from(count).unwrap_or(0);
    }
    let mut commands: HashMap<String, Vec<String>> = HashMap::new();
    let rows = sqlx::query(
        "SELECT operation, command_id FROM dispatches WHERE command_id IS NOT NULL \
         AND operation IN (SELECT value FROM json_each(?)) ORDER BY operation, batch",
    )
    .bind(&ids)
    .fetch_all(&mut **tx)
    .await?;
    for row in rows {
        commands.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    Ok(operations
        .into_iter()
        .map(|operation| {
            let id = operation.id.to_string();
            Listed {
                operation,
                counts: counts.remove(&id).unwrap_or_default(),
                command_ids: commands.remove(&id).unwrap_or_default(),
            }
        })
        .collect())
}

fn body<T: serde::de::DeserializeOwned>(row: &SqliteRow) -> Result<T> {
    let text: &str = row.try_get(0)?;
    Ok(serde_json::from_str(text)?)
}

fn bodies<T: serde::de::DeserializeOwned>(rows: Vec<SqliteRow>) -> Result<Vec<T>> {
    rows.iter().map(body).collect()
}
