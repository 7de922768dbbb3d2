//! Keeps one lease alive until it is lost.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::backoff::BackoffPolicy;
use crate::error::Error;
use crate::recipes::session::state::LossCause;
use crate::recipes::session::tenure::Tenure;
use crate::store::Store;

/// Never more often than this, whatever TTL a store claims.
const LEAST_PACE: Duration = Duration::from_millis(100);

/// Renews a lease at a third of its TTL, and returns why it was lost at last.
///
/// A renewal that is not answered within another third is sent again, beside the first: whichever is
/// answered counts from when it was sent. So there are at most three under way.
pub(super) async fn renew(
    store: &Arc<dyn Store>,
    tenure: &Tenure,
    backoff: BackoffPolicy,
) -> LossCause {
    let mut attempts = FuturesUnordered::new();
    let mut backoff = backoff.start();
    let mut last_error: Option<Arc<str>> = None;
    let mut pace = pace_of(tenure.ttl());
    let mut sent_last = tenure.deadline() - tenure.ttl();
    let mut next = sent_last + pace;
    let mut lost = std::pin::pin!(tenure.lost());
    loop {
        tokio::select! {
            // In this order: a late answer to a lease that has passed its deadline is no rescue.
            biased;
            cause = &mut lost => return cause,
            () = sleep_until(tenure.deadline()) => return LossCause::Expired { last_error },
            Some((sent, answer)) = attempts.next() => match answer {
                Ok(ttl) => {
                    tenure.renewed(sent, ttl);
                    pace = pace_of(ttl);
                    next = sent_last + pace;
                    last_error = None;
                }
                Err(Error::LeaseLost { .. }) => return LossCause::Revoked,
                Err(Error::Closed { .. }) => return LossCause::Closed,
                Err(error) => {
                    let wait = backoff.next_wait().min(pace / 2);
                    next = next.min(Instant::now() + wait);
                    tracing::debug!(%store, lease = %tenure.lease(), %error, ?wait,
                        "a renewal of a lease failed");
                    last_error = Some(error.to_string().into());
                }
            },
            () = sleep_until(next) => {
                let sent = Instant::now();
                sent_last = sent;
                next = sent + pace;
                attempts.push(async move { (sent, store.keep_alive(tenure.lease()).await) });
            }
        }
    }
}

fn pace_of(ttl: Duration) -> Duration {
    (ttl / 3).max(LEAST_PACE)
}
