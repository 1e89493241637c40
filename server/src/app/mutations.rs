//! The frame of a mutation of AWS: at most once for each request id, recorded before and after.

use super::App;
use crate::{
    Error, Result,
    auth::Caller,
    domain::{plan::Plan, request::Mutation},
    store::RequestKey,
};
use patchplane_aws::ErrorKind;
use std::{sync::PoisonError, time::Duration};

/// What a mutation's request id tells before anything is done.
pub(super) enum Begun<'a> {
    /// Done before; nothing is to be done. Names the resource.
    Replay(String),
    /// To be done, by us alone while this is held.
    Go(InProgress<'a>),
}

/// A mutation that is recorded and not yet done. Dropped without an end, a repetition continues it.
pub(super) struct InProgress<'a> {
    app: &'a App,
    key: RequestKey,
    recorded: bool,
    /// What was meant to be done, as the first attempt recorded it.
    intent: Option<String>,
}

impl App {
    /// Looks the request id up. A repetition while the first still runs is refused, one after a crash goes on.
    pub(super) async fn begin(&self, who: &Caller, method: &'static str, mutation: &Mutation) -> Result<Begun<'_>> {
        let key = RequestKey { principal: who.principal.to_string(), method, id: mutation.request_id };
        if !self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            return Err(Error::Aborted {
                reason: "REQUEST_IN_PROGRESS",
                message: "the same request is still under way; send it again to learn its outcome".into(),
                retry_after: Some(Duration::from_secs(1)),
            });
        }
        // From here on, dropping it lets others in again.
        let mut progress = InProgress { app: self, key, recorded: false, intent: None };
        match self.store.request(&progress.key).await? {
            Some(record) if record.fingerprint != mutation.fingerprint => {
                Err(Error::RequestIdReused { request_id: mutation.request_id.to_string() })
            }
            found => {
                progress.recorded = found.is_some();
                let (resource, intent) = found.map(|record| (record.resource, record.intent)).unwrap_or_default();
                progress.intent = intent;
                match resource {
                    Some(resource) => Ok(Begun::Replay(resource)),
                    None => Ok(Begun::Go(progress)),
                }
            }
        }
    }
}

impl App {
    /// Takes up a request that an earlier process left open.
    pub(super) fn resume(&self, key: RequestKey) -> InProgress<'_> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        InProgress { app: self, key, recorded: true, intent: None }
    }
}

impl InProgress<'_> {
    pub(super) fn key(&self) -> &RequestKey {
        &self.key
    }

    /// Whether an earlier attempt had begun, and may have changed things.
    pub(super) fn continued(&self) -> bool {
        self.recorded
    }

    /// Records the intent, before the first effect.
    pub(super) async fn record(&mut self, mutation: &Mutation) -> Result<()> {
        if !self.recorded {
            let mut tx = self.app.store.begin().await?;
            tx.put_request(&self.key, &mutation.fingerprint, None, self.app.clock.now()).await?;
            tx.commit().await?;
            self.recorded = true;
        }
        Ok(())
    }

    /// The same with what is meant, so that whoever goes on after a crash does exactly that.
    pub(super) async fn record_intent(&mut self, mutation: &Mutation, intent: &str) -> Result<()> {
        if !self.recorded {
            let mut tx = self.app.store.begin().await?;
            tx.put_request(&self.key, &mutation.fingerprint, None, self.app.clock.now()).await?;
            tx.put_intent(&self.key, intent).await?;
            tx.commit().await?;
            self.recorded = true;
        }
        Ok(())
    }

    /// What the attempt that was cut short meant to do.
    pub(super) fn intent(&self) -> Option<&str> {
        self.intent.as_deref()
    }

    /// Records the outcome, after the last effect.
    pub(super) async fn done(self, resource: &str) -> Result<()> {
        let mut tx = self.app.store.begin().await?;
        tx.close_request(&self.key, resource).await?;
        Ok(tx.commit().await?)
    }

    /// The first effect failed. If AWS refused it definitely nothing has changed, and the request is forgotten.
    pub(super) async fn failed(self, error: Error) -> Error {
        let definite =
            matches!(&error, Error::Aws(aws) if !matches!(aws.kind, ErrorKind::Unreachable | ErrorKind::Deadline));
        if definite {
            let forgotten = async {
                let mut tx = self.app.store.begin().await?;
                tx.forget_request(&self.key).await?;
                tx.commit().await
            };
            if let Err(cause) = forgotten.await {
                tracing::warn!(error = %cause, "a refused request stays recorded");
            }
        }
        error
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.app.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Holds a mutation to the plan that its caller has seen.
pub(super) fn expect_plan(mutation: &Mutation, plan: &Plan) -> Result<()> {
    match &mutation.expected_plan {
        Some(expected) if *expected != plan.fingerprint() => Err(Error::Aborted {
            reason: "PLAN_CHANGED",
            message: "the plan has changed since it was shown; look at it again with validate_only".into(),
            retry_after: None,
        }),
        _ => Ok(()),
    }
}
