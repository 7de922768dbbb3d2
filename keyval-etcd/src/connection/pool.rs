//! What the calls and the tasks of one store share: its endpoints and the state of its connection.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use keyval::{ConnectionReporter, EndpointFailure};
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::connection::deadline::from_now;
use crate::connection::node::Node;
use crate::connection::nodes::Nodes;

/// For how long one that is not in doubt is waited for once one that is has answered.
const GRACE: Duration = Duration::from_millis(100);

/// The endpoints of one store.
pub(crate) struct Pool {
    /// None after closing, so that the connections end.
    nodes: RwLock<Option<Arc<Nodes>>>,
    pub(crate) states: ConnectionReporter,
    /// Wakes the task that looks after the connection; where there is none, calls alone tell the
    /// state.
    pub(crate) wake: Option<Arc<Notify>>,
    pub(crate) closing: CancellationToken,
    pub(crate) dial_timeout: Duration,
}

impl Pool {
    /// These endpoints, of which the current one has just answered.
    pub(crate) fn new(nodes: Nodes, watched: bool, dial_timeout: Duration) -> Self {
        Self {
            states: ConnectionReporter::connected_to(nodes.current().endpoint.clone()),
            nodes: RwLock::new(Some(Arc::new(nodes))),
            wake: watched.then(Arc::default),
            closing: CancellationToken::new(),
            dial_timeout,
        }
    }

    /// The endpoints as they are now; none once the store is closed.
    pub(crate) fn nodes(&self) -> Option<Arc<Nodes>> {
        self.nodes.read().clone()
    }

    /// Uses these endpoints from now on. What is under way at others goes on there.
    pub(crate) fn replace(&self, nodes: Nodes) {
        if let Some(held) = &mut *self.nodes.write() {
            *held = Arc::new(nodes);
        }
        if let Some(wake) = &self.wake {
            wake.notify_one();
        }
    }

    /// Asks this endpoint first from now on: it has answered a call for which others were left.
    pub(crate) fn prefer(&self, nodes: &Nodes, at: usize) {
        if nodes.prefer(at)
            && let Some(wake) = &self.wake
        {
            wake.notify_one();
        }
    }

    /// Notes that this endpoint answered a call that began then.
    pub(crate) fn answered(&self, node: &Node, began: Instant) {
        if node.health.is_sound() {
            return;
        }
        let was_up = node.health.is_up();
        node.health.succeeded(began);
        if was_up {
            return;
        }
        match &self.wake {
            Some(wake) => wake.notify_one(),
            None => self.states.connected(node.endpoint.clone()),
        }
    }

    /// Notes that this endpoint failed a call or ended a watch.
    pub(crate) fn failed(&self, node: &Node, cause: &str) {
        node.health.failed(cause);
        self.tell(node, cause);
    }

    /// Notes that this endpoint left a call without an answer.
    pub(crate) fn left_unanswered(&self, node: &Node, cause: &str) {
        node.health.left_unanswered(cause);
        self.tell(node, cause);
    }

    fn tell(&self, node: &Node, cause: &str) {
        match &self.wake {
            Some(wake) => wake.notify_one(),
            None => self
                .states
                .disconnected(vec![EndpointFailure::new(node.endpoint.clone(), cause)]),
        }
    }

    /// Ends the connections that nothing uses any more, and tells so.
    pub(crate) fn close(&self) {
        self.closing.cancel();
        drop(self.nodes.write().take());
        self.states.closed();
    }
}

/// The place of the endpoint that answers first, and its version. One that is in doubt is taken only
/// if no other answers soon after it, and of several that which has been so for longest.
///
/// # Errors
/// Why each does not answer, in their order.
///
/// # Cancel safety
/// Dropping the future asks no more.
pub(crate) async fn first_to_answer(
    nodes: &[Arc<Node>],
    within: Duration,
) -> Result<(usize, String), Vec<EndpointFailure>> {
    let mut asked: FuturesUnordered<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| async move { (at, node.ask(within).await) })
        .collect();
    let mut doubtful = Vec::new();
    let mut failures = Vec::new();
    // Each is asked for so long only; from the first that is in doubt on, there is less time.
    let mut until = None;
    while let Some((at, answered)) = by(until, asked.next()).await {
        match answered {
            Ok(version) => match nodes[at].health.doubt() {
                None => return Ok((at, version)),
                Some(doubt) => {
                    until.get_or_insert_with(|| from_now(GRACE));
                    doubtful.push((doubt.since, at, version));
                }
            },
            Err(cause) => failures.push((at, cause)),
        }
    }
    if let Some((_, at, version)) = doubtful.into_iter().min_by_key(|(since, ..)| *since) {
        return Ok((at, version));
    }
    failures.sort_unstable_by_key(|(at, _)| *at);
    Err(failures
        .into_iter()
        .map(|(at, cause)| EndpointFailure::new(nodes[at].endpoint.clone(), cause))
        .collect())
}

/// What comes until then, if it must come by a time.
async fn by<T>(until: Option<Instant>, next: impl Future<Output = Option<T>>) -> Option<T> {
    match until {
        Some(until) => timeout_at(until, next).await.ok().flatten(),
        None => next.await,
    }
}
