//! What operators do with a store: look it over, take it out, say that it was brought back, and let old things go.

use super::{Place, Result, Store, column, database};
use crate::domain::{
    control::Control,
    event::Event,
    freeze::Freeze,
    operation::{Dispatch, Operation, OperationId, Target},
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, any::AnyRow};
use ulid::Ulid;
use uuid::Uuid;

/// How many rows are read, or operations forgotten, at a time.
const PORTION: usize = 200;

/// What a store holds, and what of it is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub operations: usize,
    pub unfinished: usize,
    pub targets: usize,
    pub events: usize,
    /// Written by another release, which alone works on them.
    pub unknown: usize,
    /// Each a sentence.
    pub faults: Vec<String>,
}

/// How a store's schema stands to this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// There is no store yet.
    Missing,
    /// It lacks so many steps of this release.
    Behind(usize),
    Current,
    /// It has so many steps of later releases.
    Ahead(usize),
}

/// One line of an export.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exported {
    Store { installation: Uuid, generation: u64, revision: u64 },
    Freeze(Freeze),
    Operation { record: Box<Operation>, control: Control, revision: u64 },
    Target { operation: OperationId, record: Box<Target> },
    Dispatch { operation: OperationId, record: Dispatch },
    Event { operation: OperationId, record: Event },
}

impl Store {
    /// How the schema of a store stands, also of one that cannot be opened for it. Changes nothing.
    pub async fn schema(place: &Place) -> Result<Schema> {
        if let Place::File(path) = place
            && !path.exists()
        {
            return Ok(Schema::Missing);
        }
        database::schema(place).await
    }

    /// How many operations there are, and how many of them have not ended.
    pub async fn counts(&self) -> Result<(usize, usize)> {
        let query = "SELECT count(*), CAST(coalesce(sum(1 - terminal), 0) AS BIGINT) FROM operations";
        let row = sqlx::query(query).fetch_one(self.readers()?).await?;
        let count = |column| row.try_get::<i64, _>(column).map(|count| usize::try_from(count).unwrap_or(0));
        Ok((count(0)?, count(1)?))
    }

