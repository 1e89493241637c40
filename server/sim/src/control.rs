//! What whoever plays fate asks of the simulation over HTTP, at the paths under `/_sim/`: JSON in, JSON out.
//!
//! | path | body | what it does |
//! | --- | --- | --- |
//! | `GET health` | | says that it serves, its time and what there is |
//! | `POST reset` | `{"seed"}` | everything is as new: no instances, no faults |
//! | `POST seed` | `{"instances", "nodes": [..]}` | makes instances, so many of a mixed fleet or as described, and names them |
//! | `POST advance` | `{"seconds"}` | moves the clock on |
//! | `POST faults` | `{"faults": [..], "nodes": [..], "lags": [..]}` | lets requests, nodes and lists go wrong |
//! | `DELETE faults` | | no fault strikes any more; nodes and lags stay |
//! | `POST files` | `{"files": {url: content}}` | lets nodes fetch override lists and baselines; null takes one away |
//! | `POST throttling` | `{"on"}` | whether the published rates bind |
//! | `GET installs` | | how many runs of each kind each node's agent began, and its reboots |
//! | `GET requests` | | how many requests arrived, by operation |
//!
//! Wherever `account` and `region` may be given they are 123456789012 and us-east-1 if only the other is.

use crate::{DEFAULT_ACCOUNT, Fault, FaultKind, NodeSpec, SimLocation, Simulation, Trouble};
use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

const REGION: &str = "us-east-1";
const MOST_INSTANCES: usize = 10_000;

type Refusal = (StatusCode, String);

