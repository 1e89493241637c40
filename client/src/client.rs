//! The connection, and one method for each call that answers once.

use crate::{
    Error, Result, Retry,
    api::{
        self, baseline_service_client::BaselineServiceClient, compliance_service_client::ComplianceServiceClient,
        freeze_service_client::FreezeServiceClient, instance_service_client::InstanceServiceClient,
        maintenance_window_service_client::MaintenanceWindowServiceClient,
        patch_group_service_client::PatchGroupServiceClient,
        patch_operation_service_client::PatchOperationServiceClient,
        patch_schedule_service_client::PatchScheduleServiceClient,
    },
};
use std::time::Duration;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use uuid::Uuid;

/// How long an answer may take; as in the service configuration beside the protos.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// WaitPatchOperation holds its answer back for up to 60 s.
const WAIT_TIMEOUT: Duration = Duration::from_secs(90);

/// A connection to patchplane; clones share it. It reconnects by itself.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    retry: Retry,
    timeout: Duration,
    /// The span of the caller's that calls belong to.
    traceparent: Option<MetadataValue<Ascii>>,
}

/// How to connect: see [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    server: String,
    retry: Retry,
    timeout: Duration,
    roots: Option<Certificate>,
    identity: Option<Identity>,
}

// === impl Client ===

impl Client {
    /// Connects to a server such as `http://127.0.0.1:50051`, or over TLS to one such as `https://patchplane.internal`,
    /// whose certificate the system's roots must vouch for. Fails with `Unavailable` when nothing answers there.
    pub async fn connect(server: impl Into<String>) -> Result<Self> {
        Self::builder(server).connect().await
    }

