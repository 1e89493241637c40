//! The composition root: clock, AWS, store, use-cases and services put together, started and stopped.

use crate::{
    app::App,
    config::{AdvisoryFeed, Config, Drain, Limits},
    domain::operation::{Kind, Operation, State},
    grpc,
    operation::Settings,
    store::{Place, Store},
    telemetry::metrics,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Access, Aws, Clock};
use patchplane_rules::Location;
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::Instant};
use tonic::{service::Routes, transport::server::TcpIncoming};

/// How often what is older than the retention is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How often the store is asked whether it answers, how long that may take, and how long it may be silent before callers
/// are sent elsewhere.
const ASK_STORE_EVERY: Duration = Duration::from_secs(5);
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const STORE_SILENT: Duration = Duration::from_secs(30);

/// How often the state of the work is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// A server with everything it needs; it answers once it is served.
pub struct Server {
    app: Arc<App>,
    entrance: Entrance,
    clock: Clock,
    drain: Drain,
    /// How long operations that have ended are kept; `None`: for ever.
    retention: Option<SignedDuration>,
}

/// Where callers come in. It answers for the server's health from the first moment, and lets callers in once a server has
/// started behind it. Clones are the same entrance.
#[derive(Clone)]
pub struct Entrance(grpc::Door);

/// How a server is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At first it only says that callers should go elsewhere.
    Gently,
    /// It takes nothing new at once.
    Soon,
}

impl Entrance {
    pub async fn new(limits: Limits) -> anyhow::Result<Self> {
        Ok(Self(grpc::Door::shut(limits).await?))
    }
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
        let entrance = Entrance::new(Limits::default()).await?;
        Box::pin(Self::start_behind(entrance, clock, locations, store, feeds, settings)).await
    }

    /// The same behind an entrance that may be served already; it lets callers in as soon as all is taken up.
    pub async fn start_behind(
        entrance: Entrance,
        clock: Clock,
        locations: BTreeMap<Location, Aws>,
        store: Store,
        feeds: Vec<AdvisoryFeed>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let app = App::new(clock.clone(), locations, store, settings)?.with_advisory_feeds(feeds);
        let app = Arc::new(app);
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
        entrance.0.open(Arc::clone(&app)).await?;
        Ok(Self { app, entrance, clock, drain: Drain::default(), retention: None })
    }

    /// While it serves, operations that have ended are forgotten so long after their beginning.
    pub fn keeping(self, retention: SignedDuration) -> Self {
        Self { retention: Some(retention), ..self }
    }

    pub fn draining(self, drain: Drain) -> Self {
        Self { drain, ..self }
    }

    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The services, for serving them over something else than a listener.
    pub fn routes(&self) -> Routes {
        self.entrance.0.routes()
    }

    /// Serves until `stop`, then drains.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = Stop>) -> anyhow::Result<()> {
        let entrance = self.entrance.clone();
        serve_behind(entrance, listener, async { Ok(self) }, stop).await
    }
}

/// Serves the entrance at once, and behind it the server that `start` makes. After `stop` it drains: health says
/// NOT_SERVING, and with [`Stop::Gently`] nothing else changes for the lame duck's time; then no connection is taken any
/// more and those that there are hear GOAWAY, waits and watches end, other calls and steps of operations finish, and what
/// was claimed is left to others.
pub async fn serve_behind(
    entrance: Entrance,
    listener: TcpListener,
    start: impl Future<Output = anyhow::Result<Server>>,
    stop: impl Future<Output = Stop>,
) -> anyhow::Result<()> {
    let Entrance(door) = entrance;
    let (told, tell) = tokio::sync::oneshot::channel::<()>();
    let limits = door.limits();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(limits.keepalive_interval));
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .max_connection_age(limits.connection_age)
        // One connection may carry all: beyond these the layers refuse, where HTTP/2 would let callers wait in silence.
        .max_concurrent_streams(u32::try_from(limits.concurrent_calls + limits.concurrent_streams).unwrap_or(u32::MAX))
        // Beyond what the layers refuse with a reason, so that they can.
        .http2_max_header_list_size(u32::try_from(limits.header_size.as_u64().saturating_mul(4)).unwrap_or(u32::MAX))
        .add_routes(door.routes())
        .serve_with_incoming_shutdown(incoming, async {
            tell.await.ok();
        });
    let (mut serving, mut stop) = (std::pin::pin!(serving), std::pin::pin!(stop));
    let server = tokio::select! {
        ended = &mut serving => return Ok(ended?),
        _ = &mut stop => return Ok(()),
        started = start => started?,
    };
    let Server { app, clock, drain, retention, .. } = server;
    let stop = tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = app.engine().sweep_for_ever() => Stop::Soon,
        () = forget_for_ever(app.store(), &clock, retention) => Stop::Soon,
        () = ask_store_for_ever(app.store(), &door) => Stop::Soon,
        () = measure_for_ever(&app, &clock) => Stop::Soon,
        stop = &mut stop => stop,
    };
    door.set_serving(false).await;
    if stop == Stop::Gently && !drain.lame_duck.is_zero() {
        tracing::info!(lame_duck_ms = drain.lame_duck.as_millis(), "callers are sent elsewhere");
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            () = tokio::time::sleep(drain.lame_duck) => {}
        }
    }
    tracing::info!("draining");
    app.drain();
    door.drain();
    drop(told);
    let (served, ()) =
        tokio::join!(tokio::time::timeout(drain.timeout, serving), app.engine().wind_down(drain.timeout));
    if served.is_err() {
        tracing::warn!("some calls did not finish in time");
    }
    // Others need not wait for the end of our claims.
    if let Err(error) = app.engine().release().await {
        tracing::warn!(%error, "the claims on operations last until their time is over");
    }
    app.store().close().await;
    tracing::info!("ended");
    Ok(())
}

