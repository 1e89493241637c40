//! Operations, their targets and their sends, as rows.

use super::{Result, Store, Tx, WRITTEN_BY, bodies, body, column, count, events::told, word};
use crate::domain::{
    control::Control,
    operation::{Dispatch, DispatchOutcome, Operation, OperationId, OriginKind, Target, TargetCounts, TargetState},
};
use patchplane_rules::{InstanceId, Location};
use sqlx::{Any, Row as _, Transaction, any::AnyRow};
use std::collections::HashMap;
use ulid::Ulid;

/// All of one operation, at one revision.
#[derive(Clone, Debug)]
pub struct Saved {
    pub operation: Operation,
    pub control: Control,
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
    pub control: Control,
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
        let mut tx = self.snapshot().await?;
        let Some((operation, control, _)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        let targets = bodies(
            sqlx::query("SELECT body FROM targets WHERE operation = $1 ORDER BY instance")
                .bind(id.to_string())
                .fetch_all(&mut **tx)
                .await?,
        )?;
        let dispatches = bodies(
            sqlx::query("SELECT body FROM dispatches WHERE operation = $1 ORDER BY batch")
                .bind(id.to_string())
                .fetch_all(&mut **tx)
                .await?,
        )?;
        let revision = read_revision(&mut tx).await?;
        Ok(Some(Saved { operation, control, targets, dispatches, revision }))
    }

