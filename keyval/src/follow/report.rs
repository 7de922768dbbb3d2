//! Lets others know how a follower fares: its state, metrics and logs.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::entry::{Change, Changes, Snapshot, Update};
use crate::error::Error;
use crate::follow::machine::Trouble;
use crate::follow::options::FollowOptions;
use crate::follow::state::{FollowState, Outage};
use crate::range::KeyRange;

/// Beyond this, `lost_after` is never; clocks cannot count to every time.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Tells of one follower.
#[derive(Debug)]
pub(super) struct Report {
    name: Cow<'static, str>,
    range: KeyRange,
    state: watch::Sender<FollowState>,
    /// When the store was last heard of.
    heard: Instant,
    attempts: u32,
    lost_after: Duration,
    meters: Meters,
}

struct Meters {
    puts: Counter,
    deletes: Counter,
    progress: Counter,
    heard: Gauge,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Report {
    pub(super) fn new(range: &KeyRange, options: &FollowOptions) -> Self {
        let report = Self {
            name: options.name.clone(),
            range: range.clone(),
            state: watch::Sender::new(FollowState::Connecting),
            heard: Instant::now(),
            attempts: 0,
            lost_after: options.lost_after,
            meters: Meters::new(&options.name),
        };
        report.gauge("connecting").increment(1.0);
        report
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<FollowState> {
        self.state.subscribe()
    }

    /// The watch brought something.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.meters.heard.set(now.unwrap_or_default().as_secs_f64());
    }

    /// The watch works.
    pub(super) fn connected(&mut self) {
        if self.state.borrow().is_connected() {
            return;
        }
        if self.attempts > 0 {
            tracing::info!(follow = %self.name, range = %self.range, attempts = self.attempts,
                "follow connected again");
        }
        self.attempts = 0;
        self.heard();
        self.enter(FollowState::Connected);
    }

    /// Something cut the follower off.
    pub(super) fn suspended(&mut self, trouble: &Trouble) {
        self.cut_off(trouble.kind(), trouble.to_string().into());
    }

    /// The store refused something.
    pub(super) fn refused(&mut self, error: &Error) {
        self.cut_off(error.kind(), error.to_string().into());
    }

    /// The follower is over.
    pub(super) fn ended(&mut self) {
        let outage = self.state.borrow().outage().cloned();
        if let Some(outage) = outage {
            self.enter(FollowState::Lost(outage));
        }
    }

    /// Counts what is handed to the consumer.
    pub(super) fn delivered(&self, update: &Update) {
        match update {
            Update::Resync(snapshot) => self.resynced(snapshot),
            Update::Changes(changes) => self.meters.count(changes),
        }
    }

    /// Does something, and lets it be known meanwhile if the outage has become a long one.
    pub(super) async fn watch_over<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        let outage = match &*self.state.borrow() {
            FollowState::Suspended(outage) => Some(outage.clone()),
            _ => None,
        };
        if let Some(outage) = outage {
            let at = outage.since + self.lost_after.min(FAR);
            if let Ok(output) = tokio::time::timeout_at(at, &mut work).await {
                return output;
            }
            tracing::warn!(follow = %self.name, range = %self.range, cause = %outage.cause,
                attempts = outage.attempts, "follow lost");
            self.enter(FollowState::Lost(outage));
        }
        work.await
    }

    fn cut_off(&mut self, kind: &'static str, cause: Arc<str>) {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts == 1 {
            tracing::warn!(follow = %self.name, range = %self.range, %cause, "follow suspended");
        } else {
            tracing::debug!(follow = %self.name, range = %self.range, %cause,
                attempts = self.attempts, "follow still suspended");
        }
        let name = self.name.clone();
        metrics::counter!("keyval_reconnects_total", "name" => name, "cause" => kind).increment(1);
        let outage = Outage {
            since: self.heard,
            cause,
            attempts: self.attempts,
        };
        self.enter(if self.heard.elapsed() >= self.lost_after {
            FollowState::Lost(outage)
        } else {
            FollowState::Suspended(outage)
        });
    }

    fn resynced(&self, snapshot: &Snapshot) {
        let cause = snapshot.cause.as_str();
        tracing::info!(follow = %self.name, range = %self.range, at = %snapshot.revision, cause,
            entries = snapshot.entries.len(), "follow resynced");
        let name = self.name.clone();
        metrics::counter!("keyval_watch_resets_total", "name" => name, "cause" => cause)
            .increment(1);
    }

    fn enter(&self, state: FollowState) {
        let word = state.as_str();
        let before = self.state.send_replace(state).as_str();
        if before != word {
            self.gauge(before).decrement(1.0);
            self.gauge(word).increment(1.0);
        }
    }

    fn gauge(&self, state: &'static str) -> Gauge {
        metrics::gauge!("keyval_watch_state", "name" => self.name.clone(), "state" => state)
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.gauge(self.state.borrow().as_str()).decrement(1.0);
    }
}

impl Meters {
    fn new(name: &str) -> Self {
        let events = |kind: &'static str| metrics::counter!("keyval_watch_events_total", "name" => name.to_owned(), "type" => kind);
        Self {
            puts: events("put"),
            deletes: events("delete"),
            progress: events("progress"),
            heard: metrics::gauge!(
                "keyval_watch_last_progress_timestamp_seconds", "name" => name.to_owned()
            ),
        }
    }

    fn count(&self, changes: &Changes) {
        if changes.is_progress() {
            self.progress.increment(1);
        }
        for change in &changes.changes {
            match change {
                Change::Put { .. } => self.puts.increment(1),
                Change::Delete { .. } => self.deletes.increment(1),
            }
        }
    }
}
