//! The work of one participant: it deals with a snapshot when asked, and with changes in between.

use std::fmt::Display;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use keyval::{BoxError, ResyncCause, Revision, Update};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::reconcile::Reconcile;
use super::shared::{Answer, Note, Request};
use crate::contain::panic_text;

/// One that follows a range.
pub(super) struct Follower<F, S, R> {
    source: F,
    reconciler: R,
    note: Note,
    /// The updates behind the last snapshot; none if a fresh one is needed.
    updates: Option<Pin<Box<S>>>,
    /// The last revision that was dealt with.
    last: Option<Revision>,
    lost: Option<ResyncCause>,
}

impl<V, E, S, F, R> Follower<F, S, R>
where
    V: Send,
    E: Display + Send,
    S: Stream<Item = Result<Update<V>, E>> + Send,
    F: FnMut() -> S + Send,
    R: Reconcile<V>,
{
    pub(super) fn new(source: F, reconciler: R, note: Note) -> Self {
        Self {
            source,
            reconciler,
            note,
            updates: None,
            last: None,
            lost: None,
        }
    }

    /// Works until nobody asks any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let request = tokio::select! {
                biased;
                request = requests.recv() => request,
                update = contain(next(&mut self.updates)) => {
                    let update = match update {
                        Ok(update) => update,
                        Err(cause) => {
                            self.updates = None;
                            self.note.failed(cause);
                            continue;
                        }
                    };
                    match self.hear_until_asked(update, &mut requests).await {
                        Heard::Done => continue,
                        Heard::Asked(request) => request,
                    }
                }
            };
            let Some(mut request) = request else {
                return;
            };
            let answer = tokio::select! {
                biased;
                // Nobody waits for it: what is half done is dropped, and a fresh visit follows.
                () = request.answer.closed() => continue,
                answer = contain(self.visit()) => answer.and_then(|answer| answer),
            };
            // Nobody may wait any more; then it counts as late.
            let _ = request.answer.send(answer);
        }
    }

    /// Deals with a fresh snapshot.
    async fn visit(&mut self) -> Answer {
        self.updates = None;
        let mut updates = Box::pin((self.source)());
        let mut snapshot = match updates.next().await {
            Some(Ok(Update::Resync(snapshot))) => snapshot,
            Some(Ok(Update::Changes(_))) => return Err("its updates begin with changes".into()),
            Some(Err(error)) => return Err(error.to_string().into()),
            None => return Err(ENDED.into()),
        };
        let revision = snapshot.revision;
        if let Some(last) = self.last {
            snapshot.after = Some(last);
            snapshot.cause = match self.lost {
                // Whoever has noticed it first: a store does not go back.
                _ if revision < last => ResyncCause::HistoryChanged,
                Some(lost) => lost,
                None => ResyncCause::Requested,
            };
        }
        self.reconcile(Update::Resync(snapshot)).await?;
        self.last = Some(revision);
        self.lost = None;
        self.updates = Some(updates);
        self.note.made_good();
        Ok(Some(revision))
    }

    /// Deals with an update, for which it has as long as for a visit; a request meanwhile waits for
    /// that.
    async fn hear_until_asked(
        &mut self,
        update: Option<Result<Update<V>, E>>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Heard {
        let deadline = self.note.deadline();
        let mut asked: Option<Option<Request>> = None;
        let heard = {
            let mut hearing = pin!(timeout(deadline, contain(self.hear(update))));
            loop {
                tokio::select! {
                    biased;
                    heard = &mut hearing => break heard,
                    request = requests.recv(), if asked.is_none() => asked = Some(request),
                }
            }
        };
        match heard.map(|heard| heard.and_then(|heard| heard)) {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => {
                self.updates = None;
                self.note.failed(cause);
            }
            // What is half done is dropped, as at a visit.
            Err(_) => {
                self.updates = None;
                self.note.late(deadline);
            }
        }
        asked.map_or(Heard::Done, Heard::Asked)
    }

    async fn hear(&mut self, update: Option<Result<Update<V>, E>>) -> Result<(), Arc<str>> {
        match update {
            Some(Ok(Update::Changes(changes))) => {
                let revision = changes.revision;
                if !changes.is_progress() {
                    self.reconcile(Update::Changes(changes)).await?;
                }
                self.last = Some(revision);
                self.note.in_sync();
            }
            Some(Ok(Update::Resync(snapshot))) => {
                // In the order of all participants, and fresh by then.
                self.updates = None;
                self.lost = Some(snapshot.cause);
                self.note.lost(snapshot.cause);
            }
            // Whether they recover by themselves, nothing here would tell.
            Some(Err(error)) => return Err(error.to_string().into()),
            None => return Err(ENDED.into()),
        }
        Ok(())
    }

    async fn reconcile(&mut self, update: Update<V>) -> Result<(), Arc<str>> {
        let reconciled = self.reconciler.reconcile(update).await;
        reconciled.map_err(|error| error.to_string().into())
    }
}

const ENDED: &str = "its updates have ended";

/// What was asked for while an update was dealt with.
enum Heard {
    /// Nothing.
    Done,
    /// A visit; or nobody asks any more.
    Asked(Option<Request>),
}

/// The work of a participant that follows nothing.
pub(super) async fn act<W>(
    mut action: impl FnMut() -> W + Send,
    note: Note,
    mut requests: mpsc::Receiver<Request>,
) where
    W: Future<Output = Result<(), BoxError>> + Send,
{
    while let Some(mut request) = requests.recv().await {
        let answer = tokio::select! {
            biased;
            () = request.answer.closed() => continue,
            // The call itself may panic as well as what it returns.
            done = contain(async { action().await }) => done,
        };
        let answer = answer.and_then(|done| done.map_err(|error| error.to_string().into()));
        if answer.is_ok() {
            note.in_sync();
        }
        let _ = request.answer.send(answer.map(|()| None));
    }
}

async fn next<S: Stream>(updates: &mut Option<Pin<Box<S>>>) -> Option<S::Item> {
    match updates {
        Some(updates) => updates.next().await,
        None => pending().await,
    }
}

/// Does this, and makes an error of a panic.
async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Arc<str>> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|panic| format!("it panicked: {}", panic_text(&*panic)).into())
}
