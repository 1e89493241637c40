//! The simulated account as the HTTP client of the real SDK.

use crate::{Simulation, travel::Sent};
use aws_smithy_async::rt::sleep::AsyncSleep;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use std::io;

#[derive(Clone, Debug)]
pub(crate) struct Connector(pub(crate) Simulation);

impl Simulation {
    /// An HTTP client for `aws-sdk-*` configurations; nothing leaves the process. It answers at the first poll unless
    /// a fault delays the request; a delayed request arrives even if nobody waits for it any more. Connect and read timeouts of the SDK are not applied, its operation timeouts are.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Connector(self.clone()))
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let simulation = self.0.clone();
        HttpConnectorFuture::new(async move {
            let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
            let request = request.try_into_http1x().map_err(|error| user(error.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).ok_or_else(|| user("a streamed body".into()))?;
            let request = http::Request::from_parts(parts, body);
            let response = match simulation.send(request) {
                Sent::Answered(response) => response,
                Sent::Refused => return Err(broken(io::ErrorKind::ConnectionRefused)),
                Sent::Broken => return Err(broken(io::ErrorKind::ConnectionReset)),
                Sent::Late(response, wait) => {
                    simulation.clock().sleep(wait).await;
                    response
                }
                Sent::Travelling(ticket, wait) => {
                    let lost = || broken(io::ErrorKind::ConnectionReset);
                    simulation.arrival(ticket, wait).await.ok_or_else(lost)?
                }
            };
            HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What a client sees of a connection that does not come about, or breaks before the answer.
fn broken(kind: io::ErrorKind) -> ConnectorError {
    ConnectorError::io(io::Error::from(kind).into())
}
