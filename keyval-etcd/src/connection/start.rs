//! From which endpoint a store begins: one that answers, and at which it can log in.

use std::sync::Arc;
use std::time::Duration;

use keyval::{EndpointFailure, Error, Outcome, Result};
use tokio::time::{Instant, timeout_at};

use crate::config::EtcdConfig;
use crate::connection::attempts::{Attempt, Failure, error_of};
use crate::connection::deadline::{Limits, from_now};
use crate::connection::node::Node;
use crate::connection::pool::first_to_answer;
use crate::error::Call;

/// The place of the endpoint to ask first, and its version.
///
/// # Errors
/// [`Error::Unavailable`], with the cause of each, if none answers within the dial timeout; the
/// failure of the login, which is made so that a wrong password is told before the store is used.
pub(crate) async fn first_to_serve(
    nodes: &[Arc<Node>],
    store: &str,
    config: &EtcdConfig,
) -> Result<(usize, String)> {
    let answered = first_to_answer(nodes, config.dial_timeout).await;
    let (first, version) = answered.map_err(|failures| cannot_connect(store, &failures))?;
    let at = log_in(nodes, first, store, config.operation_timeout).await?;
    Ok((at, version))
}

/// Logs in where that is asked for, at this endpoint or at one of the others; says at which. One that
/// is silent leaves the others half of the time.
async fn log_in(nodes: &[Arc<Node>], first: usize, store: &str, within: Duration) -> Result<usize> {
    let call = Call::read("connect", &store);
    let deadline = from_now(within);
    let mut attempts = Vec::new();
    for at in (first..nodes.len()).chain(0..first) {
        let (node, begun) = (&nodes[at], Instant::now());
        let limits = Limits::new(deadline, attempts.len() + 1 < nodes.len());
        let failure = match timeout_at(limits.ready, node.log_in()).await {
            Ok(Ok(())) => {
                if at != first {
                    node.health.succeeded(begun);
                }
                return Ok(at);
            }
            Ok(Err(failure)) => Failure::Failed(failure),
            Err(_) => Failure::Silent(begun.elapsed()),
        };
        if failure.blames_endpoint() {
            node.health.failed(&failure.words());
        }
        let endpoint = node.endpoint.clone();
        let goes_on = failure.allows_another(&call);
        attempts.push(Attempt { endpoint, failure });
        if !goes_on {
            break;
        }
    }
    Err(error_of(&call, attempts, within))
}

fn cannot_connect(store: &str, failures: &[EndpointFailure]) -> Error {
    let told: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Error::unavailable(
        format!("cannot connect to {store}: {}", told.join("; ")),
        Outcome::NotApplied,
    )
}
