//! Requests on their way: what a fault does to the connection, and those that arrive later than they were sent.

use crate::{Simulation, World, clock::later, fault::FaultKind};
use aws_smithy_async::rt::sleep::AsyncSleep as _;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use std::{collections::BTreeMap, time::Duration};

/// What becomes of a request when it is sent.
pub(crate) enum Sent {
    Answered(Response<Bytes>),
    /// It never left.
    Refused,
    /// It left, and no answer comes back: it was lost before its effect, or the answer after it.
    Broken,
    /// It took effect, and the answer comes back after this time.
    Late(Response<Bytes>, Duration),
    /// It arrives after this time, whether its sender waits or not; the number is for [`Simulation::arrival`].
    Travelling(u64, Duration),
}

#[derive(Default)]
pub(crate) struct Traffic {
    travelling: BTreeMap<(Timestamp, u64), Request<Bytes>>,
    answers: BTreeMap<u64, Response<Bytes>>,
    sent: u64,
}

impl Simulation {
    pub(crate) fn send(&self, request: Request<Bytes>) -> Sent {
        let (mut world, now) = self.present();
        match world.meet_fault(&request) {
            Some(FaultKind::Unreachable) => Sent::Refused,
            Some(FaultKind::LoseRequest) => Sent::Broken,
            Some(FaultKind::Delay(by)) => {
                let ticket = world.traffic.sent;
                world.traffic.sent += 1;
                world.traffic.travelling.insert((later(now, by), ticket), request);
                Sent::Travelling(ticket, by)
            }
            fault => {
                let response = world.respond(&request, fault, now);
                match fault {
                    Some(FaultKind::LoseAnswer) => Sent::Broken,
                    Some(FaultKind::DelayAnswer(by)) => Sent::Late(response, by),
                    Some(FaultKind::GarbleAnswer) => Sent::Answered(response.map(|body| body.slice(..body.len() / 2))),
                    _ => Sent::Answered(response),
                }
            }
        }
    }

    /// Awaits the arrival of a request that travels, and its answer; `None` if it is on its way no more.
    pub(crate) async fn arrival(&self, ticket: u64, mut wait: Duration) -> Option<Response<Bytes>> {
        loop {
            self.clock().sleep(wait).await;
            let (mut world, _) = self.present();
            if let Some(response) = world.traffic.answers.remove(&ticket) {
                return Some(response);
            }
            if !world.traffic.travelling.keys().any(|(_, travelling)| *travelling == ticket) {
                return None;
            }
            wait = Duration::from_millis(1);
        }
    }
}

impl Traffic {
    /// Without what is on its way.
    pub(crate) fn cleared(&self) -> Self {
        Self { sent: self.sent, ..Self::default() }
    }
}

impl World {
    /// Carries out what has arrived until now, each at its time.
    pub(crate) fn arrive(&mut self, now: Timestamp) {
        while let Some(entry) = self.traffic.travelling.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, ticket), request) = entry.remove_entry();
            let response = self.respond(&request, None, at);
            self.traffic.answers.insert(ticket, response);
        }
    }
}
