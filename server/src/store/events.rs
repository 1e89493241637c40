//! The log of each operation: a row for each write that changes a state, a reason or an explanation.

use super::{Result, Store, Tx, count};
use crate::domain::{
    event::Event,
    operation::{OperationId, Target},
};
use jiff::Timestamp;
use patchplane_rules::InstanceId;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

/// What an event says. Its JSON stands also beside the operation or target: what is equal to it is nothing new.
#[derive(Serialize, Deserialize)]
struct Told {
    target: Option<InstanceId>,
    state: String,
    reason: String,
    explanation: String,
}

impl Store {
    /// The events of an operation that follow `after` (a revision, and a place in it), oldest first, at most `limit`.
    pub async fn events_after(&self, id: OperationId, after: Option<(u64, u32)>, limit: usize) -> Result<Vec<Event>> {
        let (revision, seq) = after.unwrap_or_default();
        let rows = sqlx::query(
            "SELECT body, revision, seq, time FROM events WHERE operation = $1 AND (revision, seq) > ($2, $3) \
             ORDER BY revision, seq LIMIT $4",
        )
        .bind(id.to_string())
        .bind(revision.cast_signed())
        .bind(i64::from(seq))
        .bind(count(limit))
        .fetch_all(self.readers()?)
        .await?;
        let mut events = Vec::new();
        for row in &rows {
            let Told { target, state, reason, explanation } = super::body(row)?;
            let (revision, seq): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
            let (revision, seq) = (revision.unsigned_abs(), u32::try_from(seq).unwrap_or(u32::MAX));
            events.push(Event { revision, seq, time: super::word(row, 3)?, target, state, reason, explanation });
        }
        Ok(events)
    }
}

impl Tx {
    /// Logs what an operation says, unless it said so before. Comes before the operation itself is written.
    pub(super) async fn put_event(&mut self, id: OperationId, time: Timestamp, told: &str) -> Result<()> {
        self.events += 1;
        sqlx::query(
            "INSERT INTO events (operation, revision, seq, time, body) SELECT $1, $2, $3, $4, $5 \
             WHERE NOT EXISTS (SELECT 1 FROM operations WHERE id = $1 AND told = $5)",
        )
        .bind(id.to_string())
        .bind(self.revision.cast_signed())
        .bind(i64::from(self.events))
        .bind(time.to_string())
        .bind(told)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// The same for targets.
    pub(super) async fn put_target_events(
        &mut self,
        id: OperationId,
        targets: &[Target],
        told: impl Iterator<Item = &str>,
    ) -> Result<()> {
        let mut rows = Vec::new();
        for (target, told) in targets.iter().zip(told) {
            self.events += 1;
            rows.push((&target.instance_id, self.events, target.update_time, told));
        }
        sqlx::query(
            "INSERT INTO events (operation, revision, seq, time, body) \
             SELECT $1, $2, CAST(value ->> 1 AS BIGINT), value ->> 2, value ->> 3 FROM json_each($3) \
             WHERE NOT EXISTS (SELECT 1 FROM targets WHERE operation = $1 AND instance = value ->> 0 \
             AND told = value ->> 3)",
        )
        .bind(id.to_string())
        .bind(self.revision.cast_signed())
        .bind(serde_json::to_string(&rows)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}

/// The content of an event, as it is kept.
pub(super) fn told(
    target: Option<&InstanceId>,
    state: &impl Serialize,
    reason: &str,
    explanation: &str,
) -> Result<String> {
    let state = serde_json::to_value(state)?;
    let told = Told {
        target: target.cloned(),
        state: state.as_str().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
        explanation: explanation.to_owned(),
    };
    Ok(serde_json::to_string(&told)?)
}
