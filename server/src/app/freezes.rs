//! Freezes: kept in the store alone, and looked at in the write that records each send.

use super::{
    App,
    locations::{Chunk, ListPage, slice},
    mutations::{Begun, expect_plan},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        freeze::{Freeze, FreezeScope},
        name::FreezeName,
        page::Paging,
        plan::{Change, ChangeAction, Plan},
        request::Mutation,
    },
};
use jiff::Timestamp;
use patchplane_rules::{Invalid, Location};
use ulid::Ulid;
use uuid::Uuid;

/// A request for a freeze.
pub struct NewFreeze {
    pub scope: FreezeScope,
    /// `None`: from now on.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub reason: String,
    pub mutation: Mutation,
}

/// A freeze that came or went.
pub struct FreezeChanged {
    /// `None`: it was deleted by an earlier call.
    pub freeze: Option<Freeze>,
    pub plan: Plan,
    pub replayed: bool,
    /// With `validate_only` there is nothing that has a name.
    pub exists: bool,
}

impl App {
    /// Creates a freeze. From the answer on no intent is recorded that it forbids.
    #[tracing::instrument(name = "app.create_freeze", skip_all)]
    pub async fn create_freeze(&self, who: &Caller, new: NewFreeze) -> Result<FreezeChanged> {
        self.may_freeze(who, Action::ManageFreezes, &new.scope)?;
        if let Some(location) = new.scope.location() {
            self.aws(location)?;
        }
        let now = self.clock.now();
        let from = new.from.unwrap_or(now);
        if new.until.is_some_and(|until| until <= from || until <= now) {
            return Err(Invalid::new("freeze.end_time", "must be after start_time, and not in the past").into());
        }
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let freeze = Freeze {
            id: Ulid::from_parts(millis, Uuid::new_v4().as_u128()),
            scope: new.scope,
            from,
            until: new.until,
            reason: new.reason,
            creator: who.principal.to_string(),
            create_time: now,
        };
        let plan = change(ChangeAction::Create, String::new(), String::new(), freeze.scope.to_string());
        if new.mutation.validate_only {
            return Ok(FreezeChanged { freeze: Some(freeze), plan, replayed: false, exists: false });
        }
        let progress = match self.begin(who, "CreateFreeze", &new.mutation).await? {
            Begun::Replay(resource) => {
                let name = FreezeName::parse("name", &resource)?;
                let freeze = self.store.freezes().await?.into_iter().find(|freeze| freeze.id == name.0);
                return Ok(FreezeChanged { freeze, plan: Plan::default(), replayed: true, exists: true });
            }
            Begun::Go(progress) => progress,
        };
        expect_plan(&new.mutation, &plan)?;
        let mut tx = self.store.begin().await?;
        let resource = FreezeName(freeze.id).to_string();
        if !tx.put_request(progress.key(), &new.mutation.fingerprint, Some(&resource), now).await? {
            return Err(Error::Aborted {
                reason: "REQUEST_IN_PROGRESS",
                message: "the same request was answered elsewhere at this moment; send it again".into(),
                retry_after: None,
            });
        }
        tx.put_freeze(&freeze).await?;
        tx.commit().await?;
        tracing::info!(freeze.id = %freeze.id, scope = %freeze.scope, by = %who.principal, "frozen");
        Ok(FreezeChanged { freeze: Some(freeze), plan, replayed: false, exists: true })
    }

    /// Deletes a freeze; what waited for its end goes on.
    #[tracing::instrument(name = "app.delete_freeze", skip_all, fields(freeze = %name))]
    pub async fn delete_freeze(&self, who: &Caller, name: FreezeName, mutation: Mutation) -> Result<FreezeChanged> {
        let found = self.store.freezes().await?.into_iter().find(|freeze| freeze.id == name.0);
        if let Some(freeze) = &found {
            self.may_freeze(who, Action::ManageFreezes, &freeze.scope)?;
        }
        let missing = || Error::not_found("freeze", "FREEZE_NOT_FOUND", name);
        let plan =
            |freeze: &Freeze| change(ChangeAction::Delete, name.to_string(), freeze.scope.to_string(), String::new());
        if mutation.validate_only {
            let freeze = found.ok_or_else(missing)?;
            return Ok(FreezeChanged { plan: plan(&freeze), freeze: Some(freeze), replayed: false, exists: true });
        }
        let replay = || FreezeChanged { freeze: None, plan: Plan::default(), replayed: true, exists: true };
        let progress = match self.begin(who, "DeleteFreeze", &mutation).await? {
            Begun::Replay(_) => return Ok(replay()),
            Begun::Go(progress) => progress,
        };
        let freeze = found.ok_or_else(missing)?;
        let plan = plan(&freeze);
        expect_plan(&mutation, &plan)?;
        let mut tx = self.store.begin().await?;
        let resource = name.to_string();
        if !tx.put_request(progress.key(), &mutation.fingerprint, Some(&resource), self.clock.now()).await? {
            drop(tx);
            return Ok(replay());
        }
        if !tx.delete_freeze(name.0).await? {
            return Err(missing());
        }
        tx.commit().await?;
        tracing::info!(freeze.id = %name.0, by = %who.principal, "a freeze is lifted");
        Ok(FreezeChanged { freeze: Some(freeze), plan, replayed: false, exists: true })
    }

    /// The freezes that concern a location which the caller may see.
    #[tracing::instrument(name = "app.list_freezes", skip_all)]
    pub async fn list_freezes(&self, who: &Caller, paging: Paging) -> Result<ListPage<Freeze>> {
        let purpose = "ListFreezes";
        let after: Option<String> = match &paging.token {
            None => None,
            Some(token) => {
                let opened = self.sealer.open(&who.principal, purpose, token, self.clock.now());
                Some(opened.ok_or(Error::PageToken)?)
            }
        };
        let mut freezes = self.store.freezes().await?;
        freezes.retain(|freeze| {
            let mut concerned = self.locations.keys().filter(|location| freeze.scope.concerns(location));
            concerned.any(|location| who.may(Action::ReadFreezes, location).is_ok())
        });
        let Chunk { items, next } = slice(freezes, paging.size.get(), after.as_deref(), |freeze| freeze.id.to_string());
        let next = next.and_then(|after| self.sealer.seal(&who.principal, purpose, &after, self.clock.now()));
        Ok(ListPage { items, next, unreachable: Vec::new() })
    }

    /// A right over every location that a scope concerns.
    fn may_freeze(&self, who: &Caller, action: Action, scope: &FreezeScope) -> Result<()> {
        let mut concerned = self.locations.keys().filter(|location: &&Location| scope.concerns(location));
        concerned.try_for_each(|location| who.may(action, location))
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn change(action: ChangeAction, resource: String, before: String, after: String) -> Plan {
    let change = Change { resource, action, field: String::new(), before, after, aws_operation: "" };
    Plan { changes: vec![change], ..Plan::default() }
}
