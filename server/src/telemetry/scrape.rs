//! `/metrics`, as Prometheus reads them.

use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

pub(super) async fn serve(listener: TcpListener, registry: Registry) {
    let router = Router::new().route("/metrics", get(metrics)).with_state(registry);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

async fn metrics(State(registry): State<Registry>) -> Result<([(http::HeaderName, String); 1], Vec<u8>), StatusCode> {
    let (encoder, mut text) = (TextEncoder::new(), Vec::new());
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => Ok(([(CONTENT_TYPE, encoder.format_type().to_owned())], text)),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
