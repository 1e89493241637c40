//! The door: there from the first moment, so that health can be asked; open once the server has taken up its work.

use super::{SERVICES, layers, methods::Methods, services};
use crate::{Error, app::App, config::Limits};
use axum::{
    Router,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use tonic::{Status, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt as _;

/// What `liveness` says: the process answers. It says so until its end, also while it drains.
const LIVENESS: &str = "liveness";

/// What `readiness` says: callers may be sent here.
const READINESS: &str = "readiness";

/// The door of one server. Clones are the same door.
#[derive(Clone)]
pub(crate) struct Door {
    inside: Arc<OnceLock<Router>>,
    health: HealthReporter,
    routes: Routes,
    limits: Limits,
    draining: watch::Sender<bool>,
}

impl Door {
    /// A door that is shut: it answers for its health, and everything else with SERVER_STARTING.
    pub(crate) async fn shut(limits: Limits) -> anyhow::Result<Self> {
        let (health, service) = tonic_health::server::health_reporter();
        let (inside, draining) = (Arc::new(OnceLock::new()), watch::Sender::new(false));
        let inner = Arc::clone(&inside);
        let outside = Routes::new(service).into_axum_router().fallback(move |request| enter(inner, request));
        let routes = layers::around(outside, Methods::served()?, limits, draining.subscribe()).into();
        let door = Self { inside, health, routes, limits, draining };
        door.health.set_service_status(LIVENESS, ServingStatus::Serving).await;
        door.set_serving(false).await;
        Ok(door)
    }

    /// Lets callers in, to these use-cases. A second time changes nothing.
    pub(crate) async fn open(&self, app: Arc<App>) -> anyhow::Result<()> {
        let message_size = usize::try_from(self.limits.message_size.as_u64())?;
        self.inside.set(services(app, message_size)?).ok();
        self.set_serving(true).await;
        Ok(())
    }

    /// Ends what watches the health or asks for reflection: it has no end of its own.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Says whether callers may be sent here, of the server as a whole, under the empty name, as `readiness`, and of each
    /// service.
    pub(crate) async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES.into_iter().chain(["", READINESS]) {
            self.health.set_service_status(service, status).await;
        }
    }

    /// The same of `readiness` alone: balancers turn away, and who comes all the same is told why.
    pub(crate) async fn set_ready(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.health.set_service_status(READINESS, status).await;
    }

    pub(crate) fn routes(&self) -> Routes {
        self.routes.clone()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }
}

async fn enter(inside: Arc<OnceLock<Router>>, request: Request) -> Response {
    match inside.get() {
        None => Status::from(Error::Starting).into_http(),
        Some(services) => services.clone().oneshot(request).await.into_response(),
    }
}