pub(crate) fn answer(simulation: &Simulation, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
    let answer = match (method.as_str(), path) {
        ("GET", "health") => Ok(health(simulation)),
        ("POST", "reset") => read(body).map(|reset: Reset| simulation.reset(reset.seed)).map(|()| json!({})),
        ("POST", "seed") => read(body).and_then(|seed: Seed| seed.make(simulation)),
        ("POST", "advance") => read(body).and_then(|by: Advance| {
            simulation.clock().advance(seconds(by.seconds)?);
            Ok(json!({ "time": simulation.clock().now().to_string() }))
        }),
        ("POST", "faults") => read(body).and_then(|faults: Faults| faults.inject(simulation)),
        ("DELETE", "faults") => {
            simulation.clear_faults();
            Ok(json!({}))
        }
        ("POST", "files") => read(body).and_then(|files: Files| files.put(simulation)),
        ("POST", "throttling") => read(body).map(|throttling: Throttling| {
            simulation.throttle(throttling.on);
            json!({})
        }),
        ("GET", "installs") => Ok(installs(simulation)),
        ("GET", "requests") => Ok(requests(simulation)),
        (_, "health" | "reset" | "seed" | "advance" | "faults" | "files" | "throttling" | "installs" | "requests") => {
            Err((StatusCode::METHOD_NOT_ALLOWED, format!("{method} is nothing that /_sim/{path} knows")))
        }
        _ => {
            let paths = "health, reset, seed, advance, faults, files, throttling, installs, requests";
            Err((StatusCode::NOT_FOUND, format!("there is no /_sim/{path}, only: {paths}")))
        }
    };
    match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err((status, error)) => (status, json!({ "error": error })),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

fn seconds(seconds: f64) -> Result<Duration, Refusal> {
    let odd = |_| (StatusCode::BAD_REQUEST, format!("{seconds} is no number of seconds"));
    Duration::try_from_secs_f64(seconds).map_err(odd)
}

/// The account and Region that are meant.
fn names(account: Option<&str>, region: Option<&str>) -> Result<(String, String), Refusal> {
    let location = patchplane_rules::Location::new(account.unwrap_or(DEFAULT_ACCOUNT), region.unwrap_or(REGION));
    let location = location.map_err(|invalid| (StatusCode::BAD_REQUEST, invalid.to_string()))?;
    Ok((location.account.to_string(), location.region.to_string()))
}

fn location(simulation: &Simulation, account: Option<&str>, region: Option<&str>) -> Result<SimLocation, Refusal> {
    names(account, region).map(|(account, region)| simulation.at(&account, &region))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    seed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seed {
    account: Option<String>,
    region: Option<String>,
    #[serde(default)]
    instances: usize,
    #[serde(default)]
    nodes: Vec<NodeSpec>,
}

impl Seed {
    fn make(self, simulation: &Simulation) -> Result<Value, Refusal> {
        let location = location(simulation, self.account.as_deref(), self.region.as_deref())?;
        if self.instances + self.nodes.iter().map(NodeSpec::count).sum::<usize>() > MOST_INSTANCES {
            return Err((StatusCode::BAD_REQUEST, format!("at most {MOST_INSTANCES} instances at a time")));
        }
        let mut ids = location.populate(self.instances);
        for node in &self.nodes {
            ids.extend(location.add(node).create());
        }
        Ok(json!({ "instance_ids": ids }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    #[serde(default)]
    faults: Vec<FaultSpec>,
    #[serde(default)]
    nodes: Vec<NodeTrouble>,
    #[serde(default)]
    lags: Vec<Lags>,
}

/// A [`Fault`]: everywhere, unless a place is said; once, unless `times` is (0: for ever).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultSpec {
    account: Option<String>,
    region: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    skip: u32,
    #[serde(default = "once")]
    times: u32,
    /// Of the requests that match; unset, all.
    percent: Option<f64>,
    kind: Kind,
    /// For delays.
    seconds: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Throttle,
    Deny,
    ServerError,
    ServerErrorAfterEffect,
    Unreachable,
    LoseRequest,
    LoseAnswer,
    GarbleAnswer,
    Delay,
    DelayAnswer,
}

fn once() -> u32 {
    1
}

/// What goes wrong on a node: [`Trouble`] as its name, or `{"back_after": seconds}`, `{"patch_fails": "curl.x86_64"}`; null
/// ends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTrouble {
    account: Option<String>,
    region: Option<String>,
    instance_id: String,
    trouble: Option<Trouble>,
    /// Whether it boots now, if it is away.
    #[serde(default)]
    comes_back: bool,
}

/// What nodes can fetch, by URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    account: Option<String>,
    region: Option<String>,
    files: BTreeMap<String, Option<String>>,
}

impl Files {
    fn put(self, simulation: &Simulation) -> Result<Value, Refusal> {
        let location = location(simulation, self.account.as_deref(), self.region.as_deref())?;
        self.files.into_iter().for_each(|(url, content)| location.put_file(&url, content));
        Ok(json!({}))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Throttling {
    on: bool,
}

/// How long something takes until it is shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lags {
    account: Option<String>,
    region: Option<String>,
    commands_seconds: Option<f64>,
    compliance_seconds: Option<f64>,
    windows_seconds: Option<f64>,
}

impl Faults {
    /// All of it, or nothing if any of it is wrong.
    fn inject(self, simulation: &Simulation) -> Result<Value, Refusal> {
        let faults = self.faults.into_iter().map(FaultSpec::fault).collect::<Result<Vec<_>, _>>()?;
        let lags = self.lags.into_iter().map(|lags| lags.read(simulation)).collect::<Result<Vec<_>, _>>()?;
        let find = |node: NodeTrouble| {
            let location = location(simulation, node.account.as_deref(), node.region.as_deref())?;
            match location.has(&node.instance_id) {
                true => Ok((location, node)),
                false => Err((StatusCode::BAD_REQUEST, format!("there is no instance {}", node.instance_id))),
            }
        };
        let nodes = self.nodes.into_iter().map(find).collect::<Result<Vec<_>, _>>()?;
        for (fault, percent) in faults {
            match percent {
                Some(percent) => simulation.inject_by_chance(fault, percent),
                None => simulation.inject(fault),
            }
        }
        for (location, [commands, compliance, windows]) in lags {
            commands.into_iter().for_each(|lag| location.commands_appear_after(lag));
            compliance.into_iter().for_each(|lag| location.compliance_appears_after(lag));
            windows.into_iter().for_each(|lag| location.windows_appear_after(lag));
        }
        for (location, node) in nodes {
            location.trouble(&node.instance_id, node.trouble);
            if node.comes_back {
                location.comes_back(&node.instance_id);
            }
        }
        Ok(json!({}))
    }
}

impl FaultSpec {
    fn fault(self) -> Result<(Fault, Option<f64>), Refusal> {
        let delay = || {
            let lacking = || (StatusCode::BAD_REQUEST, "a delay needs `seconds`".to_owned());
            seconds(self.seconds.ok_or_else(lacking)?)
        };
        let kind = match self.kind {
            Kind::Throttle => FaultKind::Throttle,
            Kind::Deny => FaultKind::Deny,
            Kind::ServerError => FaultKind::ServerError,
            Kind::ServerErrorAfterEffect => FaultKind::ServerErrorAfterEffect,
            Kind::Unreachable => FaultKind::Unreachable,
            Kind::LoseRequest => FaultKind::LoseRequest,
            Kind::LoseAnswer => FaultKind::LoseAnswer,
            Kind::GarbleAnswer => FaultKind::GarbleAnswer,
            Kind::Delay => FaultKind::Delay(delay()?),
            Kind::DelayAnswer => FaultKind::DelayAnswer(delay()?),
        };
        let (account, region) = (self.account.as_deref(), self.region.as_deref());
        let said = account.is_some() || region.is_some();
        let fault = Fault {
            location: said.then(|| names(account, region)).transpose()?,
            operation: self.operation,
            skip: self.skip,
            times: if self.times == 0 { u32::MAX } else { self.times },
            kind,
        };
        Ok((fault, self.percent))
    }
}

impl Lags {
    fn read(self, simulation: &Simulation) -> Result<(SimLocation, [Option<Duration>; 3]), Refusal> {
        let location = location(simulation, self.account.as_deref(), self.region.as_deref())?;
        let duration = |lag: Option<f64>| lag.map(seconds).transpose();
        let [commands, compliance, windows] =
            [self.commands_seconds, self.compliance_seconds, self.windows_seconds].map(duration);
        Ok((location, [commands?, compliance?, windows?]))
    }
}

fn health(simulation: &Simulation) -> Value {
    json!({
        "status": "serving",
        "time": simulation.clock().now().to_string(),
        "seed": simulation.seed(),
        "instances": simulation.counts().len(),
    })
}

fn installs(simulation: &Simulation) -> Value {
    let counts = simulation.counts();
    let most = counts.iter().map(|node| node.installs).max().unwrap_or(0);
    json!({ "nodes": counts, "most": most })
}

fn requests(simulation: &Simulation) -> Value {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for request in simulation.requests() {
        *counts.entry(request.operation).or_default() += 1;
    }
    json!(counts)
}