    /// Prepares a connection with settings of one's own.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder { server: server.into(), retry: Retry::default(), timeout: CALL_TIMEOUT, roots: None, identity: None }
    }

    /// Uses a channel that was made elsewhere, with its interceptors, balancing or in-process transport.
    pub fn from_channel(channel: Channel) -> Self {
        Self { channel, retry: Retry::default(), timeout: CALL_TIMEOUT, traceparent: None }
    }

    /// The same connection with other retries.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same connection for calls within a span of the caller's, as W3C's `traceparent` writes it, such as
    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`: the server's spans become a part of that trace. What cannot
    /// be a header is left out. The bare stubs do not carry it.
    pub fn in_trace(&self, traceparent: &str) -> Self {
        Self { traceparent: traceparent.parse().ok(), ..self.clone() }
    }

    /// A request that says which trace it belongs to.
    pub(crate) fn traced<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(traceparent) = &self.traceparent {
            request.metadata_mut().insert("traceparent", traceparent.clone());
        }
        request
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.retry
    }

    /// The bare stub of BaselineService: no retries, no deadline.
    pub fn baselines(&self) -> BaselineServiceClient<Channel> {
        BaselineServiceClient::new(self.channel.clone())
    }

    /// The bare stub of PatchGroupService: no retries, no deadline.
    pub fn patch_groups(&self) -> PatchGroupServiceClient<Channel> {
        PatchGroupServiceClient::new(self.channel.clone())
    }

    /// The bare stub of InstanceService: no retries, no deadline.
    pub fn instances(&self) -> InstanceServiceClient<Channel> {
        InstanceServiceClient::new(self.channel.clone())
    }

    /// The bare stub of ComplianceService: no retries, no deadline.
    pub fn compliance(&self) -> ComplianceServiceClient<Channel> {
        ComplianceServiceClient::new(self.channel.clone())
    }

    /// The bare stub of PatchOperationService: no retries, no deadline.
    pub fn patch_operations(&self) -> PatchOperationServiceClient<Channel> {
        PatchOperationServiceClient::new(self.channel.clone())
    }

    /// The bare stub of MaintenanceWindowService: no retries, no deadline.
    pub fn maintenance_windows(&self) -> MaintenanceWindowServiceClient<Channel> {
        MaintenanceWindowServiceClient::new(self.channel.clone())
    }

    /// The bare stub of PatchScheduleService: no retries, no deadline.
    pub fn patch_schedules(&self) -> PatchScheduleServiceClient<Channel> {
        PatchScheduleServiceClient::new(self.channel.clone())
    }

    /// The bare stub of FreezeService: no retries, no deadline.
    pub fn freezes(&self) -> FreezeServiceClient<Channel> {
        FreezeServiceClient::new(self.channel.clone())
    }
}

/// Writes one method for each unary call: with deadline and retries, and for mutations with a `request_id`.
macro_rules! calls {
    ($($service:ident: $method:ident($request:ident) -> $response:ident, $kind:ident;)*) => {
        impl Client {
            $(
                #[doc = concat!("Calls `", stringify!($method), "` with a deadline and safe retries. ", calls!(@doc $kind))]
                pub async fn $method(&self, request: api::$request) -> Result<api::$response> {
                    let request = calls!(@prepare $kind request);
                    calls!(@attempt self.$service, $method, request, calls!(@timeout $kind self))
                }
            )*
        }
    };
    (@attempt $self:ident.$service:ident, $method:ident, $request:ident, $timeout:expr) => {{
        let stub = $self.$service();
        let attempt = || {
            let mut stub = stub.clone();
            let mut request = $self.traced($request.clone());
            request.set_timeout($timeout);
            async move { stub.$method(request).await }
        };
        $self.retry.run(attempt).await
    }};
    (@doc mutation) => { "An empty `request_id` is filled in once, so that a repeated attempt changes nothing twice." };
    (@doc $kind:ident) => { "" };
    (@timeout wait $self:ident) => { WAIT_TIMEOUT };
    (@timeout $kind:ident $self:ident) => { $self.timeout };
    (@prepare mutation $request:ident) => {{
        let mut request = $request;
        if request.request_id.is_empty() {
            request.request_id = Uuid::new_v4().to_string();
        }
        request
    }};
    (@prepare $kind:ident $request:ident) => { $request };
}

calls! {
    baselines: get_baseline(GetBaselineRequest) -> GetBaselineResponse, read;
    baselines: create_baseline(CreateBaselineRequest) -> CreateBaselineResponse, mutation;
    baselines: update_baseline(UpdateBaselineRequest) -> UpdateBaselineResponse, mutation;
    baselines: delete_baseline(DeleteBaselineRequest) -> DeleteBaselineResponse, mutation;
    baselines: get_default_baseline(GetDefaultBaselineRequest) -> GetDefaultBaselineResponse, read;
    baselines: set_default_baseline(SetDefaultBaselineRequest) -> SetDefaultBaselineResponse, mutation;
    baselines: preview_baseline(PreviewBaselineRequest) -> PreviewBaselineResponse, read;
    patch_groups: get_patch_group(GetPatchGroupRequest) -> GetPatchGroupResponse, read;
    patch_groups: attach_baseline(AttachBaselineRequest) -> AttachBaselineResponse, mutation;
    patch_groups: detach_baseline(DetachBaselineRequest) -> DetachBaselineResponse, mutation;
    patch_groups: add_instances(AddInstancesRequest) -> AddInstancesResponse, mutation;
    patch_groups: remove_instances(RemoveInstancesRequest) -> RemoveInstancesResponse, mutation;
    instances: get_instance(GetInstanceRequest) -> GetInstanceResponse, read;
    instances: check_readiness(CheckReadinessRequest) -> CheckReadinessResponse, read;
    instances: batch_check_readiness(BatchCheckReadinessRequest) -> BatchCheckReadinessResponse, read;
    instances: explain_baseline(ExplainBaselineRequest) -> ExplainBaselineResponse, read;
    compliance: get_compliance_summary(GetComplianceSummaryRequest) -> GetComplianceSummaryResponse, read;
    patch_operations: create_patch_operation(CreatePatchOperationRequest) -> CreatePatchOperationResponse, mutation;
    patch_operations: get_patch_operation(GetPatchOperationRequest) -> GetPatchOperationResponse, read;
    patch_operations: wait_patch_operation(WaitPatchOperationRequest) -> WaitPatchOperationResponse, wait;
    patch_operations: cancel_patch_operation(CancelPatchOperationRequest) -> CancelPatchOperationResponse, mutation;
    patch_operations: pause_patch_operation(PausePatchOperationRequest) -> PausePatchOperationResponse, mutation;
    patch_operations: resume_patch_operation(ResumePatchOperationRequest) -> ResumePatchOperationResponse, mutation;
    patch_operations: retry_patch_operation(RetryPatchOperationRequest) -> RetryPatchOperationResponse, mutation;
    freezes: create_freeze(CreateFreezeRequest) -> CreateFreezeResponse, mutation;
    freezes: delete_freeze(DeleteFreezeRequest) -> DeleteFreezeResponse, mutation;
    patch_operations: get_step_output(GetStepOutputRequest) -> GetStepOutputResponse, read;
    maintenance_windows: get_maintenance_window(GetMaintenanceWindowRequest) -> GetMaintenanceWindowResponse, read;
    maintenance_windows: get_execution(GetExecutionRequest) -> GetExecutionResponse, read;
    maintenance_windows: preview_schedule(PreviewScheduleRequest) -> PreviewScheduleResponse, read;
    patch_schedules: create_patch_schedule(CreatePatchScheduleRequest) -> CreatePatchScheduleResponse, mutation;
    patch_schedules: get_patch_schedule(GetPatchScheduleRequest) -> GetPatchScheduleResponse, read;
    patch_schedules: update_patch_schedule(UpdatePatchScheduleRequest) -> UpdatePatchScheduleResponse, mutation;
    patch_schedules: skip_next_run(SkipNextRunRequest) -> SkipNextRunResponse, mutation;
    patch_schedules: delete_patch_schedule(DeletePatchScheduleRequest) -> DeletePatchScheduleResponse, mutation;
}

/// Writes one method for each page of a list, for the streams to use.
macro_rules! pages {
    ($($service:ident: $method:ident as $name:ident($request:ident) -> $response:ident;)*) => {
        impl Client {
            $(
                pub(crate) async fn $name(&self, request: api::$request) -> Result<api::$response> {
                    calls!(@attempt self.$service, $method, request, self.timeout)
                }
            )*
        }
    };
}

pages! {
    baselines: list_baselines as baselines_page(ListBaselinesRequest) -> ListBaselinesResponse;
    baselines: list_default_baselines as default_baselines_page(ListDefaultBaselinesRequest)
        -> ListDefaultBaselinesResponse;
    baselines: list_patch_properties as patch_properties_page(ListPatchPropertiesRequest) -> ListPatchPropertiesResponse;
    baselines: list_available_patches as available_patches_page(ListAvailablePatchesRequest)
        -> ListAvailablePatchesResponse;
    patch_groups: list_patch_groups as patch_groups_page(ListPatchGroupsRequest) -> ListPatchGroupsResponse;
    patch_groups: list_tag_findings as tag_findings_page(ListTagFindingsRequest) -> ListTagFindingsResponse;
    instances: list_instances as instances_page(ListInstancesRequest) -> ListInstancesResponse;
    compliance: list_instance_compliance as compliance_page(ListInstanceComplianceRequest)
        -> ListInstanceComplianceResponse;
    instances: list_instance_patches as patches_page(ListInstancePatchesRequest) -> ListInstancePatchesResponse;
    patch_operations: list_patch_operations as operations_page(ListPatchOperationsRequest) -> ListPatchOperationsResponse;
    patch_operations: list_patch_operation_targets as targets_page(ListPatchOperationTargetsRequest)
        -> ListPatchOperationTargetsResponse;
    patch_operations: list_patch_operation_events as events_page(ListPatchOperationEventsRequest)
        -> ListPatchOperationEventsResponse;
    freezes: list_freezes as freezes_page(ListFreezesRequest) -> ListFreezesResponse;
    maintenance_windows: list_maintenance_windows as windows_page(ListMaintenanceWindowsRequest)
        -> ListMaintenanceWindowsResponse;
    maintenance_windows: list_executions as executions_page(ListExecutionsRequest) -> ListExecutionsResponse;
    maintenance_windows: list_upcoming_runs as upcoming_page(ListUpcomingRunsRequest) -> ListUpcomingRunsResponse;
    patch_schedules: list_patch_schedules as schedules_page(ListPatchSchedulesRequest) -> ListPatchSchedulesResponse;
}

// === impl Builder ===

impl Builder {
    /// How often calls are repeated.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long each attempt of a call may take; 60 s unless set. Watching and waiting have their own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Trusts only servers that these roots (PEM) vouch for, instead of the system's.
    pub fn tls_roots(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots = Some(Certificate::from_pem(pem));
        self
    }

    /// Shows this certificate and key (PEM) to the server, for mutual TLS.
    pub fn tls_identity(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Identity::from_pem(certificate, key));
        self
    }

    /// Connects now.
    pub async fn connect(self) -> Result<Client> {
        let channel = self.endpoint()?.connect().await.map_err(|error| Error::unreachable(&self.server, &error))?;
        Ok(self.client(channel))
    }

    /// Connects with the first call, so that a service can start before patchplane does.
    pub fn connect_lazy(self) -> Result<Client> {
        let channel = self.endpoint()?.connect_lazy();
        Ok(self.client(channel))
    }

    fn client(self, channel: Channel) -> Client {
        Client { channel, retry: self.retry, timeout: self.timeout, traceparent: None }
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let wrong = || Error::invalid("server", format!("must be like http://127.0.0.1:50051, not {:?}", self.server));
        let endpoint = Endpoint::from_shared(self.server.clone()).map_err(|_| wrong())?;
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        match endpoint.uri().scheme_str() {
            Some("http") => Ok(endpoint),
            Some("https") => {
                let tls = match &self.roots {
                    Some(roots) => ClientTlsConfig::new().ca_certificate(roots.clone()),
                    None => ClientTlsConfig::new().with_native_roots(),
                };
                let tls = match &self.identity {
                    Some(identity) => tls.identity(identity.clone()),
                    None => tls,
                };
                endpoint.tls_config(tls).map_err(|error| Error::invalid("tls", error.to_string()))
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[tokio::test]
    async fn an_address_without_scheme_is_refused_with_an_example() {
        for wrong in ["127.0.0.1:50051", "", "ftp://127.0.0.1", "http://"] {
            let error = Client::connect(wrong).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{wrong}");
            assert!(error.to_string().contains("http://127.0.0.1:50051"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_named() {
        // Port 1 (tcpmux) is not served on loopback.
        let error = Client::connect("http://127.0.0.1:1").await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.to_string().contains("no patchplane answers at http://127.0.0.1:1"), "{error}");
    }
}
