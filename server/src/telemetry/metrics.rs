//! The metrics, each with its name, its unit and all of its labels. docs/operating.md tells what to do about them.

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter},
};
use patchplane_rules::Location;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

/// Seconds, as the conventions for RPCs advise.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

struct Instruments {
    rpc: Histogram<f64>,
    shed: Counter<u64>,
    watchers: UpDownCounter<i64>,
    started: Counter<u64>,
    ended: Counter<u64>,
    targets: Counter<u64>,
    failures: Counter<u64>,
    dispatches: Counter<u64>,
    wait: Histogram<f64>,
    store: Histogram<f64>,
    unfinished: Gauge<u64>,
    stalled: Gauge<f64>,
    age: Gauge<f64>,
}

/// Made with the first use, which comes after telemetry was started.
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| Instruments::of(&global::meter("patchplane")));

impl Instruments {
    fn of(meter: &Meter) -> Self {
        let seconds = |name: &'static str, what: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_boundaries(BUCKETS.to_vec()).with_description(what).build()
        };
        let count = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let gauge =
            |name: &'static str, what: &'static str| meter.f64_gauge(name).with_unit("s").with_description(what);
        Self {
            rpc: seconds("rpc.server.call.duration", "How long calls take, streams to their end"),
            shed: count("patchplane.calls.shed", "Calls refused because too many were under way"),
            watchers: meter.i64_up_down_counter("patchplane.watchers").with_description("Open streams").build(),
            started: count("patchplane.operations.started", "Operations that were accepted"),
            ended: count("patchplane.operations.ended", "Operations that have ended"),
            targets: count("patchplane.targets.ended", "Targets of operations that have ended"),
            failures: count("patchplane.target.failures", "Targets that did not end well, by reason"),
            dispatches: count("patchplane.dispatches", "What became of commands that were to be sent"),
            wait: seconds("patchplane.location.wait", "How long work waits for its turn at a location"),
            store: seconds("patchplane.store.duration", "How long the store takes"),
            unfinished: meter
                .u64_gauge("patchplane.operations.unfinished")
                .with_description("Operations in the store that have not ended")
                .build(),
            stalled: gauge(
                "patchplane.operations.stalled",
                "How long nothing has changed of the operation that stands still longest",
            )
            .build(),
            age: gauge("patchplane.data.age", "Since when it is not known what others did at a location").build(),
        }
    }
}

/// A call that has ended, with the name of its status code.
pub(crate) fn rpc(method: &Arc<str>, code: &'static str, took: Duration) {
    let method = KeyValue::new("rpc.method", Arc::clone(method));
    let code = KeyValue::new("rpc.response.status_code", code);
    INSTRUMENTS.rpc.record(took.as_secs_f64(), &[KeyValue::new("rpc.system.name", "grpc"), method, code]);
}

pub(crate) fn shed() {
    INSTRUMENTS.shed.add(1, &[]);
}

/// So many watchers more, or fewer.
pub(crate) fn watchers(change: i64) {
    INSTRUMENTS.watchers.add(change, &[]);
}

pub(crate) fn operation_started(kind: &'static str) {
    INSTRUMENTS.started.add(1, &[KeyValue::new("kind", kind)]);
}

pub(crate) fn operation_ended(kind: &'static str, state: &'static str) {
    INSTRUMENTS.ended.add(1, &[KeyValue::new("kind", kind), KeyValue::new("state", state)]);
}

pub(crate) fn target_ended(kind: &'static str, state: &'static str) {
    INSTRUMENTS.targets.add(1, &[KeyValue::new("kind", kind), KeyValue::new("state", state)]);
}

/// `reason` is one of the stable codes.
pub(crate) fn target_failed(reason: &str) {
    INSTRUMENTS.failures.add(1, &[KeyValue::new("reason", reason.to_owned())]);
}

/// What became of a command: `sent`, `refused`, `unknown`, then `adopted`, `absent` or `unproven`; and `duplicate`.
pub(crate) fn dispatch(outcome: &'static str) {
    INSTRUMENTS.dispatches.add(1, &[KeyValue::new("outcome", outcome)]);
}

pub(crate) fn location_wait(location: &Location, took: Duration) {
    INSTRUMENTS.wait.record(took.as_secs_f64(), &at(location));
}

/// `access` is `read` or `write`; `outcome` is `ok`, `error` or `fenced`.
pub(crate) fn store(access: &'static str, outcome: &'static str, took: Duration) {
    let labels = [KeyValue::new("access", access), KeyValue::new("outcome", outcome)];
    INSTRUMENTS.store.record(took.as_secs_f64(), &labels);
}

pub(crate) fn operations_unfinished(kind: &'static str, state: &'static str, count: u64) {
    INSTRUMENTS.unfinished.record(count, &[KeyValue::new("kind", kind), KeyValue::new("state", state)]);
}

pub(crate) fn operations_stalled(seconds: f64) {
    INSTRUMENTS.stalled.record(seconds, &[]);
}

pub(crate) fn data_age(location: &Location, seconds: f64) {
    INSTRUMENTS.age.record(seconds, &at(location));
}

fn at(location: &Location) -> [KeyValue; 2] {
    [
        KeyValue::new("cloud.account.id", location.account.as_str().to_owned()),
        KeyValue::new("cloud.region", location.region.as_str().to_owned()),
    ]
}
