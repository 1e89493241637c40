//! FreezeService at the door.

use super::{
    Api, caller,
    convert::{mutation, page, paging, time},
};
use crate::{
    app::freezes::{FreezeChanged, NewFreeze},
    domain::{
        freeze::{Freeze, FreezeScope},
        name::{FreezeName, parse_location},
        request::RequestId,
    },
    error::Error,
};
use jiff::Timestamp;
use patchplane_proto::v1 as pb;
use patchplane_rules::{Invalid, Location};
use tonic::{Request, Response, Status};

const LONGEST_REASON: usize = 500;

#[tonic::async_trait]
impl pb::freeze_service_server::FreezeService for Api {
    async fn create_freeze(
        &self,
        request: Request<pb::CreateFreezeRequest>,
    ) -> Result<Response<pb::CreateFreezeResponse>, Status> {
        let who = caller(&request)?;
        let new = NewFreeze::try_from(request.into_inner())?;
        let FreezeChanged { freeze, plan, replayed, exists } = self.app.create_freeze(&who, new).await?;
        let freeze = freeze.map(|freeze| wire(freeze, self.app.now(), exists));
        Ok(Response::new(pb::CreateFreezeResponse { freeze, plan: Some(plan.into()), replayed }))
    }

    async fn list_freezes(
        &self,
        request: Request<pb::ListFreezesRequest>,
    ) -> Result<Response<pb::ListFreezesResponse>, Status> {
        let who = caller(&request)?;
        let pb::ListFreezesRequest { page_size, page_token } = request.into_inner();
        let paging = paging(page_size, page_token, 50, 200).map_err(Error::from)?;
        let found = self.app.list_freezes(&who, paging).await?;
        let now = self.app.now();
        let (freezes, next_page_token, _) = page(found, |freeze| wire(freeze, now, true));
        Ok(Response::new(pb::ListFreezesResponse { freezes, next_page_token }))
    }

    async fn delete_freeze(
        &self,
        request: Request<pb::DeleteFreezeRequest>,
    ) -> Result<Response<pb::DeleteFreezeResponse>, Status> {
        let who = caller(&request)?;
        let request = request.into_inner();
        let content = pb::DeleteFreezeRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::DeleteFreezeRequest { name, request_id, validate_only, expected_plan } = request;
        let name = FreezeName::parse("name", &name).map_err(Error::from)?;
        let request_id = RequestId::parse_or_new(&request_id).map_err(Error::from)?;
        let mutation = mutation(request_id, &content, validate_only, expected_plan);
        let FreezeChanged { freeze, plan, replayed, .. } = self.app.delete_freeze(&who, name, mutation).await?;
        let freeze = freeze.map(|freeze| wire(freeze, self.app.now(), true));
        Ok(Response::new(pb::DeleteFreezeResponse { freeze, plan: Some(plan.into()), replayed }))
    }
}

impl TryFrom<pb::CreateFreezeRequest> for NewFreeze {
    type Error = Error;

    fn try_from(request: pb::CreateFreezeRequest) -> Result<Self, Error> {
        let content = pb::CreateFreezeRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::CreateFreezeRequest { freeze, request_id, validate_only, expected_plan } = request;
        let freeze = freeze.ok_or_else(|| Invalid::new("freeze", "is required"))?;
        let rule = "is required: what is frozen; an empty message means everything";
        let scope = freeze.scope.ok_or_else(|| Invalid::new("freeze.scope", rule))?;
        if !(1..=LONGEST_REASON).contains(&freeze.reason.chars().count()) {
            return Err(Invalid::new("freeze.reason", "is required: 1 to 500 characters that say why").into());
        }
        let request_id = RequestId::parse_or_new(&request_id)?;
        Ok(Self {
            scope: scope_of(scope)?,
            from: moment("freeze.start_time", freeze.start_time)?,
            until: moment("freeze.end_time", freeze.end_time)?,
            reason: freeze.reason,
            mutation: mutation(request_id, &content, validate_only, expected_plan),
        })
    }
}

fn scope_of(scope: pb::freeze::Scope) -> Result<FreezeScope, Invalid> {
    use pb::freeze::scope::Selector;
    let pb::freeze::Scope { location, selector } = scope;
    let location = match location.as_str() {
        "" => None,
        text => Some(parse_location("freeze.scope.location", text)?),
    };
    match selector {
        None => Ok(location.map_or(FreezeScope::Everywhere, FreezeScope::Location)),
        Some(Selector::PatchGroup(group)) => {
            let group = group.parse().map_err(|wrong: Invalid| Invalid::new("freeze.scope.patch_group", wrong.rule))?;
            Ok(FreezeScope::PatchGroup { location, group })
        }
        Some(Selector::Tag(tag)) => {
            let (key, value) = super::patch_operations::tag_match("freeze.scope.tag", tag)?;
            Ok(FreezeScope::Tag { location, key, value })
        }
    }
}

fn moment(field: &str, wire: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Invalid> {
    let Some(wire) = wire else { return Ok(None) };
    let wrong = || Invalid::new(field, "must be a time between the years 1 and 9999");
    Timestamp::new(wire.seconds, wire.nanos).map(Some).map_err(|_| wrong())
}

fn wire(freeze: Freeze, now: Timestamp, exists: bool) -> pb::Freeze {
    use pb::freeze::scope::Selector;
    let active = freeze.is_active(now);
    let Freeze { id, scope, from, until, reason, creator, create_time } = freeze;
    let place = |location: Option<Location>| location.map(|location| location.name()).unwrap_or_default();
    let (location, selector) = match scope {
        FreezeScope::Everywhere => (None, None),
        FreezeScope::Location(location) => (Some(location), None),
        FreezeScope::PatchGroup { location, group } => (location, Some(Selector::PatchGroup(group.into()))),
        FreezeScope::Tag { location, key, value } => (location, Some(Selector::Tag(pb::TagMatch { key, value }))),
    };
    pb::Freeze {
        name: if exists { FreezeName(id).to_string() } else { String::new() },
        scope: Some(pb::freeze::Scope { location: place(location), selector }),
        start_time: Some(time(from)),
        end_time: until.map(time),
        reason,
        creator,
        create_time: Some(time(create_time)),
        active,
    }
}