    /// Brings an operation up to date that was read before, by what was written since. Only for whoever holds it: of the
    /// sends it reads those that were open, and later ones.
    pub async fn refreshed(&self, earlier: Saved) -> Result<Option<Saved>> {
        let Saved { operation: Operation { id, .. }, mut targets, mut dispatches, revision, .. } = earlier;
        let mut tx = self.snapshot().await?;
        let Some((operation, control, _)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        let changed: Vec<Target> = bodies(
            sqlx::query("SELECT body FROM targets WHERE operation = $1 AND revision > $2 ORDER BY instance")
                .bind(id.to_string())
                .bind(revision.cast_signed())
                .fetch_all(&mut **tx)
                .await?,
        )?;
        for target in changed {
            match targets.binary_search_by(|known| known.instance_id.cmp(&target.instance_id)) {
                Ok(at) => targets[at] = target,
                Err(at) => targets.insert(at, target),
            }
        }
        let open = dispatches.iter().position(|dispatch| dispatch.outcome == DispatchOutcome::Open);
        dispatches.truncate(open.unwrap_or(dispatches.len()));
        let later: Vec<Dispatch> = bodies(
            sqlx::query("SELECT body FROM dispatches WHERE operation = $1 AND batch > $2 ORDER BY batch")
                .bind(id.to_string())
                .bind(dispatches.last().map_or(0, |last| i64::from(last.batch)))
                .fetch_all(&mut **tx)
                .await?,
        )?;
        dispatches.extend(later);
        let revision = read_revision(&mut tx).await?;
        Ok(Some(Saved { operation, control, targets, dispatches, revision }))
    }

    /// Reads an operation without its targets.
    pub async fn listed(&self, id: OperationId) -> Result<Option<Listed>> {
        let mut tx = self.snapshot().await?;
        let Some((operation, control, _)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        Ok(list(&mut tx, vec![(operation, control)]).await?.pop())
    }

    /// The newest operations of a location whose place is before `before`, at most `limit`.
    pub async fn operations_before(
        &self,
        location: &Location,
        origin: Option<OriginKind>,
        before: Option<Ulid>,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT body, control FROM operations WHERE account = $1 AND region = $2 AND place < $3 \
             AND origin = coalesce($4, origin) ORDER BY place DESC LIMIT $5",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .bind(before.map_or_else(|| "~".to_owned(), |place| place.to_string()))
        .bind(origin.map(OriginKind::as_str))
        .bind(count(limit))
        .fetch_all(&mut **tx)
        .await?;
        let operations = rows.iter().map(controlled).collect::<Result<_>>()?;
        list(&mut tx, operations).await
    }

    /// What others started in a location and what had not ended when it was last seen.
    pub async fn followed(&self, location: &Location) -> Result<Vec<Operation>> {
        let rows = sqlx::query(
            "SELECT body FROM operations WHERE account = $1 AND region = $2 AND terminal = 0 AND origin <> 'PATCHPLANE'",
        )
        .bind(location.account.as_str())
        .bind(location.region.as_str())
        .fetch_all(self.readers()?)
        .await?;
        bodies(rows)
    }

    /// The operations that these commands belong to, as far as the store knows them.
    pub async fn owners(&self, command_ids: &[&str]) -> Result<HashMap<String, Operation>> {
        let rows = sqlx::query(
            "SELECT operations.body, command_id FROM dispatches JOIN operations ON id = operation \
             WHERE command_id IN (SELECT value ->> 0 FROM json_each($1))",
        )
        .bind(column(command_ids)?)
        .fetch_all(self.readers()?)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(1)?, body(row)?))).collect()
    }

    /// The targets that follow `after` in order of instance id, at most `limit`.
    pub async fn targets_after(
        &self,
        id: OperationId,
        after: Option<&InstanceId>,
        limit: usize,
    ) -> Result<Vec<Target>> {
        let rows =
            sqlx::query("SELECT body FROM targets WHERE operation = $1 AND instance > $2 ORDER BY instance LIMIT $3")
                .bind(id.to_string())
                .bind(after.map_or("", InstanceId::as_str))
                .bind(count(limit))
                .fetch_all(self.readers()?)
                .await?;
        bodies(rows)
    }

    pub async fn target(&self, id: OperationId, instance: &InstanceId) -> Result<Option<Target>> {
        let rows = sqlx::query("SELECT body FROM targets WHERE operation = $1 AND instance = $2")
            .bind(id.to_string())
            .bind(instance.as_str())
            .fetch_all(self.readers()?)
            .await?;
        Ok(bodies(rows)?.pop())
    }

    /// What changed of an operation since a revision.
    pub async fn changes(&self, id: OperationId, since: u64) -> Result<Option<Changes>> {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let mut tx = self.snapshot().await?;
        let Some((operation, control, written)) = read_operation(&mut tx, id).await? else { return Ok(None) };
        let rows = sqlx::query("SELECT body FROM targets WHERE operation = $1 AND revision > $2 ORDER BY instance")
            .bind(id.to_string())
            .bind(since)
            .fetch_all(&mut **tx)
            .await?;
        let targets: Vec<Target> = bodies(rows)?;
        let any = written > since || !targets.is_empty();
        let revision = read_revision(&mut tx).await?;
        let listed = list(&mut tx, vec![(operation, control)]).await?.pop();
        Ok(listed.map(|listed| Changes { listed, targets, any, revision }))
    }

    /// The operations, of one location or of all, that have not ended, newest first, and the revision of this answer.
    pub async fn going_on(&self, location: Option<&Location>) -> Result<(Vec<Listed>, u64)> {
        let mut tx = self.snapshot().await?;
        let rows = sqlx::query(
            "SELECT body, control FROM operations WHERE terminal = 0 \
             AND account = coalesce($1, account) AND region = coalesce($2, region) ORDER BY place DESC",
        )
        .bind(location.map(|location| location.account.as_str()))
        .bind(location.map(|location| location.region.as_str()))
        .fetch_all(&mut **tx)
        .await?;
        let operations = rows.iter().map(controlled).collect::<Result<Vec<_>>>()?;
        let revision = read_revision(&mut tx).await?;
        Ok((list(&mut tx, operations).await?, revision))
    }

    /// The operations, of one location or of all, that changed after a revision, in the order of their last changes. About
    /// `limit` of them: those of one revision come together. Beside them the revision to ask from the next time.
    pub async fn changed_operations(
        &self,
        location: Option<&Location>,
        since: u64,
        limit: usize,
    ) -> Result<(Vec<Listed>, u64)> {
        let mut tx = self.snapshot().await?;
        let revision = read_revision(&mut tx).await?;
        let rows = sqlx::query(
            "WITH changed AS (SELECT body, control, revision FROM operations WHERE revision > $1 \
             AND account = coalesce($2, account) AND region = coalesce($3, region)) \
             SELECT body, control, revision FROM changed WHERE revision <= \
             coalesce((SELECT revision FROM changed ORDER BY revision LIMIT 1 OFFSET $4), $5) ORDER BY revision",
        )
        .bind(since.cast_signed())
        .bind(location.map(|location| location.account.as_str()))
        .bind(location.map(|location| location.region.as_str()))
        .bind(count(limit.saturating_sub(1)))
        .bind(revision.cast_signed())
        .fetch_all(&mut **tx)
        .await?;
        let seen = match rows.last() {
            Some(last) if rows.len() >= limit => last.try_get::<i64, _>(2)?.unsigned_abs(),
            _ => revision,
        };
        let operations = rows.iter().map(controlled).collect::<Result<_>>()?;
        Ok((list(&mut tx, operations).await?, seen))
    }
}

