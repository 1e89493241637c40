//! The door: who calls, parse, hand to a use-case, convert. The only room that names Protobuf messages.

mod baseline_changes;
mod baselines;
mod compliance;
mod convert;
mod door;
mod freezes;
mod instances;
mod layers;
mod maintenance_windows;
mod methods;
mod patch_groups;
mod patch_operations;
mod patch_schedules;
mod preview;
mod readiness;
mod recurrence;
mod status;

use crate::{
    app::App,
    auth::{Caller, Policy, Principal},
    error::Error,
};
use axum::Router;
use patchplane_proto::{FILE_DESCRIPTOR_SET, v1 as pb};
use std::sync::Arc;
use tonic::{Request, Status, service::Routes, service::interceptor::InterceptorLayer};
use tower::ServiceBuilder;

/// The names of all services, as health and reflection know them.
const SERVICES: [&str; 8] = [
    "patchplane.v1.BaselineService",
    "patchplane.v1.PatchGroupService",
    "patchplane.v1.InstanceService",
    "patchplane.v1.ComplianceService",
    "patchplane.v1.PatchOperationService",
    "patchplane.v1.MaintenanceWindowService",
    "patchplane.v1.PatchScheduleService",
    "patchplane.v1.FreezeService",
];

/// Implements every service over the use-cases.
#[derive(Clone)]
struct Api {
    app: Arc<App>,
}

/// The services over the use-cases, with reflection (v1 and v1alpha).
fn services(app: Arc<App>, message_size: usize) -> Result<Router, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that generic clients can show the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let principal = Principal::local();
    let policy = Arc::new(Policy::Permissive);
    let identify = move |mut request: Request<()>| -> Result<Request<()>, Status> {
        let caller = Caller { principal: principal.clone(), policy: Arc::clone(&policy) };
        request.extensions_mut().insert(caller);
        Ok(request)
    };
    let api = Api { app };
    macro_rules! service {
        ($server:path) => {
            ServiceBuilder::new()
                .layer(InterceptorLayer::new(identify.clone()))
                .service(<$server>::new(api.clone()).max_decoding_message_size(message_size))
        };
    }
    let routes = Routes::new(service!(pb::baseline_service_server::BaselineServiceServer<Api>))
        .add_service(service!(pb::patch_group_service_server::PatchGroupServiceServer<Api>))
        .add_service(service!(pb::instance_service_server::InstanceServiceServer<Api>))
        .add_service(service!(pb::compliance_service_server::ComplianceServiceServer<Api>))
        .add_service(service!(pb::patch_operation_service_server::PatchOperationServiceServer<Api>))
        .add_service(service!(pb::maintenance_window_service_server::MaintenanceWindowServiceServer<Api>))
        .add_service(service!(pb::patch_schedule_service_server::PatchScheduleServiceServer<Api>))
        .add_service(service!(pb::freeze_service_server::FreezeServiceServer<Api>))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.into_axum_router())
}

pub(crate) use door::Door;

/// Who sent a request.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let found = request.extensions().get::<Caller>().cloned();
    found.ok_or_else(|| Error::Internal("a request without a caller".into()).into())
}
