//! What callers ask of running operations, and freezes: both are read in the write that they are to prevent.

use super::{Result, Store, Tx, bodies, body};
use crate::domain::{control::Control, freeze::Freeze, operation::OperationId};
use ulid::Ulid;

const ALL_FREEZES: &str = "SELECT body FROM freezes ORDER BY id";

impl Store {
    /// All freezes, oldest first, whether in force or not.
    pub async fn freezes(&self) -> Result<Vec<Freeze>> {
        bodies(sqlx::query(ALL_FREEZES).fetch_all(self.readers()?).await?)
    }
}

impl Tx {
    /// What is asked of an operation; `None` if there is no such operation.
    pub async fn control(&mut self, id: OperationId) -> Result<Option<Control>> {
        let row = sqlx::query("SELECT control FROM operations WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await?;
        row.as_ref().map(body).transpose()
    }

    /// Writes what is asked of an operation. From the commit on no intent is recorded that it forbids.
    pub async fn put_control(&mut self, id: OperationId, control: &Control) -> Result<()> {
        sqlx::query("UPDATE operations SET control = $1, revision = $2 WHERE id = $3")
            .bind(serde_json::to_string(control)?)
            .bind(self.revision.cast_signed())
            .bind(id.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// All freezes; none comes or goes until this write ends.
    pub async fn freezes(&mut self) -> Result<Vec<Freeze>> {
        bodies(sqlx::query(ALL_FREEZES).fetch_all(&mut *self.tx).await?)
    }

    /// Writes a freeze. From the commit on no intent is recorded that it forbids.
    pub async fn put_freeze(&mut self, freeze: &Freeze) -> Result<()> {
        sqlx::query(
            "INSERT INTO freezes (id, body) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        )
        .bind(freeze.id.to_string())
        .bind(serde_json::to_string(freeze)?)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Deletes a freeze, and says whether it was there.
    pub async fn delete_freeze(&mut self, id: Ulid) -> Result<bool> {
        let done = sqlx::query("DELETE FROM freezes WHERE id = $1").bind(id.to_string()).execute(&mut *self.tx).await?;
        Ok(done.rows_affected() == 1)
    }
}
