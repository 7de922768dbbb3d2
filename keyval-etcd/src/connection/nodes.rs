//! The endpoints of a store, and which of them to ask next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use crate::connection::health::Doubt;
use crate::connection::node::Node;

/// The endpoints as they are now; another list takes the place of this one as a whole.
pub(crate) struct Nodes {
    list: Vec<Arc<Node>>,
    /// The endpoint to ask first, which was the last to answer.
    current: AtomicUsize,
}

impl Nodes {
    /// These endpoints, of which there is at least one, and which of them to ask first.
    pub(crate) fn new(list: Vec<Arc<Node>>, current: usize) -> Self {
        Self {
            list,
            current: AtomicUsize::new(current),
        }
    }

    pub(crate) fn all(&self) -> &[Arc<Node>] {
        &self.list
    }

    pub(crate) fn get(&self, at: usize) -> &Arc<Node> {
        &self.list[at]
    }

    /// The endpoint to ask first.
    pub(crate) fn current(&self) -> &Arc<Node> {
        &self.list[self.current.load(Ordering::Relaxed)]
    }

    /// Asks this endpoint first from now on; returns whether another was before.
    pub(crate) fn prefer(&self, at: usize) -> bool {
        // Every call comes here, and nearly none changes anything.
        self.current.load(Ordering::Relaxed) != at && self.current.swap(at, Ordering::Relaxed) != at
    }

    /// Asks another endpoint than this one first from now on, if it was the first and one is there
    /// that did not fail lately.
    pub(crate) fn leave(&self, at: usize) {
        let now = Instant::now();
        let other = self.behind(at).skip(1).filter(|&other| {
            let health = &self.list[other].health;
            health.avoid_until(now).is_none()
        });
        // The first of equals: those of which good is known, then those of which nothing bad is.
        let better = other.min_by_key(|&other| {
            let health = &self.list[other].health;
            (since(health.doubt()), !health.is_up())
        });
        if let Some(better) = better {
            // Unless some other call has changed it meanwhile.
            let _ = self
                .current
                .compare_exchange(at, better, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The endpoint to ask after these: the current one, then those behind it, but such as are in
    /// doubt only after the others, that which has been so for longest first, and such as failed
    /// lately only after those, the one that waits shortest first. None if all were asked.
    pub(crate) fn next(&self, asked: &[usize]) -> Option<usize> {
        let current = self.current.load(Ordering::Relaxed);
        if asked.is_empty() && self.list[current].health.is_sound() {
            return Some(current);
        }
        let now = Instant::now();
        self.behind(current)
            .filter(|at| !asked.contains(at))
            // The first of equals; to be avoided until none is less than until any time.
            .min_by_key(|&at| {
                let health = &self.list[at].health;
                (health.avoid_until(now), since(health.doubt()))
            })
    }

    /// This endpoint, those behind it, and then those before it.
    fn behind(&self, at: usize) -> impl Iterator<Item = usize> {
        (at..self.list.len()).chain(0..at)
    }

    /// Whether there is an endpoint beside this one, not asked yet, that did not fail lately.
    pub(crate) fn has_another(&self, at: usize, asked: &[usize]) -> bool {
        if self.list.len() - asked.len() < 2 {
            return false;
        }
        let now = Instant::now();
        (0..self.list.len()).any(|other| {
            other != at
                && !asked.contains(&other)
                && self.list[other].health.avoid_until(now).is_none()
        })
    }
}

/// By which of two endpoints that are in doubt the one is asked first that may be well again; one that
/// is not in doubt is before both.
fn since(doubt: Option<Doubt>) -> Option<Instant> {
    doubt.map(|doubt| doubt.since)
}