/// Sends callers elsewhere while the store is silent, and back when it answers again. The process lives on meanwhile.
async fn ask_store_for_ever(store: &Store, door: &grpc::Door) {
    let mut answered = Instant::now();
    let mut ready = true;
    loop {
        tokio::time::sleep(ASK_STORE_EVERY).await;
        let answer = tokio::time::timeout(STORE_ANSWERS_WITHIN, store.check()).await;
        if matches!(answer, Ok(Ok(()))) {
            answered = Instant::now();
        }
        let silent = answered.elapsed() >= STORE_SILENT;
        if silent == ready {
            ready = !silent;
            door.set_ready(ready).await;
            if ready {
                tracing::info!("the store answers again");
            } else {
                tracing::error!("the store is silent, so callers are sent elsewhere");
            }
        }
    }
}

/// Measures what only a look at everything tells.
async fn measure_for_ever(app: &App, clock: &Clock) {
    loop {
        match app.store().under_way().await {
            Ok(under_way) => measure(&under_way, clock.now()),
            Err(error) => tracing::warn!(%error, "the store does not tell what is under way"),
        }
        for (location, swept) in app.engine().swept() {
            metrics::data_age(&location, clock.now().duration_since(swept).as_secs_f64());
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

fn measure(under_way: &[(Operation, Duration)], now: Timestamp) {
    let every = Kind::ALL.into_iter().flat_map(|kind| State::UNFINISHED.map(|state| (kind.as_str(), state.as_str())));
    let mut counts: BTreeMap<(&str, &str), u64> = every.map(|of| (of, 0)).collect();
    let mut stalled = Duration::ZERO;
    for (operation, unheld) in under_way {
        *counts.entry((operation.spec.kind.as_str(), operation.state.as_str())).or_default() += 1;
        let overdue = now.duration_since(operation.deadline).try_into().unwrap_or_default();
        stalled = stalled.max(*unheld).max(overdue);
    }
    for ((kind, state), count) in counts {
        metrics::operations_unfinished(kind, state, count);
    }
    metrics::operations_stalled(stalled.as_secs_f64());
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

/// Opens the store, and waits for a database that is not there yet.
pub async fn await_store(place: &Place) -> anyhow::Result<Store> {
    loop {
        match Store::open(place, None).await {
            Err(error) if error.passes() => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(store = %place, cause, "the store does not answer yet; it is asked again");
                tokio::time::sleep(ASK_STORE_EVERY).await;
            }
            opened => return opened.map_err(|error| anyhow::Error::new(error).context(cannot_be_opened(place))),
        }
    }
}

fn cannot_be_opened(place: &Place) -> String {
    format!("the store {place} cannot be opened")
}

/// Opens the store, saying which it was if that fails.
pub async fn open_store(place: impl Into<Place>) -> anyhow::Result<Store> {
    use anyhow::Context as _;
    let place = place.into();
    Store::open(&place, None).await.with_context(|| cannot_be_opened(&place))
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
