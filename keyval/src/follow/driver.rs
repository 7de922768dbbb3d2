//! The hands of a follower: carries out what the machine decides.

use std::future::Future;
use std::time::Duration;

use foldhash::quality::FixedState;
use futures::stream::StreamExt;
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::broker::Broker;
use crate::entry::{Entry, ResyncCause, Update};
use crate::error::{Error, Outcome, Result};
use crate::follow::known::{Check, Found, Limits};
use crate::follow::machine::{Action, Event, Rules, State, step};
use crate::follow::options::FollowOptions;
use crate::follow::report::Report;
use crate::options::{ListOptions, WatchOptions};
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::watcher::{ChangeStream, Watcher};

/// Owns everything a follower has: the store, at most one watch, and what it knows.
#[derive(Debug)]
pub(super) struct Driver<S> {
    store: S,
    rules: Rules,
    options: FollowOptions,
    state: State,
    /// What to begin with when polled next.
    event: Option<Event>,
    watch: Option<ChangeStream>,
    verify_at: Option<Instant>,
    backoff: Backoff,
    report: Report,
}

impl<S: Broker + Watcher> Driver<S> {
    pub(super) fn new(store: S, range: KeyRange, options: FollowOptions) -> Self {
        let event = match refuse(&store, &range, &options) {
            Ok(()) => Event::Resumed,
            Err(error) => Event::Failed(error),
        };
        let capabilities = store.capabilities();
        let report = Report::new(&range, &options);
        let rules = Rules {
            range,
            limits: Limits::new(options.exact_keys, capabilities.max_txn_ops),
            verifiable: capabilities.history && capabilities.txn,
            hasher: FixedState::with_seed(fastrand::u64(..)),
        };
        Self {
            store,
            rules,
            state: State::Listing {
                after: None,
                cause: ResyncCause::Initial,
            },
            event: Some(event),
            watch: None,
            verify_at: None,
            backoff: options.backoff.start(),
            options,
            report,
        }
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// Works until there is something for the consumer; `None` is the end.
    pub(super) async fn next(mut self) -> Option<(Result<Update>, Self)> {
        let mut event = self.event.take().unwrap_or(Event::Resumed);
        loop {
            let state = std::mem::replace(&mut self.state, State::Ended);
            let (state, action) = step(&self.rules, state, event);
            self.state = state;
            event = match action {
                Action::List => self.list().await,
                Action::Open { from } => self.open(from).await,
                Action::Verify(check) => self.verify(check).await,
                Action::Next => self.take().await,
                Action::Wait => self.wait().await,
                Action::Suspend(trouble) => {
                    self.watch = None;
                    self.report.suspended(&trouble);
                    Event::Resumed
                }
                Action::Deliver(update) => {
                    self.report.delivered(&update);
                    return Some((Ok(update), self));
                }
                Action::Yield(error) => {
                    self.watch = None;
                    self.report.refused(&error);
                    if matches!(self.state, State::Ended) {
                        self.report.ended();
                    }
                    return Some((Err(error), self));
                }
                Action::Stop => return None,
            };
        }
    }

    async fn list(&mut self) -> Event {
        let mut options = ListOptions::default();
        options.page = self.options.page;
        match self.read(options).await {
            Ok((revision, entries)) => Event::Listed { revision, entries },
            Err(error) => Event::Failed(error),
        }
    }

    async fn open(&mut self, from: Revision) -> Event {
        self.watch = None;
        self.verify_at = None;
        let mut options = WatchOptions::default()
            .starting_at(from)
            .with_progress(self.options.silence / 3);
        options.previous = self.options.previous;
        let opening = self.store.watch_opts(&self.rules.range, options);
        let opening = within(self.options.operation_timeout, "watch", opening);
        match self.report.watch_over(opening).await {
            Ok(watch) => {
                let after = watch.after();
                self.watch = Some(watch);
                Event::Opened { after }
            }
            Err(error) => Event::Failed(error),
        }
    }

    async fn verify(&mut self, check: Check) -> Event {
        let found = match check {
            Check::Every(options) => {
                let read = self.read(options).await;
                read.map(|(_, entries)| Found::Every(entries))
            }
            Check::Samples(txn) => {
                let commit = self.store.commit(txn);
                let commit = within(self.options.operation_timeout, "commit", commit);
                let reply = self.report.watch_over(commit).await;
                reply.map(|reply| Found::Samples(reply.replies))
            }
        };
        found.map_or_else(Event::Failed, Event::Read)
    }

    async fn take(&mut self) -> Event {
        self.report.connected();
        if let Some(every) = self.options.verify_every {
            let now = Instant::now();
            let at = *self.verify_at.get_or_insert_with(|| now + jittered(every));
            if now >= at {
                self.verify_at = None;
                return Event::Due;
            }
        }
        let Some(watch) = &mut self.watch else {
            return Event::StreamEnded;
        };
        // Counted from when the consumer asks: one that is slow has not found the store silent.
        match timeout(self.options.silence, watch.next()).await {
            Ok(Some(Ok(changes))) => {
                self.report.heard();
                Event::Item(changes)
            }
            Ok(Some(Err(error))) => Event::Failed(error),
            Ok(None) => Event::StreamEnded,
            Err(_) => Event::Silent,
        }
    }

    async fn wait(&mut self) -> Event {
        let wait = self.backoff.next_wait();
        self.report.watch_over(tokio::time::sleep(wait)).await;
        Event::Waited
    }

    /// Reads the range to its end, or fails: a part of it is never taken for the whole.
    async fn read(&mut self, options: ListOptions) -> Result<(Revision, Vec<Entry>)> {
        let limit = self.options.operation_timeout;
        let listing = self.store.list_opts(&self.rules.range, options);
        let reading = async {
            let mut listing = within(limit, "list", listing).await?;
            let mut entries = Vec::new();
            loop {
                let next = async { listing.entries.next().await.transpose() };
                let Some(entry) = within(limit, "list", next).await? else {
                    return Ok((listing.revision, entries));
                };
                entries.push(entry);
            }
        };
        self.report.watch_over(reading).await
    }
}

/// Refuses to follow where it could only ever fail.
fn refuse<S: Broker>(store: &S, range: &KeyRange, options: &FollowOptions) -> Result<()> {
    options.check()?;
    range.check()?;
    let capabilities = store.capabilities();
    if !capabilities.watch || !capabilities.watch_from {
        return Err(Error::NotSupported {
            operation: "watching from a revision",
            store: store.to_string(),
        });
    }
    Ok(())
}

/// Gives a read a deadline.
async fn within<T>(
    limit: Duration,
    operation: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(Error::timeout(operation, limit, Outcome::NotApplied)))
}

/// Give or take a tenth, so that followers that began together do not check together; at most
/// about 30 years, which is never.
fn jittered(time: Duration) -> Duration {
    let time = time.min(Duration::from_secs(30 * 365 * 24 * 3600));
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}
