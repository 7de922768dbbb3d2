//! Connects a store in the background, and reports how it is from then on.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keyval::{BackoffPolicy, ConnectionState, Error, Outcome};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::open::{Connect, Opened};
use crate::context::Context;

/// How often the store is asked how it is, and how long it may take to answer.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_DEADLINE: Duration = Duration::from_secs(3);
/// The most that one attempt to connect may take, whatever the backend's own deadline.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(30);
/// The bound of the first wait between two attempts.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Connects however long it takes; `None` if told to stop, or if it can never be.
pub(crate) async fn connect(
    cx: &Context,
    link: &Link,
    connect: &Connect,
    longest_wait: Duration,
    stop: &CancellationToken,
) -> Option<Opened> {
    let mut backoff = BackoffPolicy::default()
        .with_initial(FIRST_WAIT.min(longest_wait))
        .with_max(longest_wait)
        .start();
    loop {
        let attempt = timeout(ATTEMPT_DEADLINE, connect());
        let error = match stop.run_until_cancelled(attempt).await? {
            Ok(Ok(store)) => return Some(store),
            Ok(Err(error)) => error,
            Err(_) => Error::timeout("connect", ATTEMPT_DEADLINE, Outcome::NotApplied),
        };
        if matches!(error, Error::Invalid { .. } | Error::NotSupported { .. }) {
            // Nothing but another configuration will mend this.
            link.fail(&error.to_string());
            cx.fatal(error);
            return None;
        }
        if backoff.failures() == 0 {
            tracing::warn!(plugin = cx.name(), %error, "not connected yet");
        } else {
            tracing::debug!(plugin = cx.name(), %error, "still not connected");
        }
        link.not_yet(&error);
        cx.status().starting(format!("not connected yet: {error}"));
        stop.run_until_cancelled(sleep(backoff.next_wait())).await?;
    }
}

/// Passes on what the store tells of its connection, until it ends.
pub(crate) async fn relay(link: Arc<Link>, store: Opened, stop: CancellationToken) {
    let Some(mut connection) = store.connection() else {
        return;
    };
    while let Some(Some(state)) = stop.run_until_cancelled(connection.next()).await {
        tracing::debug!(%store, %state, "the connection changed");
        link.tell(state);
    }
}

/// Reports how the store is: whenever its connection changes, and from time to time.
pub(crate) async fn report(upkeep: Upkeep, stop: CancellationToken) {
    stop.run_until_cancelled(upkeep.report()).await;
}

/// What is known of a store for its status.
pub(crate) struct Upkeep {
    pub(crate) cx: Context,
    pub(crate) link: Arc<Link>,
    pub(crate) store: Opened,
    /// Where its settings come from.
    pub(crate) origin: String,
}

impl Upkeep {
    async fn report(&self) {
        let mut connection = self.link.connection();
        let mut ticks = interval_at(Instant::now() + CHECK_EVERY, CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // An answer to what was asked before a change says nothing of what is now.
            tokio::select! {
                biased;
                Some(_) = connection.next() => continue,
                () = self.check() => {}
            }
            tokio::select! {
                Some(_) = connection.next() => {}
                () = self.link.complaints.changed() => {}
                _ = ticks.tick() => {}
            }
        }
    }

    /// Asks the store how it is, unless it has told itself, and reports it.
    pub(crate) async fn check(&self) {
        let status = self.cx.status();
        if let Some(connection) = self.store.connection() {
            let state = connection.state();
            if !matches!(state, ConnectionState::Connected { .. }) {
                return status.error(state.to_string());
            }
        }
        let answer = timeout(CHECK_DEADLINE, self.store.status()).await;
        let answer = answer.unwrap_or(Err(Error::timeout(
            "status",
            CHECK_DEADLINE,
            Outcome::NotApplied,
        )));
        let told = match answer {
            Ok(told) => told,
            Err(error) => {
                if out_of_reach(&error) {
                    self.link.found(Err(&error));
                }
                return status.error(error.to_string());
            }
        };
        self.link.found(Ok(()));
        let mut problems = told.problems;
        problems.extend(self.link.complaints.list());
        if !told.serves {
            problems.insert(0, "it answers, but does not serve".to_owned());
            status.error(problems.join("; "));
        } else if problems.is_empty() {
            status.ok_with(format!("{}, settings: {}", told.version, self.origin));
        } else {
            status.degraded(problems.join("; "));
        }
    }
}

fn out_of_reach(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. } | Error::Timeout { .. } | Error::Closed { .. }
    )
}
