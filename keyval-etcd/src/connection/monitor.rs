//! Looks after the connection of a store, so that its state is true also when nothing is called.

use std::sync::Arc;
use std::time::Duration;

use keyval::BackoffPolicy;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::connection::carrier::carry;
use crate::connection::channel::Channel;
use crate::connection::node::Node;
use crate::connection::pool::{Pool, first_to_answer};

/// The first bound of the wait between attempts to connect again, and the greatest: all watches of the
/// store wait for these attempts, and nothing else makes any.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// An endpoint that has answered, and whatever becomes of its connection since.
pub(crate) struct Held {
    node: Arc<Node>,
    channel: Channel,
    events: watch::Receiver<u64>,
}

impl Held {
    /// Holds an endpoint from now on; none if it is not ours to look after.
    pub(crate) fn new(node: &Arc<Node>) -> Option<Self> {
        let line = node.line.as_ref()?;
        Some(Self {
            node: node.clone(),
            channel: line.channel.clone(),
            events: line.lines.events(),
        })
    }
}

/// Tells the end of the connection and connects again, until the store is closed.
pub(crate) async fn look_after(pool: Arc<Pool>, wake: Arc<Notify>, held: Held) {
    let closing = pool.closing.clone();
    closing
        .run_until_cancelled(keep_connected(&pool, &wake, held))
        .await;
}

async fn keep_connected(pool: &Pool, wake: &Notify, mut held: Held) {
    loop {
        let carried = carry(held.channel.clone());
        let parted = tokio::select! {
            // The end of the connection before that of the stream on it.
            biased;
            parted = until_parted(pool, wake, &mut held) => parted,
            never = carried => match never {},
        };
        if matches!(parted, Parted::Left)
            && let Some(other) = take_over(pool, &held).await
        {
            pool.states.moved(other.node.endpoint.clone());
            info!(left = %held.node.endpoint, endpoint = %other.node.endpoint, "calls to etcd go to another endpoint");
            held = other;
            continue;
        }
        let node = &held.node;
        pool.states
            .disconnected(node.failure().into_iter().collect());
        warn!(endpoint = %node.endpoint, cause = node.health.cause().as_deref(), "lost the connection to etcd");
        let Some(again) = connect_again(pool, wake).await else {
            return;
        };
        held = again;
        info!(endpoint = %held.node.endpoint, "connected to etcd again");
    }
}

/// Why an endpoint is not held any more.
enum Parted {
    /// The connection ended, or it does not answer.
    Lost,
    /// Calls go to another.
    Left,
}

/// Waits until the connection ends, the endpoint does not answer, or calls have left it.
async fn until_parted(pool: &Pool, wake: &Notify, held: &mut Held) -> Parted {
    let node = &held.node;
    let mut stirred = !node.health.is_up();
    while is_current(pool, node) {
        // A call has failed, or went elsewhere.
        if stirred {
            if node.ask(pool.dial_timeout).await.is_err() {
                return Parted::Lost;
            }
            if node.health.doubt().is_some() && prefer_another(pool, node).await {
                break;
            }
        }
        tokio::select! {
            biased;
            _ = held.events.changed() => return Parted::Lost,
            () = wake.notified() => stirred = true,
        }
    }
    match held.events.has_changed() {
        Ok(false) => Parted::Left,
        // The connection has ended, too.
        Ok(true) | Err(_) => Parted::Lost,
    }
}

/// Leaves an endpoint that is in doubt if another answers that is not; says whether it did.
async fn prefer_another(pool: &Pool, node: &Arc<Node>) -> bool {
    let Some(nodes) = pool.nodes().filter(|nodes| nodes.all().len() > 1) else {
        return false;
    };
    match first_to_answer(nodes.all(), pool.dial_timeout).await {
        Ok((at, _)) if nodes.get(at).health.doubt().is_none() => {
            Arc::ptr_eq(nodes.current(), node) && nodes.prefer(at)
        }
        _ => false,
    }
}

/// Holds the endpoint that calls go to now, if it answers: then nothing was out of reach meanwhile.
async fn take_over(pool: &Pool, left: &Held) -> Option<Held> {
    let nodes = pool.nodes()?;
    let node = nodes.current();
    if Arc::ptr_eq(node, &left.node) || node.ask(pool.dial_timeout).await.is_err() {
        return None;
    }
    // Only now, as asking may open the connection; and before its health is looked at, so that no
    // end of it is missed.
    let held = Held::new(node)?;
    node.health.is_up().then_some(held)
}

fn is_current(pool: &Pool, node: &Arc<Node>) -> bool {
    pool.nodes()
        .is_some_and(|nodes| Arc::ptr_eq(nodes.current(), node))
}

/// Waits until an endpoint answers; none once the store is closed.
async fn connect_again(pool: &Pool, wake: &Notify) -> Option<Held> {
    let mut backoff = BackoffPolicy::default()
        .with_initial(FIRST_WAIT)
        .with_max(LONGEST_WAIT)
        .start();
    loop {
        let nodes = pool.nodes()?;
        if !nodes.current().health.is_up() {
            match first_to_answer(nodes.all(), pool.dial_timeout).await {
                Ok((at, _)) => {
                    nodes.prefer(at);
                }
                Err(causes) => pool.states.disconnected(causes),
            }
        }
        // Held before its health is looked at, and both before anyone is told: so that no end of
        // the connection is missed.
        let held = Held::new(nodes.current())?;
        if held.node.health.is_up() {
            pool.states.connected(held.node.endpoint.clone());
            return Some(held);
        }
        let until = Instant::now() + backoff.next_wait();
        // What wakes is a call that has found the way, or one more that has not.
        while timeout_at(until, wake.notified()).await.is_ok() {
            if nodes.current().health.is_up() {
                break;
            }
        }
    }
}
