//! Turns at a location: so many steps at once, handed round among those who asked for the work, so that neither a slow
//! location holds up another one nor one caller's many operations another caller's only one.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// How many steps of operations are taken at a location at once.
const AT_ONCE: usize = 8;

/// The turns of one location. Clones share them.
#[derive(Clone)]
pub(super) struct Gate(Arc<Mutex<Queue>>);

struct Queue {
    free: usize,
    /// By principal, in the order of asking.
    waiting: BTreeMap<String, VecDeque<oneshot::Sender<Turn>>>,
    /// Whose turn was last handed on.
    last: String,
}

/// A turn, handed on when dropped.
pub(super) struct Turn(Gate);

impl Default for Gate {
    fn default() -> Self {
        Self::with(AT_ONCE)
    }
}

impl Gate {
    fn with(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue { free, waiting: BTreeMap::new(), last: String::new() })))
    }

    /// Waits for a turn.
    pub(super) async fn enter(&self, principal: &str) -> Turn {
        loop {
            let waiting = {
                let mut queue = self.queue();
                if queue.free > 0 {
                    queue.free -= 1;
                    return Turn(self.clone());
                }
                let (hand, wait) = oneshot::channel();
                queue.waiting.entry(principal.to_owned()).or_default().push_back(hand);
                wait
            };
            // The sender is dropped only after a turn was sent through it; otherwise one asks again.
            if let Ok(turn) = waiting.await {
                return turn;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Who is next: of the principal after the last one, in a circle.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let after = (Bound::Excluded(self.last.clone()), Bound::Unbounded);
            let principal = self.waiting.range(after).next().or_else(|| self.waiting.iter().next())?.0.clone();
            let line = self.waiting.get_mut(&principal)?;
            let first = line.pop_front();
            if line.is_empty() {
                self.waiting.remove(&principal);
            }
            self.last = principal;
            if let Some(hand) = first.filter(|hand| !hand.is_closed()) {
                return Some(hand);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.queue();
            let next = queue.next();
            if next.is_none() {
                queue.free += 1;
            }
            next
        };
        if let Some(hand) = next {
            // Refused by one who has just gone, it comes back here and is handed on.
            drop(hand.send(Turn(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, StreamExt as _};

    #[tokio::test]
    async fn nobody_waits_for_all_of_another_ones_crowd() {
        let gate = Gate::with(1);
        let first = gate.enter("a").await;
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = futures::stream::FuturesUnordered::new();
        for name in ["a", "a", "a", "b"] {
            let (gate, served) = (gate.clone(), Arc::clone(&served));
            waiting.push(async move {
                let turn = gate.enter(name).await;
                served.lock().unwrap().push(name);
                drop(turn);
            });
        }
        assert!(waiting.next().now_or_never().is_none(), "the only turn is taken");
        drop(first);
        while waiting.next().await.is_some() {}
        let served = served.lock().unwrap().clone();
        assert_eq!(served.len(), 4);
        assert!(served[..2].contains(&"b"), "{served:?}");
    }

    #[test]
    fn a_turn_passes_over_those_who_have_gone() {
        let gate = Gate::with(1);
        let first = gate.enter("a").now_or_never().unwrap();
        let mut gone = Box::pin(gate.enter("a"));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        drop(first);
        assert!(gate.enter("b").now_or_never().is_some());
    }
}
