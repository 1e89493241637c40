//! What every call passes before its handler, whichever it is: it is told of (`tell`), and bounded (`bound`).

mod body;
mod bound;
mod tell;

use super::methods::Methods;
use crate::config::Limits;
use axum::{Router, middleware::from_fn_with_state};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Puts the layers around the services: outermost what tells, so that it also tells of what is refused.
pub(super) fn around(services: Router, methods: Methods, limits: Limits, draining: watch::Receiver<bool>) -> Router {
    let bounds = bound::Bounds {
        methods: methods.clone(),
        limits,
        calls: Arc::new(Semaphore::new(limits.concurrent_calls)),
        streams: Arc::new(Semaphore::new(limits.concurrent_streams)),
    };
    services
        .layer(from_fn_with_state(bounds, bound::bound))
        .layer(from_fn_with_state(tell::Teller { methods, draining }, tell::tell))
}
