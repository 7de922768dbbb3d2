//! Who leads, from now on.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};

use crate::entry::{Change, Entry, Update};
use crate::error::Result;
use crate::follow::Follow;
use crate::key::Key;
use crate::range::Prefix;
use crate::recipes::fence::FencingToken;
use crate::recipes::queue::members;
use crate::store::Store;

/// One who leads, as everyone sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Leader {
    /// The leader's key.
    pub key: Key,
    /// What the leader proclaims.
    pub value: Bytes,
    /// The leader's number, greater than that of every leader before.
    pub token: FencingToken,
}

impl Leader {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            key: entry.key.clone(),
            value: entry.value.clone(),
            token: FencingToken::from(entry.created),
        }
    }
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader")
            .field("key", &self.key)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// The leaders of an election, one after the other; made by
/// [`Election::observe`](crate::recipes::Election::observe).
#[must_use = "nothing happens unless it is polled"]
pub struct Leaders(BoxStream<'static, Result<Option<Leader>>>);

impl Leaders {
    pub(super) fn new<S: Store>(prefix: Prefix, candidates: Follow<S>) -> Self {
        let start = Watching {
            updates: candidates,
            field: Field {
                prefix,
                candidates: HashMap::new(),
                told: None,
            },
        };
        Self(stream::unfold(start, Watching::next).boxed())
    }
}

impl Stream for Leaders {
    type Item = Result<Option<Leader>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaders").finish_non_exhaustive()
    }
}

struct Watching<S> {
    updates: Follow<S>,
    field: Field,
}

impl<S> Watching<S> {
    async fn next(mut self) -> Option<(Result<Option<Leader>>, Self)> {
        loop {
            match self.updates.next().await? {
                Err(error) => return Some((Err(error), self)),
                Ok(update) => {
                    if let Some(leader) = self.field.apply(update) {
                        return Some((Ok(leader), self));
                    }
                }
            }
        }
    }
}

/// Everyone who stands for election.
struct Field {
    prefix: Prefix,
    candidates: HashMap<Key, Entry>,
    /// Who was told to lead, if that was told.
    told: Option<Option<Leader>>,
}

impl Field {
    /// Takes in what happened, and returns who leads if that is news.
    fn apply(&mut self, update: Update) -> Option<Option<Leader>> {
        match update {
            Update::Resync(snapshot) => {
                let entries = snapshot.entries.into_iter();
                self.candidates = entries.map(|entry| (entry.key.clone(), entry)).collect();
            }
            Update::Changes(changes) if changes.is_progress() => return None,
            Update::Changes(changes) => {
                for change in changes.changes {
                    match change {
                        Change::Put { entry, .. } => {
                            self.candidates.insert(entry.key.clone(), entry);
                        }
                        Change::Delete { key, .. } => {
                            self.candidates.remove(&key);
                        }
                    }
                }
            }
        }
        let leader = members::first(&self.prefix, self.candidates.values()).map(Leader::of);
        if self.told.as_ref() == Some(&leader) {
            return None;
        }
        self.told = Some(leader.clone());
        Some(leader)
    }
}
