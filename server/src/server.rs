//! The composition root: clock, AWS, store, use-cases and services put together, started and stopped.

use crate::{
    app::App,
    config::{AdvisoryFeed, Config},
    grpc,
    operation::Settings,
    store::{Place, Store},
};
use jiff::SignedDuration;
use patchplane_aws::{Access, Aws, Clock};
use patchplane_rules::Location;
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;

/// How long calls under way may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How often what is older than the retention is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A server with everything it needs; it answers once it is served.
pub struct Server {
    app: Arc<App>,
    routes: Routes,
    health: grpc::Health,
    clock: Clock,
    /// How long operations that have ended are kept; `None`: for ever.
    retention: Option<SignedDuration>,
}

impl Server {
    /// Puts a server together and takes up unfinished operations.
    pub async fn start(clock: Clock, locations: BTreeMap<Location, Aws>, store: Store) -> anyhow::Result<Self> {
        Self::start_with(clock, locations, store, Vec::new(), Settings::default()).await
    }

    /// The same, with advisory files for previews of baselines, and the engine's settings.
    pub async fn start_with(
        clock: Clock,
        locations: BTreeMap<Location, Aws>,
        store: Store,
        feeds: Vec<AdvisoryFeed>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let app = App::new(clock.clone(), locations, store, settings)?.with_advisory_feeds(feeds);
        let app = Arc::new(app);
        let (routes, health) = grpc::routes(Arc::clone(&app))?;
        // Behind a pointer of no particular type: many layers of calls are more than the compiler looks through.
        let recovery: Pin<Box<dyn Future<Output = crate::Result<()>> + Send>> = Box::pin({
            let app = Arc::clone(&app);
            async move { app.recover_schedules().await }
        });
        recovery.await?;
        let recovered = app.engine().recover().await?;
        if recovered > 0 {
            tracing::info!(operations = recovered, "unfinished operations go on");
        }
        health.set_serving(true).await;
        Ok(Self { app, routes, health, clock, retention: None })
    }

    /// While it serves, operations that have ended are forgotten so long after their beginning.
    pub fn keeping(self, retention: SignedDuration) -> Self {
        Self { retention: Some(retention), ..self }
    }

    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The services, for serving them over something else than a listener.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// Serves until `stop`, then drains: health says NOT_SERVING, waits and watches end, other calls finish.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (told, tell) = tokio::sync::oneshot::channel::<()>();
        let Self { app, routes, health, clock, retention } = self;
        let serving = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                tell.await.ok();
            });
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            () = app.engine().sweep_for_ever() => {}
            () = forget_for_ever(app.store(), &clock, retention) => {}
            () = stop => {}
        }
        health.set_serving(false).await;
        app.drain();
        drop(told);
        if tokio::time::timeout(DRAIN, serving).await.is_err() {
            tracing::warn!("some calls did not finish in time");
        }
        // Others need not wait for the end of our claims.
        if let Err(error) = app.engine().release().await {
            tracing::warn!(%error, "the claims on operations last until their time is over");
        }
        app.store().close().await;
        Ok(())
    }
}

async fn forget_for_ever(store: &Store, clock: &Clock, retention: Option<SignedDuration>) {
    let Some(retention) = retention else { return std::future::pending().await };
    loop {
        let forgotten = match clock.now().checked_sub(retention) {
            Ok(before) => store.forget(before).await,
            Err(_) => Ok(0),
        };
        match forgotten {
            Ok(0) => {}
            Ok(operations) => tracing::info!(operations, "old operations are forgotten"),
            Err(error) => tracing::warn!(%error, "old operations cannot be forgotten at the moment"),
        }
        clock.sleep(FORGET_EVERY).await;
    }
}

/// AWS as the configuration says, by this clock.
pub async fn connect(config: &Config, clock: &Clock) -> anyhow::Result<BTreeMap<Location, Aws>> {
    let access = Access { clock: clock.clone(), http: None, endpoint_url: config.aws_endpoint_url.clone() };
    let mut locations = BTreeMap::new();
    for location in &config.locations {
        let aws = Aws::connect(&access, location.location(), &location.credentials()).await?;
        locations.insert(location.location(), aws);
    }
    Ok(locations)
}

/// Opens the store, saying which it was if that fails.
pub async fn open_store(place: impl Into<Place>) -> anyhow::Result<Store> {
    use anyhow::Context as _;
    let place = place.into();
    Store::open(&place, None).await.with_context(|| format!("the store {place} cannot be opened"))
}

/// The simulated account behind the real SDK.
#[cfg(feature = "simulated")]
pub mod simulated {
    use super::{Access, Aws, BTreeMap, Clock, Location};
    use patchplane_aws::{Credentials, SharedAsyncSleep, SharedTimeSource};
    use patchplane_sim::{SimClock, Simulation};
    use std::path::Path;

    /// The two accounts and two Regions of the showcase.
    pub const LOCATIONS: [(&str, &str); 4] = [
        ("111122223333", "eu-central-1"),
        ("111122223333", "us-east-1"),
        ("444455556666", "eu-central-1"),
        ("444455556666", "us-east-1"),
    ];

    /// When the showcase's clock starts, and how many seconds it counts in one.
    pub const START: &str = "2025-11-24T00:00:00Z";
    pub const SPEED: f64 = 60.0;

    /// What a server of the showcase is configured with, when nobody says otherwise; its store is in this folder.
    pub fn configuration(folder: &Path) -> String {
        let store = folder.join("patchplane.db");
        let tables =
            LOCATIONS.map(|(account, region)| format!("[[locations]]\naccount = {account:?}\nregion = {region:?}\n"));
        format!("store = {store:?}\n{}", tables.concat())
    }

    /// The clock of a simulation, for SDK and engine.
    pub fn clock(clock: &SimClock) -> Clock {
        Clock::new(SharedTimeSource::new(clock.clone()), SharedAsyncSleep::new(clock.clone()))
    }

    /// The showcase, running `speed` times as fast as life.
    pub fn showcase(speed: f64) -> anyhow::Result<Simulation> {
        Ok(Simulation::showcase(SimClock::scaled(START.parse()?, speed), 1))
    }

    /// Empty accounts for callers from outside, whose clock is the system's. Theirs starts there, too.
    pub fn on_real_time(seed: u64, speed: f64) -> Simulation {
        let now = Clock::system().now();
        let simulation = Simulation::new(SimClock::scaled(now, speed), seed);
        simulation.accept_signatures_by(SimClock::scaled(now, 1.0));
        simulation
    }

    /// The simulation's locations through the SDK.
    pub async fn connect(simulation: &Simulation) -> anyhow::Result<(Clock, BTreeMap<Location, Aws>)> {
        let clock = clock(simulation.clock());
        let access = Access { clock: clock.clone(), http: Some(simulation.http_client()), endpoint_url: None };
        let mut locations = BTreeMap::new();
        for (account, region) in LOCATIONS {
            let location = Location::new(account, region)?;
            let credentials = Credentials::Static {
                access_key_id: Simulation::access_key(account),
                secret_access_key: "simulated".to_owned(),
            };
            locations.insert(location.clone(), Aws::connect(&access, location, &credentials).await?);
        }
        Ok((clock, locations))
    }
}
