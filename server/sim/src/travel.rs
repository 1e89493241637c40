//! Requests on their way: what a fault does to the connection, and those that arrive later than they were sent.

use crate::{Simulation, World, clock::later, fault::FaultKind};
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
    /// It arrives after this time, whether its sender waits or not; the number is for [`Simulation::collect`].
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

    /// The answer to a request that travelled; `None` before it has arrived.
    pub(crate) fn collect(&self, ticket: u64) -> Option<Response<Bytes>> {
        self.present().0.traffic.answers.remove(&ticket)
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