    /// How often the store was brought back from an earlier time, counted from 1.
    pub async fn generation(&self) -> Result<u64> {
        let row = sqlx::query("SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'generation'")
            .fetch_one(self.readers()?)
            .await?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// Says that the store was brought back from an earlier time: every claim is void, and unfinished operations are
    /// reconciled with AWS before anything is sent for them. Answers the new generation.
    pub async fn restored(&self) -> Result<u64> {
        let mut tx = self.begin_with(false).await?;
        database::raise_generation(&mut tx.tx).await?;
        tx.commit().await?;
        self.generation().await
    }

    /// Reads everything, and says what cannot be read.
    pub async fn survey(&self) -> Result<Survey> {
        let mut survey = Survey::default();
        if self.0.database.kind == database::Kind::Sqlite {
            let rows = sqlx::query("PRAGMA integrity_check").fetch_all(self.readers()?).await?;
            let said: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
            survey.faults.extend(said.into_iter().filter(|said| said != "ok"));
        }
        let rows = sqlx::query(
            "SELECT count(*), CAST(coalesce(sum(1 - terminal), 0) AS BIGINT) FROM operations WHERE written_by = $1",
        )
        .bind(super::WRITTEN_BY)
        .fetch_one(self.readers()?)
        .await?;
        survey.unfinished = usize::try_from(rows.try_get::<i64, _>(1)?).unwrap_or(0);
        let known = usize::try_from(rows.try_get::<i64, _>(0)?).unwrap_or(0);
        let mut after = String::new();
        loop {
            let ids = self.ids_after(&after).await?;
            let Some(last) = ids.last() else { break };
            after.clone_from(last);
            survey.operations += ids.len();
            let faults = &mut survey.faults;
            let operations = "SELECT body, id FROM operations WHERE id IN (SELECT value ->> 0 FROM json_each($1))";
            self.readable::<Operation>("operation", operations, &ids, faults).await?;
            let controls = "SELECT control, id FROM operations WHERE id IN (SELECT value ->> 0 FROM json_each($1))";
            self.readable::<Control>("control of", controls, &ids, faults).await?;
            let targets =
                "SELECT body, operation FROM targets WHERE operation IN (SELECT value ->> 0 FROM json_each($1))";
            survey.targets += self.readable::<Target>("target of", targets, &ids, faults).await?;
            let sends =
                "SELECT body, operation FROM dispatches WHERE operation IN (SELECT value ->> 0 FROM json_each($1))";
            self.readable::<Dispatch>("send of", sends, &ids, faults).await?;
            let events =
                "SELECT body, operation FROM events WHERE operation IN (SELECT value ->> 0 FROM json_each($1))";
            survey.events += self.readable::<serde_json::Value>("event of", events, &ids, faults).await?;
        }
        survey.unknown = survey.operations.saturating_sub(known);
        for row in sqlx::query("SELECT body, id FROM freezes ORDER BY id").fetch_all(self.readers()?).await? {
            survey.faults.extend(unreadable::<Freeze>("freeze", &row)?);
        }
        Ok(survey)
    }

    /// Counts these rows, and adds a fault for each that cannot be read.
    async fn readable<T: DeserializeOwned>(
        &self,
        what: &str,
        query: &'static str,
        ids: &[String],
        faults: &mut Vec<String>,
    ) -> Result<usize> {
        let rows = sqlx::query(query).bind(column(ids)?).fetch_all(self.readers()?).await?;
        for row in &rows {
            faults.extend(unreadable::<T>(what, row)?);
        }
        Ok(rows.len())
    }

    async fn ids_after(&self, after: &str) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT id FROM operations WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(super::count(PORTION))
            .fetch_all(self.readers()?)
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Gives everything that is worth keeping, piece by piece: freezes, and each operation as it is at one moment. Secrets
    /// and the records of requests stay behind.
    pub async fn export<E: From<super::Error>>(
        &self,
        mut give: impl FnMut(Exported) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (installation, generation) = (self.installation(), self.generation().await?);
        give(Exported::Store { installation, generation, revision: *self.revisions().borrow() })?;
        for freeze in self.freezes().await? {
            give(Exported::Freeze(freeze))?;
        }
        let mut after = String::new();
        loop {
            let ids = self.ids_after(&after).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after.clone_from(last);
            for id in ids {
                let Ok(id) = id.parse() else { continue };
                self.export_operation(id, &mut give).await?;
            }
        }
    }

    async fn export_operation<E: From<super::Error>>(
        &self,
        id: OperationId,
        give: &mut impl FnMut(Exported) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let Some(saved) = self.operation(id).await? else { return Ok(()) };
        let (record, control, revision) = (Box::new(saved.operation), saved.control, saved.revision);
        give(Exported::Operation { record, control, revision })?;
        for target in saved.targets {
            give(Exported::Target { operation: id, record: Box::new(target) })?;
        }
        for record in saved.dispatches {
            give(Exported::Dispatch { operation: id, record })?;
        }
        let mut after = None;
        loop {
            let events = self.events_after(id, after, PORTION).await?;
            let Some(last) = events.last() else { return Ok(()) };
            after = Some((last.revision, last.seq));
            for record in events {
                give(Exported::Event { operation: id, record })?;
            }
        }
    }

    /// Forgets operations that have ended and began before that time, with all that belongs to them; says how many. Some
    /// at a time, so that nobody waits for long; a crash leaves the rest for the next time.
    pub async fn forget(&self, before: Timestamp) -> Result<usize> {
        let millis = u64::try_from(before.as_millisecond()).unwrap_or(0);
        let before = Ulid::from_parts(millis, 0).to_string();
        let mut forgotten = 0;
        loop {
            let mut tx = self.begin_with(false).await?;
            let rows =
                sqlx::query("SELECT id FROM operations WHERE terminal = 1 AND place < $1 ORDER BY place LIMIT $2")
                    .bind(&before)
                    .bind(super::count(PORTION))
                    .fetch_all(&mut *tx.tx)
                    .await?;
            let ids: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
            if ids.is_empty() {
                return Ok(forgotten);
            }
            for delete in [
                "DELETE FROM events WHERE operation IN (SELECT value ->> 0 FROM json_each($1))",
                "DELETE FROM dispatches WHERE operation IN (SELECT value ->> 0 FROM json_each($1))",
                "DELETE FROM targets WHERE operation IN (SELECT value ->> 0 FROM json_each($1))",
                "DELETE FROM locks WHERE operation IN (SELECT value ->> 0 FROM json_each($1))",
                "DELETE FROM operations WHERE id IN (SELECT value ->> 0 FROM json_each($1))",
            ] {
                sqlx::query(delete).bind(column(&ids)?).execute(&mut *tx.tx).await?;
            }
            tx.commit().await?;
            forgotten += ids.len();
        }
    }
}

/// What is wrong with a row whose JSON should be such a value.
fn unreadable<T: DeserializeOwned>(what: &str, row: &AnyRow) -> Result<Option<String>> {
    let Err(error) = super::body::<T>(row) else { return Ok(None) };
    let id: &str = row.try_get(1)?;
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    Ok(Some(format!("{what} {id} cannot be read: {}", cause.unwrap_or_else(|| error.to_string()))))
}
