//! Faults on request: what goes wrong, where, and how often.

use crate::dice::Dice;
use std::time::Duration;

/// Something that shall go wrong. Of the requests that match, the first `skip` go well and the next `times` meet it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `(account, region)`; `None` is everywhere.
    pub location: Option<(String, String)>,
    /// AWS's name, such as `SendCommand`; `None` is every operation.
    pub operation: Option<String>,
    pub skip: u32,
    /// `u32::MAX` is for ever.
    pub times: u32,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// ThrottlingException, in EC2 RequestLimitExceeded (S 3.1.1–2).
    Throttle,
    /// AccessDeniedException, in EC2 UnauthorizedOperation.
    Deny,
    /// InternalServerError with HTTP 500: no effect.
    ServerError,
    /// The same answer, although the request took effect.
    ServerErrorAfterEffect,
    /// The connection fails before the request leaves: no effect.
    Unreachable,
    /// The request leaves and the connection breaks before it arrives: no effect.
    LoseRequest,
    /// The request takes effect and the connection breaks before the answer arrives.
    LoseAnswer,
    /// The request takes effect; half of the answer's body arrives, under a good status.
    GarbleAnswer,
    /// The request travels that long (clock time) before it arrives, even if its sender gives up meanwhile: refused
    /// by then if its signature is too old.
    Delay(Duration),
    /// The request takes effect at once, and its answer travels that long.
    DelayAnswer(Duration),
}

/// The faults that were injected, and what decides whom they strike.
#[derive(Default)]
pub(crate) struct Faults {
    injected: Vec<Injected>,
    numbered: u64,
    /// How many requests met one.
    pub(crate) met: u64,
}

struct Injected {
    fault: Fault,
    number: u64,
    /// Of the requests that match, so many per cent meet it; `None` is each.
    percent: Option<f64>,
    /// How many requests it looked at.
    looked: u64,
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault, percent: Option<f64>) {
        self.injected.push(Injected { fault, number: self.numbered, percent, looked: 0 });
        self.numbered += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.injected.clear();
    }

    /// Finds the fault that a request meets, the oldest of several, and counts it.
    pub(crate) fn take(&mut self, seed: u64, account: &str, region: &str, operation: &str) -> Option<FaultKind> {
        let mut met = None;
        for injected in &mut self.injected {
            let fault = &mut injected.fault;
            let here = fault.location.as_ref().is_none_or(|(a, r)| a == account && r == region);
            if !here || fault.operation.as_ref().is_some_and(|o| o != operation) || fault.times == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            injected.looked += 1;
            let subject = ["fault", &injected.number.to_string(), &injected.looked.to_string()];
            let struck = injected.percent.is_none_or(|percent| Dice::new(seed, &subject).happens(percent));
            if !struck {
                continue;
            }
            if fault.times != u32::MAX {
                fault.times -= 1;
            }
            met = Some(fault.kind);
            self.met += 1;
            break;
        }
        self.injected.retain(|injected| injected.fault.times > 0);
        met
    }
}
