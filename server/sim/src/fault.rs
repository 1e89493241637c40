//! Faults on request: what goes wrong, where, and how often.

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
    /// InternalServerError with HTTP 500.
    ServerError,
    /// The connection fails before the request arrives: no effect.
    Unreachable,
    /// The request takes effect and the connection breaks before the answer arrives.
    LoseAnswer,
    /// The request travels that long (clock time) before it arrives, even if its sender gives up meanwhile.
    Delay(Duration),
}

/// Finds the fault that a request meets, and counts it.
pub(crate) fn take(faults: &mut Vec<Fault>, account: &str, region: &str, operation: &str) -> Option<FaultKind> {
    for (index, fault) in faults.iter_mut().enumerate() {
        let here = fault.location.as_ref().is_none_or(|(a, r)| a == account && r == region);
        if !here || fault.operation.as_ref().is_some_and(|o| o != operation) || fault.times == 0 {
            continue;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        let kind = fault.kind;
        if fault.times != u32::MAX {
            fault.times -= 1;
            if fault.times == 0 {
                faults.remove(index);
            }
        }
        return Some(kind);
    }
    None
}