impl Tx {
    /// Writes an operation. After a crash it is there with everything else of this transaction, or not at all.
    pub async fn put_operation(&mut self, operation: &Operation) -> Result<()> {
        let told = told(None, &operation.state, &operation.reason, &operation.explanation)?;
        self.put_event(operation.id, operation.update_time, &told).await?;
        sqlx::query(
            "INSERT INTO operations (id, account, region, place, origin, terminal, revision, written_by, told, body, \
             generation) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CAST(value AS BIGINT) FROM meta \
             WHERE key = 'generation' ON CONFLICT (id) DO UPDATE SET terminal = excluded.terminal, \
             revision = excluded.revision, written_by = excluded.written_by, told = excluded.told, body = excluded.body",
        )
        .bind(operation.id.to_string())
        .bind(operation.location.account.as_str())
        .bind(operation.location.region.as_str())
        .bind(operation.place().to_string())
        .bind(operation.origin.kind().as_str())
        .bind(i64::from(operation.state.is_terminal()))
        .bind(self.revision.cast_signed())
        .bind(WRITTEN_BY)
        .bind(told)
        .bind(serde_json::to_string(operation)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Forgets an operation that was written under another id.
    pub async fn delete_operation(&mut self, id: OperationId) -> Result<()> {
        for statement in [
            "DELETE FROM events WHERE operation = $1",
            "DELETE FROM targets WHERE operation = $1",
            "DELETE FROM dispatches WHERE operation = $1",
            "DELETE FROM operations WHERE id = $1",
        ] {
            sqlx::query(statement).bind(id.to_string()).execute(&mut *self.tx).await?;
        }
        Ok(())
    }

    /// Writes targets of an operation that is written already.
    pub async fn put_targets(&mut self, id: OperationId, targets: &[Target]) -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        // One statement each, whatever the number of targets.
        let mut rows = Vec::new();
        for target in targets {
            let told = told(Some(&target.instance_id), &target.state, &target.reason, &target.explanation)?;
            rows.push((target.instance_id.as_str(), target.state, told, target));
        }
        self.put_target_events(id, targets, rows.iter().map(|(_, _, told, _)| told.as_str())).await?;
        sqlx::query(
            "INSERT INTO targets (operation, instance, state, told, revision, body) \
             SELECT $1, value ->> 0, value ->> 1, value ->> 2, $2, CAST(value -> 3 AS TEXT) FROM json_each($3) \
             WHERE true ON CONFLICT (operation, instance) DO UPDATE SET state = excluded.state, told = excluded.told, \
             revision = excluded.revision, body = excluded.body",
        )
        .bind(id.to_string())
        .bind(self.revision.cast_signed())
        .bind(serde_json::to_string(&rows)?)
        .execute(&mut *self.tx)
        .await?;
        self.touch(id).await
    }

    /// Marks an operation as changed by this write.
    pub(super) async fn touch(&mut self, id: OperationId) -> Result<()> {
        sqlx::query("UPDATE operations SET revision = $1 WHERE id = $2")
            .bind(self.revision.cast_signed())
            .bind(id.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    pub async fn put_dispatch(&mut self, id: OperationId, dispatch: &Dispatch) -> Result<()> {
        let command_id = match &dispatch.outcome {
            DispatchOutcome::Sent { command_id, .. } => Some(command_id.as_str()),
            _ => None,
        };
        sqlx::query(
            "INSERT INTO dispatches (operation, batch, command_id, body) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (operation, batch) DO UPDATE SET command_id = excluded.command_id, body = excluded.body",
        )
        .bind(id.to_string())
        .bind(i64::from(dispatch.batch))
        .bind(command_id)
        .bind(serde_json::to_string(dispatch)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

async fn read_operation(tx: &mut Transaction<'_, Any>, id: OperationId) -> Result<Option<(Operation, Control, i64)>> {
    let row = sqlx::query("SELECT body, control, revision FROM operations WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (operation, control) = controlled(&row)?;
    Ok(Some((operation, control, row.try_get(2)?)))
}

/// An operation and what is asked of it, which stand first in the row.
fn controlled(row: &AnyRow) -> Result<(Operation, Control)> {
    let control: &str = row.try_get(1)?;
    Ok((body(row)?, serde_json::from_str(control)?))
}

async fn read_revision(tx: &mut Transaction<'_, Any>) -> Result<u64> {
    let row =
        sqlx::query("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'revision'").fetch_one(&mut **tx).await?;
    let revision: i64 = row.try_get(0)?;
    Ok(revision.unsigned_abs())
}

async fn list(tx: &mut Transaction<'_, Any>, operations: Vec<(Operation, Control)>) -> Result<Vec<Listed>> {
    let ids = column(operations.iter().map(|(operation, _)| operation.id))?;
    let mut counts: HashMap<String, TargetCounts> = HashMap::new();
    let rows = sqlx::query(
        "SELECT operation, state, count(*) FROM targets \
         WHERE operation IN (SELECT value ->> 0 FROM json_each($1)) GROUP BY operation, state",
    )
    .bind(&ids)
    .fetch_all(&mut **tx)
    .await?;
    for row in rows {
        let state: TargetState = word(&row, 1)?;
        let count: i64 = row.try_get(2)?;
        *counts.entry(row.try_get(0)?).or_default().slot(state) = usize::try_from(count).unwrap_or(0);
    }
    let mut commands: HashMap<String, Vec<String>> = HashMap::new();
    let rows = sqlx::query(
        "SELECT operation, command_id FROM dispatches WHERE command_id IS NOT NULL \
         AND operation IN (SELECT value ->> 0 FROM json_each($1)) ORDER BY operation, batch",
    )
    .bind(&ids)
    .fetch_all(&mut **tx)
    .await?;
    for row in rows {
        commands.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    Ok(operations
        .into_iter()
        .map(|(operation, control)| {
            let id = operation.id.to_string();
            Listed {
                operation,
                control,
                counts: counts.remove(&id).unwrap_or_default(),
                command_ids: commands.remove(&id).unwrap_or_default(),
            }
        })
        .collect())
}
